"""The figures measured at one load level, and the checks that they are valid."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotune_nb.errors import UnknownNameError
from autotune_nb.trial.condition_names import CONDITIONS
from autotune_nb.trial.engine_checks import CACHED_HINT, doubtful_hits, is_cached, miscount

STATISTICS = ("mean", "min", "max", "stddev", "p25", "p50", "p75", "p90", "p95", "p99")
_TIMES = ("ttft", "tpot", "e2e_latency", "output_latency")
_RATES = ("output_tokens_per_s", "input_tokens_per_s", "total_tokens_per_s", "requests_per_s")
#: A latency or a throughput that changes by this factor within a level is reported.
_DRIFT = 1.3
#: So is a standard error of the throughput above this share.
_MOST_ERROR = 0.1
#: Occurs only in the problem of too few requests, for which ``Measurement.hint`` returns the hint below.
_AT_LEAST = "completed, at least"
_TOO_FEW_HINT = (
    "give the level more time (workload.seconds_per_level), lower the concurrency, or request fewer tokens; check "
    "whether other processes use the machine"
)
#: Occurs only in the problem of short replies.
_SHORT = "replies had only"
_SHORT_HINT = (
    "short replies are fast, so their figures cannot be compared: let the server generate past the end of the text "
    "(ignore_eos), check that prompt and reply fit its context length, or allow shorter replies by "
    "workload.min_output_ratio"
)
#: Replies with more tokens than this times the requested ones, of which no server may generate any, are invalid.
_MAX_RATIO, _LONG = 1.25, "replies had"
_LONG_HINT = (
    "the server ignores max_tokens, or it counts tokens differently: see usage in its responses; if it reports none, "
    "genai-bench counts them, with model.tokenizer, which must be the model's own"
)
#: Begins the problem of a level with far fewer requests than their latency allows.
STALLED = "the level stalled:"
_STALLED_HINT = (
    "see engine.log, and whether the machine paused; if single requests take only milliseconds, genai-bench itself may "
    "be the limit: request more tokens, or lower the concurrency"
)
_NOT_FOUND = re.compile(r"requests failed \(.*\bx 404\b")
_NOT_FOUND_HINT = (
    "404 means that the server has no such model or path: compare the model's name with the name that the server uses "
    "(model.served_name)"
)
_SHORT_NAMES = {name: f"{name}_mean_s" for name in _TIMES}

#: How many requests per second, and which share of all requests, keep every bound of the task's goodput.
GOODPUT = ("goodput_requests_per_s", "goodput_share")
#: Rates that are also figures per GPU, as ``output_tokens_per_s_per_gpu``.
PER_GPU = ("output_tokens_per_s", "total_tokens_per_s", "requests_per_s", "goodput_requests_per_s")
USD_PER_MILLION_TOKENS = "usd_per_million_output_tokens"
#: The concurrency of a level. As an objective it is the highest one that keeps every limit (``load``).
MAX_CONCURRENCY = "max_concurrency"
#: A figure with a penalty for each soft limit that the level breaks, in the figure's unit (``penalty``).
SLO_SCORE = "slo_score"
#: Figures that also depend on the trial's GPUs and on the price; the runner adds them (``cost``).
COST_FIGURES = (*(f"{name}_per_gpu" for name in PER_GPU), USD_PER_MILLION_TOKENS)
#: How much a trial's answers are those of the engine's default: the share of equal tokens, and the divergence of their
#: probabilities in nats per token. They are of the whole trial, the same at each of its levels.
QUALITY = ("quality_agreement", "quality_kl")

#: Every figure that a measurement may have. Times are in seconds; rates are per second over the whole level.
FIGURES: tuple[str, ...] = (
    *(f"{name}_{stat}_s" for name in _TIMES for stat in STATISTICS),
    *_RATES,
    *(f"request_output_tokens_per_s_{stat}" for stat in STATISTICS),
    *GOODPUT,
    "input_tokens_mean",
    "output_tokens_mean",
    "output_tokens_min",
    *COST_FIGURES,
    *QUALITY,
    MAX_CONCURRENCY,
    SLO_SCORE,
)

#: What is recorded of the steady state that the figures are measured in: the requests that are scored, and those that
#: are not since they began together; its begin after that of the level and its seconds; the mean number of requests in
#: flight; the standard error of the throughput, and how much its second half differs from the first, as a share.
STEADY = (
    *("scored_requests", "unscored_requests", "steady_from_s", "steady_s", "concurrency_mean"),
    *("output_tokens_per_s_error", "output_tokens_per_s_drift"),
)
#: Fewer requests in flight than this share of the concurrency are noted.
_LEAST_BUSY = 0.9


def figure_name(name: str, *, field: str = "") -> str:
    """Return the canonical name of a figure: ``ttft`` is ``ttft_mean_s``, ``ttft_p99`` is ``ttft_p99_s``.

    Raises UnknownNameError, with the nearest names, for an unknown figure.
    """
    if name in FIGURES:
        return name
    if name in _SHORT_NAMES:
        return _SHORT_NAMES[name]
    if f"{name}_s" in FIGURES:
        return f"{name}_s"
    raise UnknownNameError("figure", name, (*FIGURES, *_SHORT_NAMES), field=field)


@dataclass(frozen=True, order=True)
class Level:
    """A load level: a traffic scenario with a number of concurrent requests, a batch size, or a request rate."""

    scenario: str
    concurrency: int = 1
    batch_size: int = 1
    #: Requests per second that arrive whether or not earlier ones are answered; 0 with a concurrency or a batch size.
    rate: float = 0.0

    @property
    def load(self) -> str:
        """Its load in words, such as ``concurrency 8`` or ``rate 2.5``, in requests per second."""
        if self.rate:
            return f"rate {self.rate:.12g}"
        return f"batch {self.batch_size}" if self.batch_size > 1 else f"concurrency {self.concurrency}"

    def __str__(self) -> str:
        return f"{self.scenario} at {self.load}"


@dataclass(frozen=True, repr=False)
class Measurement:
    """The result of one load level; figures are never averaged across levels.

    ``figures`` maps names of FIGURES to numbers, without figures that the benchmark could not compute. ``problems``
    are the reasons why the measurement is invalid; an invalid one is never scored. ``conditions`` maps names of
    CONDITIONS to numbers. ``beyond`` has for each limit on a percentile the number of scored requests, and how many of
    them were beyond its bound. ``runs`` is how often the level was measured: its figures are then means (``pooling``).
    ``steady`` has the numbers of STEADY, unless genai-bench ran without recording them.
    """

    level: Level
    duration_s: float
    num_requests: int
    num_completed_requests: int
    num_failed_requests: int
    figures: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    conditions: Mapping[str, float] = field(default_factory=dict)
    beyond: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    steady: Mapping[str, float] = field(default_factory=dict)
    runs: int = 1

    def __repr__(self) -> str:
        from autotune_nb.trial.summary import measurement_line

        return measurement_line(self)

    @property
    def valid(self) -> bool:
        return not self.problems

    @property
    def error(self) -> float | None:
        """The standard error of the throughput within the level, as a share of it; None if it is unknown."""
        error, rate = self.steady.get("output_tokens_per_s_error"), self.figures.get("output_tokens_per_s")
        return error / rate if error is not None and rate else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is doubtful in a valid measurement, in sentences."""
        found = [self.drift_text or self._throughput_text]
        busy, load = self.steady.get("concurrency_mean"), self.level.concurrency
        if busy is not None and not self.level.rate and busy < _LEAST_BUSY * load:
            text = f"only {busy:.3g} of {load} requests were in flight on average"
            found.append(f"{text}: genai-bench or this machine was the limit")
        scored = self.steady.get("scored_requests", self.num_completed_requests)
        found += [
            doubtful_hits(self.level.scenario, self.figures, self.conditions),
            miscount(
                self.figures, self.conditions, all_requests=self.num_requests, scored=scored, in_flight=load * self.runs
            ),
        ]
        return tuple(filter(None, found))

    @property
    def hint(self) -> str:
        """What to try if the measurement is invalid; empty if there is no advice."""
        # If requests failed, more time would only let more of them fail.
        few = not self.num_failed_requests and any(_AT_LEAST in problem for problem in self.problems)
        if any(_NOT_FOUND.search(problem) for problem in self.problems):
            return _NOT_FOUND_HINT
        if any(problem.startswith(_SHORT) for problem in self.problems):
            return _SHORT_HINT
        if any(problem.startswith(_LONG) for problem in self.problems):
            return _LONG_HINT
        if any(problem.startswith(STALLED) for problem in self.problems):
            return _STALLED_HINT
        if any(map(is_cached, self.problems)):
            return CACHED_HINT
        return _TOO_FEW_HINT if few else ""

    @property
    def drift_text(self) -> str:
        """By how much the latency changed within the level, in words; empty if it hardly did or is unknown."""
        drift = self.conditions.get("e2e_latency_drift", 1.0)
        if 1 / _DRIFT < drift < _DRIFT:
            return ""
        return f"the second half of its requests took {drift:.2f} times as long as the first half: it was not steady"

    @property
    def _throughput_text(self) -> str:
        """Why the throughput is no steady one, in words; empty if it is, or if that is unknown."""
        drift, error = self.steady.get("output_tokens_per_s_drift", 0.0), self.error
        if not 1 / _DRIFT < 1 + drift < _DRIFT:
            rose = "rose" if drift > 0 else "fell"
            return f"its throughput {rose} by {abs(drift):.0%} from the first half to the second: it was not steady"
        if error is not None and error > _MOST_ERROR:
            return (
                f"its throughput is known to ±{error:.0%} only: it was not steady, or too short; raise "
                "workload.seconds_per_level"
            )
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Return the level, the counts and every figure as one flat dictionary for JSON."""
        return {
            "scenario": self.level.scenario,
            "concurrency": self.level.concurrency,
            "batch_size": self.level.batch_size,
            **({"rate": self.level.rate} if self.level.rate else {}),
            "duration_s": self.duration_s,
            "num_requests": self.num_requests,
            "num_completed_requests": self.num_completed_requests,
            "num_failed_requests": self.num_failed_requests,
            "valid": self.valid,
            "problems": list(self.problems),
            **({"beyond": {limit: list(counts) for limit, counts in self.beyond.items()}} if self.beyond else {}),
            **self.steady,
            **({"runs": self.runs} if self.runs > 1 else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            **self.figures,
            **self.conditions,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measurement:
        return cls(
            level=Level(data["scenario"], data["concurrency"], data.get("batch_size", 1), data.get("rate", 0.0)),
            duration_s=data["duration_s"],
            num_requests=data["num_requests"],
            num_completed_requests=data["num_completed_requests"],
            num_failed_requests=data["num_failed_requests"],
            figures={name: data[name] for name in FIGURES if name in data},
            problems=tuple(data.get("problems", ())),
            conditions={name: data[name] for name in CONDITIONS if name in data},
            beyond={limit: (int(n), int(k)) for limit, (n, k) in (data.get("beyond") or {}).items()},
            steady={name: data[name] for name in STEADY if name in data},
            runs=int(data.get("runs", 1)),
        )


@dataclass(frozen=True)
class Validity:
    """The conditions under which the measurement of a level is valid."""

    max_failed_requests: int = 0
    min_completed_requests: int = 3
    #: The share of the requested output tokens that replies must have on average.
    min_output_ratio: float = 0.0

    def problems(
        self,
        *,
        completed: int,
        failed: int,
        figures: Mapping[str, float],
        unusable: Sequence[str] = (),
        error_codes: Mapping[str, int] | None = None,
        scored: int | None = None,
        generates_text: bool = True,
        requested_tokens: float = 0.0,
        requested_tokens_stddev: float = 0.0,
    ) -> tuple[str, ...]:
        """Return every reason why these counts and figures are not a valid measurement.

        ``unusable`` are the names of figures that the benchmark reported as None, NaN or infinite.
        ``scored`` is how many of the completed requests the figures are of, by default all.
        ``requested_tokens`` are the mean output tokens that were requested, 0 if they are unknown.
        """
        found = []
        if failed > self.max_failed_requests:
            codes = ", ".join(f"{count} x {code}" for code, count in sorted((error_codes or {}).items()))
            found.append(
                f"{failed} of {failed + completed} requests failed{f' ({codes})' if codes else ''}; "
                f"at most {self.max_failed_requests} may"
            )
        # If every request failed, nothing else was measured.
        if not completed and found:
            return tuple(found)
        scored = completed if scored is None else scored
        if scored < self.min_completed_requests:
            beside = f" besides the first {completed - scored}, which begin together" if completed > scored else ""
            needed = f"{_AT_LEAST} {self.min_completed_requests} are needed{beside}"
            found.append(f"only {scored} request{'s' * (scored != 1)} {needed}")
        if unusable:
            more = f" and {len(unusable) - 3} more figures" if len(unusable) > 4 else ""
            found.append(f"no usable number for {', '.join(unusable[: 3 if more else 4])}{more}")
        broken = sorted((n, v) for n, v in figures.items() if not math.isfinite(v) or v < 0)
        if broken:
            found.append(f"not finite or negative: {', '.join(f'{name} ({value:g})' for name, value in broken)}")
        if generates_text and completed and figures.get("output_tokens_min", 1) < 1:
            found.append("a response contained no token: the server returned something other than a completion")
        received = figures.get("output_tokens_mean")
        # The first request of each user may be shorter, so that they do not go on together.
        if generates_text and scored and received is not None:
            # Requests of random sizes: their mean may differ from that of the distribution.
            chance = 3 * requested_tokens_stddev / math.sqrt(max(scored, 1))
            least = self.min_output_ratio * requested_tokens - chance
            if received < least:
                found.append(
                    f"{_SHORT} {received:.4g} tokens on average, {requested_tokens:.4g} were requested; at least "
                    f"{least:.4g} are needed"
                )
            if requested_tokens and self.min_output_ratio and received > _MAX_RATIO * requested_tokens + chance + 1:
                found.append(
                    f"{_LONG} {received:.4g} tokens on average, and only {requested_tokens:.4g} were requested"
                )
        return tuple(found)
