"""Converts the service-level objectives of a prototype's task file to limits."""

from __future__ import annotations

import math
from typing import Any

from autotune_nb.errors import TaskError, did_you_mean

_LATENCY = ("p50", "p90", "p99")


def unknown_field(name: Any, known: tuple[str, ...], section: str = "") -> TaskError:
    """Return the error for a field that the prototype did not have."""
    return TaskError(
        f"unknown field{did_you_mean(str(name), known)}", field=f"{section}.{name}" if section else str(name)
    )


def is_positive(value: Any) -> bool:
    """Return whether the value is a number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def limits_of(slo: Any, notes: list[str]) -> list[str]:
    """Return the limits of the ``slo`` section, with a note for each part that a limit cannot express."""
    if slo is None:
        return []
    if not isinstance(slo, dict):
        raise TaskError("must be an object", field="slo")
    limits: list[str] = []
    for key, value in slo.items():
        if key == "steepness":
            notes.append("slo.steepness is ignored: a limit is kept or broken, without a penalty curve")
        elif key == "latency":
            if not isinstance(value, dict):
                raise TaskError("must be an object of p50, p90, p99", field="slo.latency")
            for percentile, bound in value.items():
                if percentile not in _LATENCY:
                    raise unknown_field(percentile, _LATENCY, "slo.latency")
                limits.append(_limit(f"e2e_latency_{percentile}_s", bound, f"slo.latency.{percentile}", notes))
        elif key in ("ttft", "tpot"):
            limits.append(_limit(f"{key}_mean_s", value, f"slo.{key}", notes))
        else:
            raise unknown_field(key, ("latency", "ttft", "tpot", "steepness"), "slo")
    return limits


def _limit(figure: str, bound: Any, field: str, notes: list[str]) -> str:
    known = ("threshold", "weight", "hard_fail", "fail_ratio")
    if not isinstance(bound, dict):
        raise TaskError("needs a threshold in seconds", field=field)
    for key in bound:
        if key not in known:
            raise unknown_field(key, known, field)
    if not is_positive(bound.get("threshold")):
        raise TaskError("needs a threshold in seconds, above 0", field=field)
    ratio = bound.get("fail_ratio")
    if ratio not in (None, 0) and not is_positive(ratio):
        raise TaskError(f"must be a number from 0 up, not {ratio!r}", field=f"{field}.fail_ratio")
    threshold = float(bound["threshold"])
    if bound.get("hard_fail"):
        # The prototype failed an experiment that exceeded the threshold by more than fail_ratio of it.
        threshold *= 1 + (ratio or 0)
    else:
        notes.append(f"{field}.hard_fail is false: the soft penalty is converted to a limit at its threshold")
        if ratio:
            notes.append(f"{field}.fail_ratio is ignored: it only applies if hard_fail is true")
    if "weight" in bound:
        notes.append(f"{field}.weight is ignored: limits have no weights")
    return f"{figure} <= {threshold:.15g}"
