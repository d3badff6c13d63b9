"""Reads genai-bench's result files into measurements."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune_nb.bench._launcher import ABORTED, BURST_S, CUT, NO_COMPLETION, NO_TOKEN, OVERCLAIMED, UNANSWERED
from autotune_nb.bench._level_checks import latency_drift
from autotune_nb.bench._level_checks import problems as problems_of_level
from autotune_nb.bench._single_requests import beyond, goodput_figures
from autotune_nb.task.scenario import RequestSize
from autotune_nb.trial.measurement import STATISTICS, STEADY, Level, Measurement, Validity
from autotune_nb.trial.score import Limit

#: Begins the name of the file in which genai-bench stores a level without any completed request, before it ends.
DEBUG_FILE = "debug_for_run_"
#: How many characters of an invalid value are quoted.
_MAX_QUOTED = 60
#: Begins the problem of a level file whose load is neither a concurrency nor a batch size.
UNKNOWN_LOAD = "its load is of the kind"
#: No engine generates so many tokens per second for a single request.
_MAX_SPEED = 50_000.0
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


#: The names of the launcher's error codes, for messages.
_KINDS = {
    "-1": "error in the stream",
    str(NO_COMPLETION): "reply that is no completion",
    str(NO_TOKEN): "reply without a token",
    str(CUT): "stream cut off",
    str(ABORTED): "aborted by the server",
    str(UNANSWERED): "without any reply for most of the level",
    str(OVERCLAIMED): "more tokens in its usage than in its text",
}


def failure_kind(code: Any) -> str:
    """Return the name of a failed request's error code: that of the launcher, or the code itself."""
    return _KINDS.get(str(code), str(code))


def read_level(file: Path) -> dict[str, Any] | None:
    """Return the content of a level's file; None if it is incomplete or not the file of a level."""
    if file.name.startswith(DEBUG_FILE):
        return None
    data = json_object(file)
    return data if data is not None and _invalid_field(data) is None else None


def level_file_problem(file: Path) -> str:
    """Return why ``read_level`` returns None for a file: it is cut short, or a field is invalid."""
    data = json_object(file)
    return (_invalid_field(data) if data is not None else None) or "it is cut short"


def json_object(file: Path) -> dict[str, Any] | None:
    """Return the JSON object of a file; None if it cannot be read or is none."""
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
    kind = aggregated.get("iteration_type") or ("request_rate" if aggregated.get("request_rate") else None)
    if kind not in (None, "num_concurrency", "batch_size"):
        return f"{UNKNOWN_LOAD} {_quoted(kind)}, not a concurrency or a batch size"
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


def _rates_of_requests(data: Mapping[str, Any], aggregated: Mapping[str, Any]) -> dict[str, float]:
    """Return the token rates of all completed requests; empty if the file does not have every request.

    With a warm-up or a cool-down, genai-bench drops the tokens of those requests, and divides by the whole duration.
    """
    requests, duration_s = data.get("individual_request_metrics"), aggregated.get("run_duration")
    if not duration_s or not isinstance(requests, list):
        return {}
    completed = [one for one in requests if isinstance(one, dict) and not one.get("error_code")]
    tokens_in = [n for one in completed if isinstance(n := one.get("num_input_tokens"), int)]
    tokens_out = [n for one in completed if isinstance(n := one.get("num_output_tokens"), int)]
    if not len(tokens_in) == len(tokens_out) == aggregated.get("num_completed_requests"):
        return {}
    return {
        "output_tokens_per_s": sum(tokens_out) / duration_s,
        "input_tokens_per_s": sum(tokens_in) / duration_s,
        "total_tokens_per_s": (sum(tokens_in) + sum(tokens_out)) / duration_s,
    }


def _steady(data: Mapping[str, Any]) -> dict[str, float]:
    """Return what the launcher recorded of the steady state; empty if genai-bench ran without it."""
    found = data.get("steady")
    return {name: float(value) for name, value in found.items() if _is_number(value)} if isinstance(found, dict) else {}


def _steady_rates(steady: Mapping[str, float], at_once: float | None) -> dict[str, float]:
    """Return the rates of the steady state; ``at_once`` are the tokens of a reply that does not stream."""
    rates = {name: steady[name] for name in _RATES if name in steady}
    if at_once is not None and "requests_per_s" in rates:
        rates["output_tokens_per_s"] = at_once * rates["requests_per_s"]
    if {"output_tokens_per_s", "input_tokens_per_s"} <= rates.keys():
        rates["total_tokens_per_s"] = rates["output_tokens_per_s"] + rates["input_tokens_per_s"]
    return rates


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


def level_of(data: Mapping[str, Any]) -> Level:
    """Return the level of a file, from its content: the characters of its name are replaced."""
    aggregated = data["aggregated_metrics"]
    if aggregated.get("iteration_type") == "batch_size":
        return Level(aggregated["scenario"], 1, aggregated["batch_size"])
    if aggregated.get("iteration_type") == "request_rate":
        # Only ``aiperf`` gives such a level; ``read_level`` reads none.
        return Level(aggregated["scenario"], rate=aggregated["request_rate"])
    return Level(aggregated["scenario"], aggregated["num_concurrency"])


def impossible_speed(data: Mapping[str, Any]) -> float | None:
    """Return the highest output speed of a single request if it is impossible; None if it is possible or unknown.

    It is, if the tokens of a response come in one chunk.
    """
    speeds = (data["aggregated_metrics"].get("stats") or {}).get("output_inference_speed") or {}
    speed = speeds.get("max")
    return float(speed) if isinstance(speed, int | float) and speed > _MAX_SPEED else None


def _duration_s(aggregated: Mapping[str, Any], completed: int, figures: Mapping[str, float]) -> float:
    """Return the duration of a level; versions that do not write it write the number of requests and their rate."""
    duration, rate = aggregated.get("run_duration"), figures.get("requests_per_s")
    if duration is None and rate:
        return completed / rate
    return float(duration or 0.0)


def _aggregated(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the aggregated metrics, computed from the single requests if genai-bench did not.

    It computes none if no request has a time per output token, since every response came in one chunk.
    """
    aggregated: dict[str, Any] = data["aggregated_metrics"]
    stats = aggregated.get("stats") or {}
    given = (stats.get("e2e_latency") or {}).get("mean") is not None
    requests = data.get("individual_request_metrics")
    if given or not isinstance(requests, list) or not all(isinstance(request, dict) for request in requests):
        return aggregated
    names = ("ttft", "e2e_latency", "output_latency", "num_input_tokens", "num_output_tokens")
    done = [request for request in requests if all(_is_number(request.get(name)) for name in names)]
    if not done or len(done) != aggregated.get("num_completed_requests"):
        return aggregated
    values = {name: sorted(float(request[name]) for request in done) for name in names}
    # Each of the concurrent users sends its next request as soon as the previous one is answered.
    duration_s = sum(values["e2e_latency"]) / (aggregated.get("num_concurrency") or 1)
    if data.get("_time_unit", "s") == "ms":
        duration_s /= 1000
    if not duration_s:
        return aggregated
    tokens_in, tokens_out = sum(values["num_input_tokens"]), sum(values["num_output_tokens"])
    return {
        **aggregated,
        "run_duration": duration_s,
        "mean_input_throughput_tokens_per_s": tokens_in / duration_s,
        "mean_output_throughput_tokens_per_s": tokens_out / duration_s,
        "mean_total_tokens_throughput_tokens_per_s": (tokens_in + tokens_out) / duration_s,
        "requests_per_second": len(done) / duration_s,
        "stats": {**stats, **{name: statistics(one) for name, one in values.items()}},
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def statistics(ordered: Sequence[float]) -> dict[str, float]:
    """Return genai-bench's statistics of sorted numbers."""
    mean = math.fsum(ordered) / len(ordered)
    found = {"mean": mean, "min": ordered[0], "max": ordered[-1]}
    found["stddev"] = math.sqrt(math.fsum((value - mean) ** 2 for value in ordered) / len(ordered))
    for percent in (25, 50, 75, 90, 95, 99):
        place = percent / 100 * (len(ordered) - 1)
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        found[f"p{percent}"] = ordered[low] + (place - low) * (ordered[high] - ordered[low])
    return found


def measurement(
    data: Mapping[str, Any],
    validity: Validity,
    *,
    generates_text: bool = True,
    size: RequestSize | None = None,
    limits: Sequence[Limit] = (),
    goodput: Mapping[str, float] | None = None,
) -> Measurement:
    """Return one level's measurement, with times in seconds and all problems that make it invalid.

    ``size`` has the tokens that were requested, if they are known. For each of ``limits`` that is on a percentile, the
    requests beyond it are counted. ``goodput`` has the bounds that a request must keep to count for the goodput.

    If the responses have one token or come in one chunk, there is no time per output token, and it is left out.
    """
    aggregated = _aggregated(data)
    scale = 0.001 if data.get("_time_unit", "s") == "ms" else 1.0
    stats: Mapping[str, Any] = aggregated.get("stats") or {}
    figures: dict[str, float] = {}
    unusable: list[str] = []

    def take(name: str, value: Any, factor: float = 1.0, *, required: bool = True) -> None:
        if _is_number(value):
            figures[name] = float(value) * factor
        elif required:
            unusable.append(name)

    tpot = stats.get("tpot") or {}
    # Of streams that came all at once, genai-bench by itself computes a time between tokens that no engine reaches.
    at_once = _is_number(tpot.get("p50")) and 0 <= tpot["p50"] * scale < BURST_S
    between_tokens = not at_once and any(value is not None for value in tpot.values())
    for time in _TIMES:
        if time == "tpot" and at_once:
            continue
        required = generates_text and (time != "tpot" or between_tokens)
        for statistic in STATISTICS:
            take(f"{time}_{statistic}_s", (stats.get(time) or {}).get(statistic), scale, required=required)
    steady, tokens = _steady(data), (stats.get("num_output_tokens") or {}).get("mean")
    of_requests = {**_rates_of_requests(data, aggregated), **_steady_rates(steady, None if between_tokens else tokens)}
    for name, key in _RATES.items():
        # Versions differ in the rates that they write. Embeddings have no output, and responses of one token no rate.
        has_rate = name != "output_tokens_per_s" or (generates_text and between_tokens)
        value = aggregated.get(key)
        take(
            name, of_requests.get(name, value) if _is_number(value) else value, required=key in aggregated and has_rate
        )
    if "requests_per_second" not in aggregated and "requests_per_minute" in aggregated:
        take("requests_per_s", aggregated.get("requests_per_minute"), 1 / 60)
    for statistic in STATISTICS:
        speed = (stats.get("output_inference_speed") or {}).get(statistic)
        if at_once or (isinstance(speed, int | float) and speed > _MAX_SPEED):
            continue
        # Per second, even if times are in milliseconds.
        take(f"request_output_tokens_per_s_{statistic}", speed, required=False)
    if impossible_speed(data) is not None:
        # The outlier dominates them; the other percentiles remain.
        for statistic in ("mean", "max", "stddev"):
            figures.pop(f"request_output_tokens_per_s_{statistic}", None)
        figures.pop("tpot_min_s", None)
    for name, (field, statistic) in _COUNTS.items():
        take(name, (stats.get(field) or {}).get(statistic), required=False)

    if generates_text and "output_tokens_per_s" not in figures and not between_tokens:
        tokens, rate = figures.get("output_tokens_mean"), figures.get("requests_per_s")
        if tokens is not None and rate is not None:
            figures["output_tokens_per_s"] = tokens * rate
    if goodput:
        figures |= goodput_figures(data, goodput, figures.get("requests_per_s"))
    completed = int(aggregated.get("num_completed_requests") or 0)
    # genai-bench's error_rate is always 0, the counts are right.
    frequencies = (aggregated.get("error_codes_frequency") or {}).values()
    failed = max(int(aggregated.get("num_error_requests") or 0), sum(n for n in frequencies if isinstance(n, int)))
    result = Measurement(
        level=level_of(data),
        duration_s=_duration_s(aggregated, completed, figures),
        num_requests=completed + failed,
        num_completed_requests=completed,
        num_failed_requests=failed,
        figures=figures,
        beyond=beyond(data, limits),
        steady={name: value for name, value in steady.items() if name in STEADY},
    )
    problems = validity.problems(
        completed=completed,
        failed=failed,
        scored=int(steady.get("scored_requests", completed)),
        figures=figures,
        unusable=unusable,
        error_codes={failure_kind(code): n for code, n in (aggregated.get("error_codes_frequency") or {}).items()},
        generates_text=generates_text,
        requested_tokens=size.output_tokens if size is not None else 0.0,
        requested_tokens_stddev=size.output_tokens_stddev if size is not None else 0.0,
    )
    drift = latency_drift(data.get("individual_request_metrics"), result.level.concurrency)
    return replace(
        result,
        problems=(*problems, *problems_of_level(result, aggregated, generates_text=generates_text)),
        conditions={} if drift is None else {"e2e_latency_drift": round(drift, 4)},
    )
