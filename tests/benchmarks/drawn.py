"""What a monitor has sent to its charts."""

from __future__ import annotations

import array
from typing import Any


def drawn_trials(view: Any) -> set[int]:
    """Return the numbers of the trials in the chart of latency against throughput."""
    found: set[int] = set()
    for trace in view.charts.plots["Latency and throughput"]._traces.values():
        numbers = trace.get("customdata", b"")
        found |= {int(n) for n in (array.array("f", numbers) if isinstance(numbers, bytes) else numbers)}
    return found
