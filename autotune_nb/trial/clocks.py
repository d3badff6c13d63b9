"""Whether the clocks of CPUs or GPUs dropped between starts of one configuration, as heat or a limit of power does."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from autotune_nb.trial.configuration import configurations
from autotune_nb.trial.trial import Trial

#: The conditions that are compared, with their titles. Other configurations may have other clocks for good reasons.
_CLOCKS = {"cpu_frequency_mean_mhz": "CPUs", "gpu_clock_mean_mhz": "GPUs"}
#: A lower share of the highest clock is reported.
_DROPPED = 0.85


def slowed_text(trials: Sequence[Trial]) -> str:
    """Return in a sentence or two which trials ran at lower clocks than others of their configuration; empty if none.

    Of several it names the one with the greatest difference.
    """
    found = []
    for condition, title in _CLOCKS.items():
        drops = list(_drops(trials, condition))
        if drops:
            _, slow, mhz, fast, usual = min(drops)
            found.append(
                f"The {title} ran at {mhz:,.0f} MHz during trial {slow}, and at {usual:,.0f} MHz during trial {fast} "
                "with the same configuration: heat or a limit of power slows this machine down at times, and trials "
                "of such times cannot be compared with others."
            )
    return " ".join(found)


def _drops(trials: Sequence[Trial], condition: str) -> Iterator[tuple[float, int, float, int, float]]:
    """Yield of each configuration with a drop its share, and the slowest and the fastest start with their clocks."""
    for one in configurations(trials).values():
        clocks = [(mhz, start.number) for start in one.complete if (mhz := _mean(start, condition)) is not None]
        if len(clocks) > 1:
            (mhz, slow), (usual, fast) = min(clocks), max(clocks)
            if mhz < _DROPPED * usual:
                yield mhz / usual, slow, mhz, fast, usual


def _mean(trial: Trial, condition: str) -> float | None:
    values = [one.conditions[condition] for one in trial.measurements if condition in one.conditions]
    return statistics.fmean(values) if values else None
