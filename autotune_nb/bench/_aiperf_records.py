"""Reads the requests that aiperf recorded into the form of genai-bench's level files, which ``results`` reads."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune_nb.bench._steady_state import LevelRecord
from autotune_nb.bench.results import statistics
from autotune_nb.trial.measurement import Level

#: aiperf's file of single requests, and the one that it writes when all its files are complete.
RECORDS, READY = "profile_export.jsonl", ".aiperf_results_ready.json"
#: A level is invalid if fewer requests than this share of its rate were sent; chance is allowed for.
_LEAST_SENT = 0.95
#: A request may be sent so late, as a share of the mean time to the first token, at least so many seconds.
_LATE_SHARE, _LATE_S = 0.1, 0.005
_ADVICE = "lower workload.rate, or give the client more CPU cores"
#: A request's fields in genai-bench's terms: their names in aiperf, and the factor of the unit.
_FIELDS = {
    "ttft": ("time_to_first_token", 0.001),
    "tpot": ("inter_token_latency", 0.001),
    "e2e_latency": ("request_latency", 0.001),
    "num_input_tokens": ("input_sequence_length", 1),
    "num_output_tokens": ("output_sequence_length", 1),
}
_STATISTICS = ("ttft", "tpot", "e2e_latency", "output_latency", "output_inference_speed")
_COUNTS = ("num_input_tokens", "num_output_tokens")


def read_records(file: Path) -> list[dict[str, Any]]:
    """Return the requests of a level in the order in which they were sent; incomplete lines are left out."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        metadata = record.get("metadata") if isinstance(record, dict) else None
        if not isinstance(metadata, dict) or metadata.get("benchmark_phase") != "profiling":
            continue
        if isinstance(metadata.get("request_start_ns"), int) and isinstance(metadata.get("request_end_ns"), int):
            found.append(record)
    return sorted(found, key=lambda one: int(one["metadata"]["request_start_ns"]))


def level_data(level: Level, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a level as genai-bench would write it, with times in seconds.

    The steady state begins with the end of the first request and ends when the last one is sent: afterwards the load
    is less than the rate.
    """
    first_s = _sent_s(records[0])
    record = LevelRecord(1, first_s, (level.scenario, 1))
    requests = []
    for one in records:
        request, began = _request(one), _sent_s(one)
        kept = record.begin(began)
        ended, failed = one["metadata"]["request_end_ns"] / 1e9, "error_code" in request
        kept.chunks.extend(() if failed else _token_times(began, request))
        kept.end(
            ended,
            tokens_in=request.get("num_input_tokens", 0),
            tokens_out=request.get("num_output_tokens", 0),
            failed=failed,
        )
        requests.append({**request, **record.stamps(kept)})
    completed = [one for one in requests if "error_code" not in one]
    duration_s = max(max(one["metadata"]["request_end_ns"] / 1e9 for one in records) - first_s, 1e-9)
    return {
        "aggregated_metrics": {
            "scenario": level.scenario,
            "iteration_type": "request_rate",
            "request_rate": level.rate,
            "run_duration": duration_s,
            "num_completed_requests": len(completed),
            "num_error_requests": len(requests) - len(completed),
            "error_codes_frequency": dict(Counter(one["error_code"] for one in requests if "error_code" in one)),
            "requests_per_second": len(completed) / duration_s,
            "mean_input_throughput_tokens_per_s": (tokens_in := _total("num_input_tokens", completed)) / duration_s,
            "mean_output_throughput_tokens_per_s": (tokens_out := _total("num_output_tokens", completed)) / duration_s,
            "mean_total_tokens_throughput_tokens_per_s": (tokens_in + tokens_out) / duration_s,
            "stats": {name: _statistics(name, completed) for name in (*_STATISTICS, *_COUNTS)},
        },
        "individual_request_metrics": requests,
        "steady": record.steady(_sent_s(records[-1])),
    }


def rate_problems(level: Level, records: Sequence[Mapping[str, Any]], *, poisson: bool) -> tuple[str, ...]:
    """Return why the load of a level was not its rate: too few requests were sent, or they were sent late."""
    if len(records) < 2:
        return ()
    seconds = _sent_s(records[-1]) - _sent_s(records[0])
    sent = (len(records) - 1) / seconds if seconds else math.inf
    chance = 3 / math.sqrt(len(records) - 1) if poisson else 1 / (len(records) - 1)
    found = []
    text = f"aiperf sent {sent:.3g} requests per second, asked for were {level.rate:.3g}"
    if sent < (_LEAST_SENT - chance) * level.rate:
        found.append(f"{text}: the client was the limit; {_ADVICE}")
    elif sent > (1 / _LEAST_SENT + chance) * level.rate:
        found.append(f"{text}: the client caught up with a delay; {_ADVICE}")
    late = [
        (one["metadata"]["request_start_ns"] - issued) / 1e9
        for one in records
        if isinstance(issued := one["metadata"].get("credit_issued_ns"), int)
    ]
    first = [request["ttft"] for one in records if "ttft" in (request := _request(one))]
    if late and first:
        mean_s, ttft_s = math.fsum(late) / len(late), math.fsum(first) / len(first)
        if mean_s > max(_LATE_S, _LATE_SHARE * ttft_s):
            found.append(
                f"aiperf sent each request {mean_s:.3g} s late on average, where the first token takes {ttft_s:.3g} s: "
                f"the client's CPU was the limit; {_ADVICE}"
            )
    return tuple(found)


def _request(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request as genai-bench names them, or those of a failed one."""
    metrics: Mapping[str, Any] = record.get("metrics") or {}
    error = record.get("error")
    if error or record["metadata"].get("was_cancelled"):
        code = (error or {}).get("code") or (error or {}).get("type") or "unanswered at the end of the level"
        return {"error_code": str(code), "error_message": str((error or {}).get("message") or code)}
    found: dict[str, Any] = {}
    for name, (theirs, factor) in _FIELDS.items():
        value = _value(metrics, theirs)
        if value is not None:
            found[name] = value * factor if factor != 1 else int(value)
    if "ttft" in found and "e2e_latency" in found:
        found["output_latency"] = found["e2e_latency"] - found["ttft"]
        if found["output_latency"] > 0 and found.get("num_output_tokens", 0) > 1:
            found["output_inference_speed"] = (found["num_output_tokens"] - 1) / found["output_latency"]
    return found


def _value(metrics: Mapping[str, Any], name: str) -> float | None:
    one = metrics.get(name)
    value = one.get("value") if isinstance(one, dict) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _token_times(began: float, request: Mapping[str, Any]) -> list[float]:
    """Return when the tokens of a reply arrived, evenly between the first and the last."""
    count = request.get("num_output_tokens") or 0
    if "ttft" not in request or "output_latency" not in request or not count:
        return []
    step = request["output_latency"] / max(count - 1, 1)
    return [began + request["ttft"] + step * i for i in range(count)]


def _total(name: str, completed: Sequence[Mapping[str, Any]]) -> float:
    """Return the sum over the requests; NaN, which no figure may be, if the server counted no tokens of one."""
    return math.fsum(one.get(name, math.nan) for one in completed)


def _statistics(name: str, completed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the statistics of the scored requests; without one, as genai-bench, none."""
    values = sorted(float(one[name]) for one in completed if one.get("scored") and name in one)
    return {**statistics(values)} if values else {"mean": None}


def _sent_s(record: Mapping[str, Any]) -> float:
    return int(record["metadata"]["request_start_ns"]) / 1e9
