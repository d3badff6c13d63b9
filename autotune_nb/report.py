"""What a study found, as something a notebook shows and a file keeps."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

from autotune_nb.plots import Chart, latency_throughput
from autotune_nb.score import Objective
from autotune_nb.steering import Edit
from autotune_nb.table import trials_frame, verdict
from autotune_nb.trial import Trial

_MAX_ROWS = 200


@dataclass(frozen=True)
class Report:
    """The answer first, then the command line, the chart and the trials; script-free HTML, and text."""

    trials: tuple[Trial, ...]
    best: Trial | None
    objective: Objective
    command: str | None
    edits: tuple[Edit, ...] = ()

    @property
    def verdict(self) -> str:
        """The answer in a sentence or two."""
        return verdict(self.trials, self.best, self.objective)

    def chart(self) -> Chart:
        """Latency against throughput, a curve a trial."""
        return Chart(tuple(latency_throughput(self.trials, self.best, self.objective.limits)))

    def text(self) -> str:
        """For a terminal."""
        steered = [f"steered {edit.when}: {edit.text}" for edit in self.edits]
        return "\n".join(filter(None, [self.verdict, *steered, self.command]))

    def to_html(self) -> str:
        """For a page without scripts or network."""
        frame = trials_frame(self.trials[:_MAX_ROWS], self.objective)
        table = frame.to_html(na_rep="", border=0, float_format=lambda value: f"{value:.4g}")
        # Without pandas' indentation, more than half of what a table of hundreds of rows takes.
        table = re.sub(r"\n\s*(?=<)", "", table)
        parts = [f"<p><strong>{html.escape(self.verdict)}</strong></p>"]
        if self.command:
            parts.append(f"<pre>{html.escape(self.command)}</pre>")
        if any(trial.measurements for trial in self.trials):
            parts.append(self.chart().image_html())
        parts.append(table)
        if self.edits:
            told = "".join(f"<li>{edit.when}: {html.escape(edit.text)}</li>" for edit in self.edits)
            parts.append(f"<p>Steered while it ran:</p><ul>{told}</ul>")
        return "\n".join(parts)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/html": self.to_html(), "text/plain": self.text()}
