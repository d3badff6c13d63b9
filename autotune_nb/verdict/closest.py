"""Which trial is the closest to the limits, if none keeps them."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.score import Limit
from autotune_nb.trial.trial import Trial


def closest_text(scored: Sequence[Trial]) -> str:
    """Return which trial breaks its limits by the least, as a share of their bounds, and by how much it does."""

    def excess(trial: Trial) -> float:
        assert trial.score is not None
        broken = ((Limit.parse(name), violation) for name, violation in trial.score.limits.items() if violation > 0)
        return sum(violation / (abs(limit.bound) or 1.0) for limit, violation in broken)

    closest = min(scored, key=excess)
    return f"trial {closest.number} is the closest, and breaks {broken_text(closest)}"


def broken_text(trial: Trial) -> str:
    """Return the limits that a trial breaks, and by how much, such as ``ttft_p99_s <= 0.5 by 20 ms``."""
    limits = trial.score.limits if trial.score is not None else {}
    broken = [
        f"{name} by {value_text(violation, Limit.parse(name).figure)}"
        for name, violation in limits.items()
        if violation > 0
    ]
    return " and ".join(broken) or "a limit"
