"""What trials cost, in GPU-hours and in US dollars, and the figures of a level that follow from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from autotune_nb.trial.measurement import PER_GPU, USD_PER_MILLION_TOKENS
from autotune_nb.trial.trial import Trial

_HOUR_S = 3600.0


class HourlyPrice(Protocol):
    """The price of a task."""

    def per_hour(self, gpus: int) -> float | None:
        """Return the price of a trial with so many GPUs per hour; None if there is none."""


@dataclass(frozen=True)
class Cost:
    """GPU-hours, and US dollars; None without a price."""

    gpu_hours: float
    usd: float | None = None

    def __str__(self) -> str:
        """The cost, such as ``1.5 GPU-hours, $3.75``; empty if it is nothing."""
        hours = f"{self.gpu_hours:.3g} GPU-hours" if self.gpu_hours else ""
        return ", ".join(filter(None, [hours, "" if self.usd is None else usd_text(self.usd)]))

    def to_dict(self) -> dict[str, float]:
        """Return the cost for JSON; empty if it is nothing."""
        hours = {"gpu_hours": round(self.gpu_hours, 6)} if self.gpu_hours else {}
        return hours if self.usd is None else {"gpu_hours": round(self.gpu_hours, 6), "usd": round(self.usd, 6)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Cost:
        return cls(data.get("gpu_hours", 0.0), data.get("usd"))


def usd_text(usd: float) -> str:
    """Format dollars, to the cent or to two digits."""
    return f"${usd:,.2f}" if usd >= 0.1 or not usd else f"${usd:.2g}"


def cost_of(trials: Iterable[Trial], price: HourlyPrice) -> Cost:
    """Return what trials cost together: of each the time in which it held its GPUs, from its start to its end."""
    gpu_hours, dollars, priced = 0.0, [], price.per_hour(0) is not None
    for trial in trials:
        gpus = trial.gpus or 0
        # The monitor asks at every redraw.
        if gpus or priced:
            hours = trial.work_s / _HOUR_S
            gpu_hours += gpus * hours
            dollars.append(hours * (price.per_hour(gpus) or 0.0))
    return Cost(gpu_hours, math.fsum(dollars) if priced else None)


def cost_figures(figures: Mapping[str, float], gpus: int, usd_per_hour: float | None) -> dict[str, float]:
    """Return the figures of a level with so many GPUs and this price, without those that are unknown.

    Dollars per million output tokens are the price of an hour divided by the tokens of an hour, times a million.
    """
    found = {}
    if gpus > 0:
        found = {f"{name}_per_gpu": figures[name] / gpus for name in PER_GPU if name in figures}
    rate = figures.get("output_tokens_per_s")
    if usd_per_hour is not None and rate:
        found[USD_PER_MILLION_TOKENS] = usd_per_hour / (rate * _HOUR_S) * 1e6
    return found
