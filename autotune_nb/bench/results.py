"""genai-bench's result files, read into measurements."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune_nb.trial.measurement import STATISTICS, Level, Measurement, Validity

#: A value that is wrong is quoted so far.
_SHOWN = 60
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
    """A level's file as genai-bench wrote it; None while it is not whole, or where it is no level's file."""
    data = _json_object(file)
    return data if data is not None and _wrong_field(data) is None else None


def why_no_level(file: Path) -> str:
    """Why ``read_level`` gives none of a file: it is cut short, or which field is not what it is to be."""
    data = _json_object(file)
    return (_wrong_field(data) if data is not None else None) or "it is cut short"


def _json_object(file: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _wrong_field(data: Mapping[str, Any]) -> str | None:
    """The first field that no level can be read from, its value and what was expected; None where there is none."""
    aggregated = data.get("aggregated_metrics")
    if not isinstance(aggregated, dict):
        return f"aggregated_metrics is {_shown(aggregated)}; expected is an object"
    # An older genai-bench has no iteration_type and no batch_size.
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
            return f"aggregated_metrics.{name} is {_shown(aggregated.get(name))}; expected is {kind}"
    for name, statistics in (aggregated.get("stats") or {}).items():
        if not _is_object(statistics):
            return f"aggregated_metrics.stats.{name} is {_shown(statistics)}; expected is an object"
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_load(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_object(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _is_amount(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and 0 <= value < math.inf)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def level_of(data: Mapping[str, Any]) -> Level:
    """Which level a file is of, read from inside it: its name is rewritten."""
    aggregated = data["aggregated_metrics"]
    if aggregated.get("iteration_type") == "batch_size":
        return Level(aggregated["scenario"], 1, aggregated["batch_size"])
    return Level(aggregated["scenario"], aggregated["num_concurrency"])


def measurement(data: Mapping[str, Any], validity: Validity, *, generates_text: bool = True) -> Measurement:
    """One level's measurement, in seconds whatever unit the file is in, with every reason why it may be invalid."""
    aggregated = data["aggregated_metrics"]
    scale = 0.001 if data.get("_time_unit", "s") == "ms" else 1.0
    stats: Mapping[str, Any] = aggregated.get("stats") or {}
    figures: dict[str, float] = {}
    unusable: list[str] = []

    def take(name: str, value: Any, factor: float = 1.0, *, needed: bool = True) -> None:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            figures[name] = float(value) * factor
        elif needed:
            unusable.append(name)

    for time in _TIMES:
        for statistic in STATISTICS:
            # A text's time per token is left out by genai-bench where a reply took under a millisecond.
            take(f"{time}_{statistic}_s", (stats.get(time) or {}).get(statistic), scale, needed=generates_text)
    for name, key in _RATES.items():
        take(name, aggregated.get(key))
    for statistic in STATISTICS:
        speed = (stats.get("output_inference_speed") or {}).get(statistic)
        # A rate a second, also where times are in milliseconds.
        take(f"request_output_tokens_per_s_{statistic}", speed, needed=False)
    for name, (field, statistic) in _COUNTS.items():
        take(name, (stats.get(field) or {}).get(statistic), needed=False)

    completed = int(aggregated.get("num_completed_requests") or 0)
    # error_rate is always 0; the counts tell.
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
