"""What differs between two studies, and whether their figures can be compared at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from autotune_nb.task.task import Task
from autotune_nb.trial.comparable import company_text, disturbance, environment_text, shares_gpus
from autotune_nb.trial.drift import drift_text
from autotune_nb.trial.trial import Trial

#: What two studies may be compared for, by the property of the fingerprint, with its title.
_SUBJECTS = {
    "engine": "the engine",
    "engine_version": "the engine's version",
    "image": "the engine's image",
    "image_id": "the digest of the engine's image",
    "model": "the model",
    "gpus": "the GPUs",
    "gpu_driver": "the GPUs' driver",
    "cpu": "the CPU",
    "cpu_count": "the number of CPUs",
    "benchmark_version": "the benchmark's version",
}
#: Those of them that a regression may not be due to: with another model or machine, slower is no regression.
_OF_MACHINE = ("engine", "model", "gpus", "cpu", "cpu_count")
#: Fields of the workload that hardly change what a level measures, only how well it is known.
_PRECISION = (
    *("seconds_per_level", "requests_per_level", "precision", "max_seconds_per_level", "warmup_requests"),
    *("max_failed_requests", "min_completed_requests"),
)
#: Fields of the workload that give the levels. Other levels are no matter if the figures are read at one of them.
_LEVELS = ("concurrency", "batch_sizes", "rate", "load_search", "scenarios")
#: The longest value that is quoted.
_MAX_QUOTED = 60


class ComparableStudy(Protocol):
    """What a comparison reads of a study."""

    @property
    def task(self) -> Task: ...

    @property
    def history(self) -> Sequence[Trial]: ...


@dataclass(frozen=True)
class Change:
    """A property that differs between two studies, with its values as text."""

    name: str
    title: str
    before: str
    after: str

    def __str__(self) -> str:
        if max(len(self.before), len(self.after)) > _MAX_QUOTED:
            return self.title
        return f"{self.title} ({self.before or 'unknown'}, then {self.after or 'unknown'})"

    @property
    def of_machine(self) -> bool:
        """Whether a difference of the figures may be due to it alone, whatever the engine's version."""
        return self.name in _OF_MACHINE


def changes(before: ComparableStudy, after: ComparableStudy) -> tuple[Change, ...]:
    """Return what differs between the environments and settings of two studies; an unknown value does not."""
    found = []
    for name, title in _SUBJECTS.items():
        ours, theirs = (property_values(study.history, name) for study in (before, after))
        if name == "model" and not (ours and theirs):
            ours, theirs = _model(before.task), _model(after.task)
        if ours and theirs and set(ours) != set(theirs):
            found.append(Change(name, title, ", ".join(ours), ", ".join(theirs)))
    for name, title in (("args", "engine.args"), ("raw_args", "engine.raw_args"), ("env", "the engine's variables")):
        one, other = (getattr(study.task.engine, name) for study in (before, after))
        if one != other:
            # Of variables only the names: what is compared may be a secret's reference.
            shown = [", ".join(x) if name == "env" else json.dumps(x, default=str) for x in (one, other)]
            found.append(Change(name, title, *shown))
    if (one := before.task.limits) != (other := after.task.limits):
        found.append(Change("limits", "the limits", ", ".join(one) or "none", ", ".join(other) or "none"))
    return tuple(found)


def property_values(trials: Sequence[Trial], name: str) -> tuple[str, ...]:
    """Return the values of a property of the fingerprints of trials with a score, as text, each once."""
    known = {id(trial.fingerprint): trial.fingerprint for trial in trials if trial.state.scored}
    stored = "gpus" if name == "gpu_driver" else name
    values = (_text(name, fingerprint.get(stored)) for fingerprint in known.values())
    return tuple(dict.fromkeys(value for value in values if value))


def _text(name: str, value: Any) -> str:
    if value in (None, "", []):
        return ""
    if name == "model" and isinstance(value, Mapping):
        # Its name and folder may differ, its files are the same.
        value = value.get("sha256") or value.get("name") or value
    if isinstance(value, list):
        # As nvidia-smi lists a GPU: its name, its memory, and the version of the driver.
        parts = [str(one).split(", ") for one in value]
        if name == "gpu_driver":
            return ", ".join(dict.fromkeys(one[2] for one in parts if len(one) > 2))
        return _counted([", ".join(one[:2]) for one in parts])
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _counted(names: Sequence[str]) -> str:
    """Return names with their numbers, such as ``2 x NVIDIA H200``; a single one as it is."""
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items())


def _model(task: Task) -> tuple[str, ...]:
    return (task.model.id_or_path or json.dumps(task.model.model_dump(mode="json")["random_weights"]),)


def incomparable(before: ComparableStudy, after: ComparableStudy, figure: str | None = None) -> tuple[str, ...]:
    """Return why the figures of two studies cannot be compared, one reason each; empty if they can.

    With ``figure``, that figure is compared instead of the objectives.
    """
    one, other = before.task, after.task
    ours, theirs = one.goal, other.goal
    found = []
    if figure is None and (ours.figure, ours.direction) != (theirs.figure, theirs.direction):
        found.append(f"the objectives differ: {ours.direction} {ours.figure}, then {theirs.direction} {theirs.figure}")
    if ours.level != theirs.level:
        levels = (str(goal.level) if goal.level else "the best level" for goal in (ours, theirs))
        found.append(f"the figures are read at different levels: {', then '.join(levels)}")
    fixed = ours.level is not None and ours.level == theirs.level
    work, their_work = one.workload.model_dump(mode="json"), other.workload.model_dump(mode="json")
    ignored = (*_PRECISION, *(_LEVELS if fixed else ()))
    differ = [name for name in work if name not in ignored and work[name] != their_work[name]]
    found += [f"workload.{name} differs: {_short(work[name])}, then {_short(their_work[name])}" for name in differ]
    if not fixed and one.limits != other.limits:
        # Of the best level that keeps them.
        found.append(f"the limits decide which level is read, and differ: {one.limits}, then {other.limits}")
    if one.benchmark.kind != other.benchmark.kind:
        found.append(f"the benchmarks differ: {one.benchmark.kind}, then {other.benchmark.kind}")
    prompts = [property_values(study.history, "dataset_sha256") for study in (before, after)]
    if all(prompts) and set(prompts[0]) != set(prompts[1]):
        found.append("the prompts of the dataset differ (dataset_sha256)")
    replayed = [bool(study.task.deploy.replayed) for study in (before, after)]
    if replayed[0] != replayed[1]:
        found.append("one of them was replayed from a recorded table, the other was measured")
    return tuple(found)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


def cautions(study: ComparableStudy) -> str:
    """Return in sentences what is doubtful within a study: other environments, other work beside it, drift."""
    trials = study.history
    drift = drift_text(trials) if study.task.confirmation is None else ""
    return " ".join(filter(None, (environment_text(trials), company_text(trials), drift)))


def disturbed(trial: Trial) -> str:
    """Return what disturbed the measurement of a trial, in words; empty if nothing did."""
    if share := disturbance(trial):
        return f"other processes used {share:.0%} of the CPUs during trial {trial.number}"
    return f"other processes computed on the GPUs during trial {trial.number}" if shares_gpus(trial) else ""
