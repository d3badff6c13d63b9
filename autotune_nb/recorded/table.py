"""A recorded table: configurations with their measured levels, start-up times and failures, to replay and compare."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from autotune_nb.errors import Failure, FailureKind, StudyError
from autotune_nb.recorded.file import read_frame
from autotune_nb.recorded.long_table import quoted, read_long_table
from autotune_nb.task.parameters import Value, parameter_name
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.trial import Trial, TrialState

#: Failures that say nothing about a configuration.
_NOT_ITS_FAULT = (FailureKind.INFRASTRUCTURE, FailureKind.INTERRUPTED)


def configuration_key(params: Mapping[str, Value]) -> str:
    """Return a text that identifies a configuration: without unset parameters, and 1 and 1.0 are equal."""
    return json.dumps(
        {parameter_name(name): _plain(value) for name, value in params.items() if value is not None},
        sort_keys=True,
    )


def _plain(value: Value) -> Value:
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class RecordedConfiguration:
    """A configuration with all of its recorded trials; several are repeats. ``gpus`` is None if it is unknown."""

    params: Mapping[str, Value]
    trials: tuple[Trial, ...]
    gpus: int | None = None

    @cached_property
    def failure(self) -> Failure | None:
        """The failure, if most of its trials failed."""
        failures = [trial.failure for trial in self.trials if trial.state is TrialState.FAILED]
        if 2 * len(failures) <= len(self.trials):
            return None
        return failures[0] or Failure(FailureKind.MEASUREMENT, "benchmark", "no reason is known")

    @cached_property
    def startup_s(self) -> float:
        """The mean time from the start of the engine to the first level, or to its failure."""
        return statistics.fmean(t.seconds.get("deploy", 0.0) + t.seconds.get("probe", 0.0) for t in self._alike)

    @cached_property
    def measurements(self) -> Mapping[Level, Measurement]:
        """The measured levels; figures and durations are means over the repeats."""
        found: dict[Level, list[Measurement]] = {}
        for trial in self._alike:
            for one in trial.measurements:
                # Tables list the levels of a configuration that failed, too.
                if one.figures:
                    found.setdefault(one.level, []).append(one)
        return {level: _mean(several) for level, several in found.items()}

    @property
    def command(self) -> tuple[str, ...]:
        """The engine's command line as it ran; empty if it was not recorded, as in a file."""
        return next((trial.command for trial in self.trials if trial.command), ())

    @property
    def _alike(self) -> list[Trial]:
        """The trials that ended as most of them did."""
        failed = self.failure is not None
        return [trial for trial in self.trials if (trial.state is TrialState.FAILED) is failed]


def _mean(several: Sequence[Measurement]) -> Measurement:
    if len(several) == 1:
        return several[0]
    names = [name for name in several[0].figures if all(name in one.figures for one in several)]
    return Measurement(
        several[0].level,
        statistics.fmean(one.duration_s for one in several),
        several[0].num_requests,
        several[0].num_completed_requests,
        several[0].num_failed_requests,
        {name: _center([one.figures[name] for one in several]) for name in names},
        next((one.problems for one in several if one.problems), ()),
    )


def _center(values: Sequence[float]) -> float:
    """Return the geometric mean, since noise is log-normal; of values that are not all positive the mean."""
    return statistics.geometric_mean(values) if min(values) > 0 else statistics.fmean(values)


@dataclass(frozen=True)
class RecordedTable:
    """Recorded configurations. ``name`` is the file or the study's folder as the user wrote it."""

    name: str
    configurations: tuple[RecordedConfiguration, ...]

    @classmethod
    def of_trials(
        cls, name: str, trials: Sequence[Trial], gpus: Mapping[int, int | None] | None = None
    ) -> RecordedTable:
        """Return the table of finished trials; ``gpus`` has the number of GPUs by the trial's number.

        Trials of one configuration become repeats. Trials that failed for a reason outside of the configuration are
        omitted. Raises StudyError if none remains.
        """
        groups: dict[str, list[Trial]] = {}
        for trial in trials:
            if trial.state.finished and not (trial.failure and trial.failure.kind in _NOT_ITS_FAULT):
                groups.setdefault(configuration_key(trial.params), []).append(trial)
        if not groups:
            raise StudyError(f"{name} has no finished trial; a recorded table needs at least one")
        found = [
            RecordedConfiguration(
                {parameter_name(n): value for n, value in own[0].params.items()},
                tuple(own),
                (gpus or {}).get(own[0].number),
            )
            for own in groups.values()
        ]
        return cls(name, tuple(found))

    @classmethod
    def of_file(cls, file: Path) -> RecordedTable:
        """Read a CSV or parquet file in long form. Raises StudyError, and SetupError if pyarrow is missing."""
        if not file.exists():
            raise StudyError(f"there is no file or study {str(file)!r}")
        frame = read_frame(file)
        trials = read_long_table(frame, source=file.name)
        if not trials:
            raise StudyError(f"{file} contains no results")
        gpus: dict[str, int | None] = {}
        if "gpus" in frame.columns:
            for name, cell in zip(frame["config_id"], frame["gpus"], strict=True):
                gpus.setdefault(str(name), _gpus(cell, f"{file.name}, configuration {name}"))
        return cls.of_trials(str(file), trials, dict(enumerate(gpus.values())))

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """Every measured level, in the order of the table."""
        return tuple(dict.fromkeys(level for one in self.configurations for level in one.measurements))

    @cached_property
    def parameter_names(self) -> frozenset[str]:
        """The names of all parameters that some configuration has."""
        return frozenset(name for one in self.configurations for name in one.params)

    @cached_property
    def _by_key(self) -> dict[str, RecordedConfiguration]:
        return {configuration_key(one.params): one for one in self.configurations}

    def find(self, params: Mapping[str, Value]) -> RecordedConfiguration | None:
        """Return a configuration, or None if it was not recorded."""
        return self._by_key.get(configuration_key(params))

    @cached_property
    def noise(self) -> Mapping[str, float]:
        """The standard deviation of each figure's logarithm between repeats; empty without repeats."""
        squares: dict[str, float] = {}
        degrees: dict[str, int] = {}
        for one in self.configurations:
            if one.failure is not None or len(one.trials) < 2:
                continue
            for level, merged in one.measurements.items():
                for name, center in merged.figures.items():
                    values = [m.figures[name] for t in one.trials for m in t.measurements if m.level == level]
                    if len(values) > 1 and min(values) > 0:
                        squares[name] = squares.get(name, 0.0) + sum(math.log(v / center) ** 2 for v in values)
                        degrees[name] = degrees.get(name, 0) + len(values) - 1
        return {name: math.sqrt(total / degrees[name]) for name, total in squares.items()}


def _gpus(cell: object, where: str) -> int | None:
    text = str(cell).strip().removesuffix(".0")
    if text in ("", "nan", "None", "<NA>"):
        return None
    if not text.isdecimal() or len(text) > 9:
        raise StudyError(f"{where}: gpus is {quoted(cell)}; expected a number of GPUs")
    return int(text)
