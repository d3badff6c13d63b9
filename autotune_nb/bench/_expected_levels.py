"""The load levels that a benchmark must deliver, and the errors for those that it did not."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from autotune_nb.bench._bench_log import relevant_lines, server_response, unknown_option
from autotune_nb.bench.results import DEBUG_FILE, failure_kind, level_of, measurement, read_level
from autotune_nb.errors import Failure, FailureKind, MeasurementError, SetupError, SurroundingsError, TrialError
from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level, Measurement, Validity

#: genai-bench takes seconds to end a level, and far longer to start without the fork server.
_SLACK_S_PER_LEVEL, _SLACK_S = 30.0, 120.0


class ExpectedLevels:
    """The levels of one run of the benchmark, by default the task's, and the measurements received so far."""

    def __init__(self, task: Task, levels: Sequence[Level] = ()) -> None:
        workload = task.workload
        self.expected = list(levels or workload.levels)
        self.received: set[Level] = set()
        self._workload, self._limits = workload, task.goal.limits
        self._engine_is_here = task.deploy.on_this_machine
        self._validity = Validity(
            max_failed_requests=workload.max_failed_requests,
            min_completed_requests=min(workload.min_completed_requests, workload.requests_per_level),
            min_output_ratio=workload.min_output_ratio,
        )

    def receive(self, data: Mapping[str, Any]) -> Measurement | None:
        """Return the measurement of a level's file; None if the level is not expected or was received before."""
        level = level_of(data)
        if level not in self.expected or level in self.received:
            return None
        self.received.add(level)
        workload = self._workload
        one = measurement(
            data,
            self._validity,
            generates_text=workload.generates_text,
            size=workload.request_size(level.scenario),
            limits=[limit for limit in self._limits if limit.bounds(level)],
            goodput=workload.goodput,
        )
        if self._engine_is_here and one.num_completed_requests < self._validity.min_completed_requests:
            one = replace(one, problems=(*one.problems, _load_text()))
        return one

    @property
    def missing(self) -> list[Level]:
        return [level for level in self.expected if level not in self.received]

    @property
    def skipped(self) -> list[Level]:
        """The missing levels that a later level has overtaken; levels run one after another."""
        return [
            level
            for level in self.missing
            if any(later in self.received for later in self.expected[self.expected.index(level) :])
        ]


def deadline_s(task: Task) -> float:
    """Return how many seconds all levels of a trial may take together."""
    workload = task.workload
    return task.deadlines.benchmark_s or (
        workload.most_levels * (workload.most_seconds + _SLACK_S_PER_LEVEL) + _SLACK_S
    )


def infra_error(message: str, hint: str = "", log: Sequence[str] = (), *, away: bool = False) -> TrialError:
    """Return the error for a benchmark that the cluster, not the configuration, prevented.

    It is a SurroundingsError if the cluster or a webhook is ``away``, so that the trial is repeated later.
    """
    failure = Failure(FailureKind.INFRASTRUCTURE, "benchmark", message, relevant_lines(log), hint)
    return (SurroundingsError if away else MeasurementError)(failure)


def timeout_error(missing: list[Level], within_s: float, log: Sequence[str]) -> MeasurementError:
    """Return the error for levels that were not delivered in time."""
    return MeasurementError(
        Failure(
            FailureKind.TIMEOUT,
            "benchmark",
            f"genai-bench delivered no figures for {_names(missing)} within {within_s:g} s",
            relevant_lines(log),
            "raise deadlines.benchmark_s, or give the levels fewer requests",
        )
    )


def missing_levels_error(
    missing: list[Level], code: int | None, folder: Path, log: Sequence[str], *, field: str
) -> MeasurementError | SetupError:
    """Return the error for levels that genai-bench ended or continued without.

    It is a SetupError if this genai-bench lacks an option, since then no trial can be measured; ``field`` is the
    task's field that selects it.
    """
    option = unknown_option(log) if code else None
    if option is not None:
        return SetupError(
            f"the installed genai-bench has no option {option}: it is older or newer than what calls it; use another "
            "version of genai-bench (or, for a BenchmarkJob, an image that fits this version of OME)",
            field=field,
        )
    torn = [file.name for file in folder.glob("*_time_*.json") if read_level(file) is None] if folder.is_dir() else []
    reason = f"; {', '.join(torn)} is truncated" if torn else ""
    ending = "continued without" if code is None else f"ended with code {code} and delivered no"
    if code is not None and code < 0:
        # As the system does to processes when its memory runs out.
        message = f"genai-bench was ended by {_signal_name(-code)} before it had figures for {_names(missing)}{reason}"
        hint = "see whether the machine's memory ran out (dmesg), or who ended it"
        return MeasurementError(Failure(FailureKind.INFRASTRUCTURE, "benchmark", message, relevant_lines(log), hint))
    errors = _request_errors(folder)
    if errors:
        reason += f"; its requests failed: {errors}"
    return MeasurementError(
        Failure(
            FailureKind.MEASUREMENT,
            "benchmark",
            f"genai-bench {ending} figures for {_names(missing)}{reason}",
            relevant_lines(log),
            _hint(server_response(log) or errors),
        )
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _hint(response: str) -> str:
    if response.startswith("404") or "such as 404" in response:
        return (
            "404 means that the server has no such model or path: compare the model's name with the name that the "
            "server uses (model.served_name)"
        )
    return (
        "give the level more seconds or fewer tokens, and check what else loads the machine; if the server answered no "
        "request, see engine.log"
    )


def log_lines(log: Path) -> list[str]:
    """Return the lines of a log file; an empty list if there is no file."""
    try:
        return scrub(log.read_text(encoding="utf-8", errors="replace")).splitlines()
    except OSError:
        return []


def _load_text() -> str:
    """Return this machine's load average of the last minute as text."""
    cpus = psutil.cpu_count() or 1
    return f"this machine's load was {psutil.getloadavg()[0]:.0f} on {cpus} CPU{'s' * (cpus != 1)}"


def _names(levels: list[Level]) -> str:
    return ", ".join(str(level) for level in levels)


def _request_errors(folder: Path) -> str:
    """Return the errors of the requests of a level without figures, if genai-bench stored them."""
    for file in sorted(folder.glob(f"{DEBUG_FILE}*.json")) if folder.is_dir() else []:
        try:
            requests = json.loads(file.read_text(encoding="utf-8"))["individual_request_metrics"]
        except (OSError, ValueError, KeyError):
            continue
        errors = [
            f"{failure_kind(r['error_code'])}: {' '.join(str(r.get('error_message')).split())[:160]}"
            for r in requests
            if r.get("error_code")
        ]
        if errors:
            return f"{len(errors)} of {len(requests)}, such as {errors[0]}"
    return ""
