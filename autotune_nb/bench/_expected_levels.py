"""Which levels are expected and have landed, and what to say of those that did not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from autotune_nb.bench.results import level_of, measurement, read_level
from autotune_nb.errors import Failure, FailureKind, MeasurementError
from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level, Measurement, Validity

#: A level's end takes genai-bench a second of waiting and one of counting; starting up cold takes it far longer.
_SLACK_S_PER_LEVEL, _SLACK_S = 30.0, 120.0
#: What genai-bench says of a run that went wrong, and not of its plots and sheets.
_TELLING = re.compile(r"^(WARNING|ERROR|CRITICAL)\b|^\w[\w.]*(Error|Exception)\b|^Error: |‼|🚨", re.IGNORECASE)
_OF_REPORTS = re.compile(r"experiment_loader|plot_report|excel_report|has NoneType value in metric|^\s*$")


class Levels:
    """The levels of one trial's benchmark."""

    def __init__(self, task: Task) -> None:
        workload = task.workload
        self.expected = list(workload.levels)
        self.landed: set[Level] = set()
        self._generates_text = workload.generates_text
        self._engine_is_here = task.deploy.kind == "local"
        self._validity = Validity(
            max_failed_requests=workload.max_failed_requests,
            min_completed_requests=min(workload.min_completed_requests, workload.requests_per_level),
        )

    def take(self, data: Mapping[str, Any]) -> Measurement | None:
        """A level file's measurement; None for one that was not asked for or came before."""
        level = level_of(data)
        if level not in self.expected or level in self.landed:
            return None
        self.landed.add(level)
        one = measurement(data, self._validity, generates_text=self._generates_text)
        if self._engine_is_here and one.num_completed_requests < self._validity.min_completed_requests:
            one = replace(one, problems=(*one.problems, _load()))
        return one

    @property
    def missing(self) -> list[Level]:
        return [level for level in self.expected if level not in self.landed]

    @property
    def passed(self) -> list[Level]:
        """Those that will never land: levels run one after the other, and a later one has."""
        return [
            level
            for level in self.missing
            if any(later in self.landed for later in self.expected[self.expected.index(level) :])
        ]


def deadline_s(task: Task) -> float:
    """How long all levels of a trial may take together."""
    workload = task.workload
    return task.deadlines.benchmark_s or (
        len(workload.levels) * (workload.seconds_per_level + _SLACK_S_PER_LEVEL) + _SLACK_S
    )


def failed(message: str, hint: str = "", log: Sequence[str] = ()) -> MeasurementError:
    """The cluster, and not the configuration, kept a benchmark from happening."""
    return MeasurementError(Failure(FailureKind.INFRASTRUCTURE, "benchmark", message, telling(log), hint))


def late(missing: list[Level], within_s: float, log: Sequence[str]) -> MeasurementError:
    """Nothing came of these levels in time."""
    return MeasurementError(
        Failure(
            FailureKind.TIMEOUT,
            "benchmark",
            f"genai-bench gave nothing for {_names(missing)} within {within_s:g} s",
            telling(log),
            "raise deadlines.benchmark_s, or give the levels fewer requests",
        )
    )


def never_landed(missing: list[Level], code: int | None, folder: Path, log: Sequence[str]) -> MeasurementError:
    """genai-bench ended, or went on, without these levels."""
    torn = [file.name for file in folder.glob("*_time_*.json") if read_level(file) is None] if folder.is_dir() else []
    reason = f"; {', '.join(torn)} is cut short" if torn else ""
    ending = "went on without" if code is None else f"ended with code {code} and gave no"
    errors = _request_errors(folder)
    if errors:
        reason += f"; its requests failed: {errors}"
    return MeasurementError(
        Failure(
            FailureKind.MEASUREMENT,
            "benchmark",
            f"genai-bench {ending} figures for {_names(missing)}{reason}",
            telling(log),
            "give the level more seconds or fewer tokens, and see what else keeps the machine busy; if the server "
            "answered no request, engine.log says why",
        )
    )


def log_lines(log: Path) -> list[str]:
    """A log file's lines; none where there is none."""
    try:
        return scrub(log.read_text(encoding="utf-8", errors="replace")).splitlines()
    except OSError:
        return []


def telling(log: Sequence[str]) -> tuple[str, ...]:
    """The lines of genai-bench's log that tell most."""
    lines = [line for line in log if not _OF_REPORTS.search(line)]
    found = [line for line in lines if _TELLING.search(line)]
    return tuple(line[:300] for line in (found or lines)[-6:])


def _load() -> str:
    """How busy this machine was in the last minute."""
    cpus = psutil.cpu_count() or 1
    return f"this machine's load was {psutil.getloadavg()[0]:.0f} on {cpus} CPU{'s' * (cpus != 1)}"


def _names(levels: list[Level]) -> str:
    return ", ".join(str(level) for level in levels)


def _request_errors(folder: Path) -> str:
    """What the requests of a level without figures were answered with, where genai-bench kept that."""
    for file in sorted(folder.glob("debug_for_run_*.json")) if folder.is_dir() else []:
        try:
            requests = json.loads(file.read_text(encoding="utf-8"))["individual_request_metrics"]
        except (OSError, ValueError, KeyError):
            continue
        told = [f"{r.get('error_code')}: {str(r.get('error_message'))[:160]}" for r in requests if r.get("error_code")]
        if told:
            return f"{len(told)} of {len(requests)}, such as {told[0]}"
    return ""
