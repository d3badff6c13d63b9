"""Reads genai-bench's result files into measurements."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune_nb.trial.measurement import STATISTICS, Level, Measurement, Validity

#: How many characters of an invalid value are quoted.
_MAX_QUOTED = 60
_TIMES = ("ttft", "tpot", "e2e_latency", "output_latency")
_RATES = {
    "output_tokens_per_s": "mean_output_throughput_tokens_per_s",
    "input_tokens_per_s": "mean_input_throughput_tokens_per_s",
    "total_tokens_per_s": "mean_total_tokens_throughput_tokens_per_s",
    "requests_per_s": "requests_per_second",
}
_COUNTS = {
    "input_tokens_mean": ("num_input_tokens", "mean"),
    "output_tokens_mean": ("num_output_tokens", "mean"),
    "output_tokens_min": ("num_output_tokens", "min"),
}


def read_level(file: Path) -> dict[str, Any] | None:
    """Return the content of a level's file; None if it is incomplete or not the file of a level."""
    data = _json_object(file)
    return data if data is not None and _invalid_field(data) is None else None


def level_file_problem(file: Path) -> str:
    """Return why ``read_level`` returns None for a file: it is cut short, or a field is invalid."""
    data = _json_object(file)
    return (_invalid_field(data) if data is not None else None) or "it is cut short"


def _json_object(file: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _invalid_field(data: Mapping[str, Any]) -> str | None:
    """Return a message about the first invalid field; None if all fields are valid."""
    aggregated = data.get("aggregated_metrics")
    if not isinstance(aggregated, dict):
        return f"aggregated_metrics is {_quoted(aggregated)}; expected is an object"
    # Older versions of genai-bench write no iteration_type and no batch_size.
    load = "batch_size" if aggregated.get("iteration_type") == "batch_size" else "num_concurrency"
    expected = {
        "scenario": ("a text", _is_text),
        load: ("a whole number, 1 or more", _is_load),
        **dict.fromkeys(("stats", "error_codes_frequency"), ("an object", _is_object)),
        **dict.fromkeys(
            ("num_completed_requests", "num_error_requests", "run_duration"), ("a number, 0 or more", _is_amount)
        ),
    }
    for name, (kind, fits) in expected.items():
        if not fits(aggregated.get(name)):
            return f"aggregated_metrics.{name} is {_quoted(aggregated.get(name))}; expected is {kind}"
    for name, statistics in (aggregated.get("stats") or {}).items():
        if not _is_object(statistics):
            return f"aggregated_metrics.stats.{name} is {_quoted(statistics)}; expected is an object"
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_load(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_object(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _is_amount(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and 0 <= value < math.inf)


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


def level_of(data: Mapping[str, Any]) -> Level:
    """Return the level of a file, from its content: the characters of its name are replaced."""
    aggregated = data["aggregated_metrics"]
    if aggregated.get("iteration_type") == "batch_size":
        return Level(aggregated["scenario"], 1, aggregated["batch_size"])
    return Level(aggregated["scenario"], aggregated["num_concurrency"])


def measurement(data: Mapping[str, Any], validity: Validity, *, generates_text: bool = True) -> Measurement:
    """Return one level's measurement, with times in seconds and all problems that make it invalid."""
    aggregated = data["aggregated_metrics"]
    scale = 0.001 if data.get("_time_unit", "s") == "ms" else 1.0
    stats: Mapping[str, Any] = aggregated.get("stats") or {}
    figures: dict[str, float] = {}
    unusable: list[str] = []

    def take(name: str, value: Any, factor: float = 1.0, *, required: bool = True) -> None:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            figures[name] = float(value) * factor
        elif required:
            unusable.append(name)

    for time in _TIMES:
        for statistic in STATISTICS:
            # genai-bench omits the time per output token if a response took under a millisecond.
            take(f"{time}_{statistic}_s", (stats.get(time) or {}).get(statistic), scale, required=generates_text)
    for name, key in _RATES.items():
        take(name, aggregated.get(key))
    for statistic in STATISTICS:
        speed = (stats.get("output_inference_speed") or {}).get(statistic)
        # Per second, even if times are in milliseconds.
        take(f"request_output_tokens_per_s_{statistic}", speed, required=False)
    for name, (field, statistic) in _COUNTS.items():
        take(name, (stats.get(field) or {}).get(statistic), required=False)

    completed = int(aggregated.get("num_completed_requests") or 0)
    # genai-bench's error_rate is always 0, the counts are right.
    failed = int(aggregated.get("num_error_requests") or 0)
    result = Measurement(
        level=level_of(data),
        duration_s=float(aggregated.get("run_duration") or 0.0),
        num_requests=completed + failed,
        num_completed_requests=completed,
        num_failed_requests=failed,
        figures=figures,
    )
    problems = validity.problems(
        completed=completed,
        failed=failed,
        figures=figures,
        unusable=unusable,
        error_codes=aggregated.get("error_codes_frequency"),
        generates_text=generates_text,
    )
    return replace(result, problems=problems)
