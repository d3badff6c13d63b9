"""Checks of a whole level: figures that its duration does not allow, requests that stopped, latency that drifts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autotune_nb.bench._launcher import UNANSWERED
from autotune_nb.trial.measurement import STALLED, Measurement

#: A level stalled if it has less than this share of the requests that fit at their mean latency, unless the longest
#: request took more than that share of the level, hardly any fit, or the missing time is as short as that of a start.
_MIN_BUSY, _MAX_WAIT, _MIN_FITTING, _MIN_IDLE_S = 1 / 3, 1 / 4, 8, 5.0
#: By what factor a rate may be above the one of the counts: versions of genai-bench divide by different durations.
_MAX_RATE = 10.0
#: A request may take so many times the level's duration, and so many seconds more.
_MAX_TIMES, _MAX_MORE_S = 2.0, 60.0
#: The fewest groups of simultaneous requests in each half of a level for a comparison of the halves.
_MIN_GROUPS = 4


def problems(level: Measurement, aggregated: Mapping[str, Any], *, generates_text: bool) -> tuple[str, ...]:
    """Return what makes a level invalid as a whole."""
    stalled = _stalled(level, aggregated) if generates_text else None
    # Versions that do not write a duration write rates from which it follows, or it stays unknown.
    impossible = _impossible(level) if level.duration_s or aggregated.get("run_duration") is not None else ()
    return (*impossible, *([stalled] if stalled else []))


def _impossible(level: Measurement) -> Iterator[str]:
    """Yield the figures that cannot be, given the numbers of requests and the duration."""
    count, duration_s, figures = level.num_requests, level.duration_s, level.figures
    if not count:
        return
    if duration_s <= 0:
        yield f"the level's duration is {duration_s:g} s, in which no request completes: the result file is wrong"
        return
    requests = f"{count} request{'s' * (count != 1)} in {duration_s:.3g} s"
    per_s = count / duration_s
    tokens_in, tokens_out = figures.get("input_tokens_mean"), figures.get("output_tokens_mean")
    both = None if tokens_in is None or tokens_out is None else tokens_in + tokens_out
    most = {
        "requests_per_s": 1.0,
        "input_tokens_per_s": tokens_in,
        "output_tokens_per_s": tokens_out,
        "total_tokens_per_s": both,
    }
    for name, each in most.items():
        value = figures.get(name)
        if value is not None and each is not None and value > _MAX_RATE * max(each, 1.0) * per_s:
            yield f"{name} is {value:.4g}, but {requests} are {each * per_s:.4g}: the result file is wrong"
    for name, value in figures.items():
        if name.endswith("_s") and "_per_s" not in name and value > _MAX_TIMES * duration_s + _MAX_MORE_S:
            yield f"{name} is {value:.4g} s in a level of {duration_s:.3g} s: the result file is wrong"
            return


def _stalled(level: Measurement, aggregated: Mapping[str, Any]) -> str | None:
    """Return the problem of a level in which requests stopped for most of the time; None if they did not."""
    unanswered = int((aggregated.get("error_codes_frequency") or {}).get(str(UNANSWERED)) or 0)
    mean_s, longest_s = level.figures.get("e2e_latency_mean_s"), level.figures.get("e2e_latency_max_s")
    if not mean_s or not longest_s or level.level.rate:
        return None
    if unanswered:
        return (
            f"{unanswered} request{'s' if unanswered > 1 else ''} received nothing for most of the level "
            f"({level.duration_s:.3g} s), where others took at most {longest_s:.2g} s: the engine stopped answering"
        )
    fits = level.level.concurrency * level.duration_s / mean_s
    if fits < _MIN_FITTING:
        return None
    idle_s = level.duration_s * (1 - level.num_requests / fits)
    # At a load that the engine cannot serve, requests wait for most of the level too, but their latency shows it.
    waited = longest_s >= level.duration_s * _MAX_WAIT
    if level.num_requests < fits * _MIN_BUSY and idle_s >= _MIN_IDLE_S and not waited:
        return (
            f"{STALLED} only {level.num_requests} requests ended within {level.duration_s:.3g} s, where a mean latency "
            f"of {mean_s:.2g} s allows {fits:.0f} at this concurrency: the engine or the load stopped in between"
        )
    return None


def latency_drift(requests: Any, concurrency: int) -> float | None:
    """Return the mean latency of the second half of a level's requests divided by that of the first half.

    ``requests`` are in the order of their ends. The first ones, which start together, are left out. Returns None if
    there are too few.
    """
    if not isinstance(requests, list):
        return None
    latencies = [
        one["e2e_latency"]
        for one in requests
        if isinstance(one, dict) and not one.get("error_code") and _is_positive(one.get("e2e_latency"))
    ][concurrency:]
    # Requests of the same time are one group, since they wait for each other.
    starts = range(0, len(latencies) - concurrency + 1, concurrency)
    groups = [_mean(latencies[start : start + concurrency]) for start in starts]
    half = len(groups) // 2
    if half < _MIN_GROUPS:
        return None
    return _mean(groups[-half:]) / _mean(groups[:half])


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
