"""A warm start: what the trials of previous studies show at points of a new study's space, as far as they fit."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from autotune_nb.engines.base import Engine
from autotune_nb.engines.quality import goal_with_quality
from autotune_nb.errors import MeasurementError, StudyError, TaskError
from autotune_nb.runner.previous_studies import PreviousTrials, read_previous
from autotune_nb.runner.proposals import default_point
from autotune_nb.search import Observation, PreviousStudy, SearchProblem, observation
from autotune_nb.secrets.scrubbing import scrub_data
from autotune_nb.study import StudyFolder
from autotune_nb.task.parameters import Value, parameter_name
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.load import levels_to_score
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.score import Objective, score
from autotune_nb.trial.trial import Trial, TrialState

#: The file in the study's folder with what it was started with: a resumed study proposes the same.
FILE = "warm-start.json"
#: So many reasons are named for trials that do not fit.
_MAX_REASONS = 3


@dataclass(frozen=True)
class WarmStart:
    """The previous studies as far as they fit, and notes on what is used, each one line."""

    studies: tuple[PreviousStudy, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the warm start for JSON."""
        return {
            "studies": [{"name": s.name, "observations": [asdict(o) for o in s.observations]} for s in self.studies],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WarmStart:
        """Return the warm start of a ``to_dict``. Raises LookupError or TypeError if it is damaged."""
        return cls(
            tuple(PreviousStudy(s["name"], tuple(map(_observation, s["observations"]))) for s in data["studies"]),
            tuple(data["notes"]),
        )


def _observation(data: Mapping[str, Any]) -> Observation:
    values = data["values"]
    return Observation(**{**data, "values": None if values is None else tuple(values), "excess": tuple(data["excess"])})


def warm_start_of(task: Task, space: SearchSpace, engine: Engine, folder: StudyFolder) -> WarmStart | None:
    """Return the warm start of a task's study: as stored in its folder, otherwise read and stored there.

    None if the task has none. Raises StudyError if a source cannot be read, TaskError if nothing of it fits.
    """
    if not task.warm_start:
        return None
    if (stored := stored_warm_start(task, folder)) is not None:
        return stored
    warm = fitted([_read(source, i) for i, source in enumerate(task.warm_start)], task, space, engine)
    folder.write(FILE, {"sources": task.warm_start, **scrub_data(warm.to_dict())})
    return warm


def warm_start_line(task: Task, space: SearchSpace, engine: Engine, folder: StudyFolder | None) -> str:
    """Return in a line what a task's warm start has; empty without one. Raises as ``warm_start_of``, writes nothing."""
    if not task.warm_start:
        return ""
    stored = stored_warm_start(task, folder) if folder is not None else None
    warm = stored or fitted([_read(source, i) for i, source in enumerate(task.warm_start)], task, space, engine)
    return "; ".join(warm.notes) or f"warm start from {', '.join(task.warm_start)}"


def stored_warm_start(task: Task, folder: StudyFolder) -> WarmStart | None:
    """Return the warm start that a run of the task stored in its study's folder, or None. Raises StudyError."""
    stored = folder.read(FILE) if task.warm_start else None
    if stored is None or stored.get("sources") != task.warm_start:
        return None
    try:
        return WarmStart.from_dict(stored)
    except (LookupError, TypeError, AttributeError) as error:
        raise StudyError(f"{folder.path / FILE} is damaged: {error}; delete it to read the studies again") from None


def _read(source: str, i: int) -> PreviousTrials:
    try:
        return read_previous(source)
    except (StudyError, TaskError) as error:
        raise StudyError(f"warm_start[{i}]: {error}") from None


def fitted(sources: Sequence[PreviousTrials], task: Task, space: SearchSpace, engine: Engine) -> WarmStart:
    """Return what of previous studies fits a task. Raises TaskError if nothing of one of them does."""
    studies, notes = [], []
    for i, source in enumerate(sources):
        found, own_notes = _fit(source, task, space, engine, field=f"warm_start[{i}]")
        studies.append(found)
        notes += [f"warm start: {note}" for note in own_notes]
    return WarmStart(tuple(studies), tuple(notes))


def _fit(
    source: PreviousTrials, task: Task, space: SearchSpace, engine: Engine, *, field: str
) -> tuple[PreviousStudy, list[str]]:
    previous = source.task
    if previous is not None and previous.engine.kind != task.engine.kind:
        raise TaskError(
            f"{source.name} is a study of {previous.engine.kind}, and this task tunes {task.engine.kind}: their "
            "parameters have other meanings; give studies of the same engine",
            field=field,
        )
    goal = goal_with_quality(task, engine)
    problem = SearchProblem(space, goal.every)
    points = _Points(source, task, space, engine)
    observations, left_out = [], collections.Counter[str]()
    foreign = False
    for trial in source.trials:
        try:
            point = points.of(trial)
            own, other = _scored(trial, task, goal)
        except (TaskError, MeasurementError) as error:
            left_out[_reason(error)] += 1
            continue
        observations.append(
            replace(observation(own.with_(params=point, baseline=False), problem), seconds=trial.work_s)
        )
        foreign = foreign or other
    complete = sum(1 for one in observations if one.values is not None)
    reasons = [f"{count} since {reason}" for reason, count in left_out.most_common(_MAX_REASONS)]
    if not complete:
        why = "; ".join(reasons) if reasons else "all of them failed"
        raise TaskError(
            f"no complete trial of {source.name} fits this task ({len(source.trials)} trials: {why}); remove it, or "
            "search the parameters that it searched",
            field=field,
        )
    used = f"{complete} complete trials of {source.name} inform the search"
    notes = [f"{used}; left out: {'; '.join(reasons)}" if reasons else used]
    if foreign:
        notes.append(f"{source.name} was measured at other load levels: only the differences between them are used")
    return PreviousStudy(source.name, tuple(observations)), notes


def _reason(error: TaskError | MeasurementError) -> str:
    """Return why a trial is left out, without what differs from trial to trial."""
    return str(error).partition(";")[0]


class _Points:
    """Converts configurations of a previous study to points of the new space."""

    def __init__(self, source: PreviousTrials, task: Task, space: SearchSpace, engine: Engine) -> None:
        self._space, self._engine = space, engine
        self._default = default_point(space, engine)
        self._fixed = {parameter_name(name): value for name, value in task.engine.args.items()}
        previous = source.task.engine.args if source.task is not None else {}
        self._previously_fixed = {parameter_name(name): value for name, value in previous.items()}

    def of(self, trial: Trial) -> Point:
        """Return the point of a trial. Raises TaskError if it has none."""
        given = {**self._previously_fixed, **{parameter_name(name): v for name, v in trial.params.items()}}
        point: Point = {}
        for name in self._space.parameters:
            point[name] = given[name] if name in given else self._value_of_default(name)
        for name, value in given.items():
            if name not in self._space.parameters and value != (used := self._used(name)):
                known = "its default" if used is None else repr(used)
                raise TaskError(f"{name} is not searched here and stays at {known}, not {value!r}")
        try:
            return self._space.check(point)
        except TaskError as error:
            raise TaskError(f"it is not in the space: {error}") from None

    def _value_of_default(self, name: str) -> Value:
        if self._default is None:
            parameter = self._space.parameters[name]
            flag = self._engine.flag_named(name)
            value = None if parameter.contains(None) else flag.default if flag is not None else None
            if not parameter.contains(value):
                raise TaskError(f"it did not set {name}, whose default is not in the space")
            return value
        return self._default[name]

    def _used(self, name: str) -> Value:
        """Return the value that the new study's trials have of a parameter which it does not search."""
        if name in self._fixed:
            return self._fixed[name]
        flag = self._engine.flag_named(name)
        return None if flag is None else flag.default


def _scored(trial: Trial, task: Task, goal: Objective) -> tuple[Trial, bool]:
    """Return a trial with its score by this task's goal, and whether it was measured at other levels.

    Raises MeasurementError if it lacks a figure.
    """
    if not trial.state.scored:
        return trial, False
    valid = [one for one in trial.measurements if one.valid]
    levels = set(task.workload.levels)
    own = [one for one in valid if one.level in levels and goal.level in (None, one.level)]
    found: Sequence[Measurement] = own or valid
    wanted = goal if own else replace(goal, level=None, others=tuple(replace(o, level=None) for o in goal.others))
    return trial.with_(state=TrialState.COMPLETE, score=score(levels_to_score(found, wanted), wanted)), not own
