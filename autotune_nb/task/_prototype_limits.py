"""Converts the service-level objectives of a prototype's task file to limits and soft penalties."""

from __future__ import annotations

import math
from typing import Any

from autotune_nb.errors import TaskError, did_you_mean
from autotune_nb.trial.score import PROTOTYPE_OBJECTIVES

_LATENCY = ("p50", "p90", "p99")
#: The prototype's ``fail_ratio`` where none is given.
_FAIL_RATIO = 0.5


def unknown_field(name: Any, known: tuple[str, ...], section: str = "") -> TaskError:
    """Return the error for a field that the prototype did not have."""
    return TaskError(
        f"unknown field{did_you_mean(str(name), known)}", field=f"{section}.{name}" if section else str(name)
    )


def is_positive(value: Any) -> bool:
    """Return whether the value is a number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def slo_of(slo: Any, objective: Any, notes: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the limits of the ``slo`` section, and the fields of the task for its soft penalties.

    The prototype failed an experiment that exceeded a threshold with ``hard_fail`` by more than ``fail_ratio`` of it.
    Whatever exceeded one added ``weight * exp(excess / steepness)`` to the penalty of its objective.
    """
    if slo is None:
        return [], {}
    if not isinstance(slo, dict):
        raise TaskError("must be an object", field="slo")
    limits: list[str] = []
    soft: dict[str, float] = {}
    for key, value in slo.items():
        if key == "steepness":
            if not is_positive(value):
                raise TaskError(f"must be a number above 0, not {value!r}", field="slo.steepness")
        elif key == "latency":
            if not isinstance(value, dict):
                raise TaskError("must be an object of p50, p90, p99", field="slo.latency")
            for percentile, bound in value.items():
                if percentile not in _LATENCY:
                    raise unknown_field(percentile, _LATENCY, "slo.latency")
                _add(f"e2e_latency_{percentile}_s", bound, f"slo.latency.{percentile}", limits, soft)
        elif key in ("ttft", "tpot"):
            _add(f"{key}_mean_s", value, f"slo.{key}", limits, soft)
        else:
            raise unknown_field(key, ("latency", "ttft", "tpot", "steepness"), "slo")
    if not soft or objective not in PROTOTYPE_OBJECTIVES:
        return limits, {}
    direction, figure = PROTOTYPE_OBJECTIVES[objective]
    steepness = {"steepness": float(slo["steepness"])} if "steepness" in slo else {}
    if direction == "maximize":
        notes.append(
            "slo is converted to the objective maximize slo_score: the throughput divided by 1 + penalty, which the "
            "prototype multiplied by 1 - penalty, so that most scores were negative"
        )
    task = {"objective": f"{direction} slo_score", "slo": {"figure": figure, "limits": soft, **steepness}}
    return limits, task


def _add(figure: str, bound: Any, field: str, limits: list[str], soft: dict[str, float]) -> None:
    """Add the soft limit of a threshold, and its limit if exceeding it by far fails an experiment."""
    known = ("threshold", "weight", "hard_fail", "fail_ratio")
    if not isinstance(bound, dict):
        raise TaskError("needs a threshold in seconds", field=field)
    for key in bound:
        if key not in known:
            raise unknown_field(key, known, field)
    if not is_positive(bound.get("threshold")):
        raise TaskError("needs a threshold in seconds, above 0", field=field)
    ratio = bound.get("fail_ratio", _FAIL_RATIO)
    if ratio not in (None, 0) and not is_positive(ratio):
        raise TaskError(f"must be a number from 0 up, not {ratio!r}", field=f"{field}.fail_ratio")
    weight = bound.get("weight", 1.0)
    if weight not in (None, 0) and not is_positive(weight):
        raise TaskError(f"must be a number from 0 up, not {weight!r}", field=f"{field}.weight")
    threshold = float(bound["threshold"])
    if bound.get("hard_fail"):
        limits.append(f"{figure} <= {threshold * (1 + (ratio or 0)):.15g}")
    # With hard_fail and no room above the threshold, every excess fails.
    if weight and not (bound.get("hard_fail") and not ratio):
        soft[f"{figure} <= {threshold:.15g}"] = float(weight)
