"""Exports a study: a command line, an environment file, a manifest, the task, or every measurement."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from autotune_nb.cluster.names import slug
from autotune_nb.engines.given_flags import all_flags
from autotune_nb.engines.registry import engine_of_study
from autotune_nb.errors import SetupError, StudyError, TaskError
from autotune_nb.recorded.long_table import long_table
from autotune_nb.results.autoscaling import PROMETHEUS, Canary, autoscaled, canary
from autotune_nb.results.capacity import Capacity, Load, capacity_of
from autotune_nb.secrets.references import command_text, secret_of, variables_in
from autotune_nb.task.external_results import is_imported
from autotune_nb.task.file import task_yaml
from autotune_nb.task.parameters import Value
from autotune_nb.task.task import Task
from autotune_nb.trial.configuration import configuration_key, configurations
from autotune_nb.trial.formatting import params_text, value_text
from autotune_nb.trial.html_card import card_html, folded_html, preformatted_html
from autotune_nb.trial.trial import Trial, configuration_text

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["command", "env", "compose", "isvc", "hpa", "keda", "canary", "yaml", "csv", "parquet"]
_ENV_HEADER = (
    "# For a shell (set -a; . FILE; set +a) or docker compose's env_file; docker run --env-file takes quotes literally."
)
#: Characters that the name of a shell variable must not contain.
#: The number of GPUs in the environment of an imported trial.
NUM_GPUS = "num_gpus"
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_]")
#: Characters with a meaning between double quotes.
_NOT_IN_DOUBLE_QUOTES = re.compile(r'["\\$`!\n]')
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True, repr=False)
class Best:
    """The best configuration, and how to run it.

    ``command`` is the engine's command line (empty for imported results); ``manifest`` is its InferenceService as YAML,
    or None for a study of local processes.
    """

    number: int
    params: dict[str, Value]
    values: dict[str, float]
    command: str
    manifest: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.command

    def __repr__(self) -> str:
        return f"<Best, trial {self.number}: {self._values}, {configuration_text(self.params)}>"

    def _repr_html_(self) -> str:
        rows = [("Values", self._values), ("Parameters", configuration_text(self.params))]
        manifest = folded_html("Its InferenceService", preformatted_html(self.manifest or ""))
        return card_html(f"Best: trial {self.number}", rows, preformatted_html(self.command), manifest)

    @property
    def _values(self) -> str:
        return ", ".join(f"{value_text(value, name)} ({name})" for name, value in self.values.items())


class ExportableStudy(Protocol):
    """What an export reads of a study; every ``StudyHandle`` fulfils it."""

    @property
    def path(self) -> Path: ...

    @property
    def task(self) -> Task: ...

    @property
    def history(self) -> Sequence[Trial]: ...

    @property
    def best(self) -> Best | None: ...

    @property
    def best_trial(self) -> Trial | None: ...

    @property
    def verdict(self) -> object: ...

    def command(self, params: Mapping[str, Value]) -> list[str]: ...

    def manifest(self, params: Mapping[str, Value]) -> str | None: ...

    def compose(self, params: Mapping[str, Value]) -> str | None: ...


@dataclass(frozen=True)
class Replicas:
    """What ``hpa`` and ``keda`` need: the load, the fewest replicas, and for ``keda`` the Prometheus server."""

    load: Load
    min_replicas: int = 1
    prometheus: str = PROMETHEUS


def export(
    study: ExportableStudy,
    form: Format,
    *,
    trial: int | None = None,
    replicas: Replicas | None = None,
    split: Canary | None = None,
    against: int | None = None,
) -> str | bytes:
    """Return a study in one of FORMATS, as text, or as bytes for parquet.

    ``command``, ``env``, ``compose`` and ``isvc`` export the best configuration, or that of ``trial``, ``hpa`` and
    ``keda`` also with an autoscaler for the load of ``replicas``, and ``canary`` with a share of the requests beside
    the engine's default or the configuration of ``against``. ``yaml`` exports the task, with ``trial`` a task that
    measures only its configuration. ``csv`` and ``parquet`` export all measurements in long form, or those of
    ``trial``.

    Raises TaskError if an argument is missing or invalid; StudyError if there is no such trial, or for anything but
    measurements of a study with imported results; SetupError if the library for parquet is missing.
    """
    if form in ("csv", "parquet"):
        frame = measurements(study, trial=trial)
        return frame.to_csv(index=False, lineterminator="\n") if form == "csv" else _parquet(frame)
    if is_imported(study.task):
        raise _imported_error(study, form, trial)
    if form == "yaml":
        return task_yaml(study.task if trial is None else _single_configuration_task(study, _trial(study, trial)))
    chosen = _best(study) if trial is None else _trial(study, trial)
    best = study.best if trial is None else None
    command = best.command if best else command_text(study.command(chosen.params))
    if form == "command":
        return f"{command}\n"
    if form == "env":
        return _env(study.task, chosen.params, command, str(study.verdict) if trial is None else "")
    if form in ("hpa", "keda"):
        if replicas is None:
            raise TaskError("give the load that the replicas carry, such as --requests-per-second 20", field="load")
        name = slug(study.task.name, 40) or "tuned"
        return autoscaled(
            study.task,
            study.manifest(chosen.params),
            study_capacity(study, replicas.load, trial=trial),
            form,
            name=name if name[0].isalpha() else f"m-{name}",
            min_replicas=replicas.min_replicas,
            prometheus=replicas.prometheus,
        )
    if form == "compose":
        compose = study.compose(chosen.params)
        if compose is None:
            raise StudyError(
                f"the study in {study.path} did not run in containers and has no compose file; use --as command, or "
                "tune with deploy.kind: container (--deploy container --image IMAGE)"
            )
        return compose
    manifest = best.manifest if best else study.manifest(chosen.params)
    if form == "canary" and manifest is not None:
        old = study.manifest({} if against is None else _trial(study, against).params)
        assert old is not None
        return canary(study.task, old, manifest, split or Canary())
    if manifest is None:
        where = {"container": "ran in containers", "replay": "was replayed"}.get(
            study.task.deploy.kind, "ran as local processes"
        )
        raise StudyError(
            f"the study in {study.path} {where} and has no InferenceService; use --as command, or tune "
            "with deploy.kind: ome (--deploy ome)"
        )
    return manifest


def measurements(study: ExportableStudy, *, trial: int | None = None) -> pd.DataFrame:
    """Return every finished trial in long form; see ``long_table``. Raises StudyError if there is none."""
    trials = study.history if trial is None else (_trial(study, trial),)
    if not any(one.state.finished for one in trials):
        raise StudyError(f"no trial of the study in {study.path} is finished yet, so there is nothing to export")
    return long_table(trials, gpus_of_trial(study.task))


def gpus_of_trial(task: Task) -> Callable[[Trial], int | None]:
    """Return a function that returns the number of GPUs of a trial of a study; None if it is unknown."""
    engine, fixed = engine_of_study(task), task.deploy.gpus_per_trial

    def gpus(one: Trial) -> int | None:
        if one.gpus is not None:
            return one.gpus
        if fixed is not None:
            return fixed
        if is_imported(task):
            known = one.fingerprint.get(NUM_GPUS)
            return known if isinstance(known, int) else None
        if task.deploy.on_this_machine and one.fingerprint.get("gpus") == []:
            return 0
        return engine.gpus(all_flags(task, engine, one.params))

    return gpus


def study_capacity(study: ExportableStudy, load: Load, *, trial: int | None = None) -> Capacity:
    """Return how many replicas of the best configuration, or that of ``trial``, carry a load; see ``Capacity``.

    Raises StudyError if there is no such trial, or if its levels do not show it.
    """
    chosen = _best(study) if trial is None else _trial(study, trial)
    # With every start: those of a confirmation may have one level only.
    found = configurations(study.history).get(configuration_key(chosen))
    if found is None:
        raise StudyError(f"trial {chosen.number} of the study in {study.path} has no score, so its capacity is unknown")
    gpus = gpus_of_trial(study.task)(chosen)
    # Under the number that was given, or that of the verdict.
    return capacity_of(replace(found, searched=chosen), study.task.goal.limits, load, gpus=gpus, price=study.task.price)


def _trial(study: ExportableStudy, number: int) -> Trial:
    found = next((one for one in study.history if one.number == number), None)
    if found is None:
        known = f"it has trials 0 to {study.history[-1].number}" if study.history else "it has none"
        raise StudyError(f"the study in {study.path} has no trial {number}; {known}")
    return found


def _best(study: ExportableStudy) -> Trial:
    best = study.best_trial
    if best is None and not any(one.state.finished for one in study.history):
        raise StudyError(f"no trial of the study in {study.path} is finished yet, so there is none to export")
    if best is None:
        raise StudyError(f"{study.path}: {study.verdict} Name a trial with --trial N")
    return best


def _imported_error(study: ExportableStudy, form: Format, number: int | None) -> StudyError:
    """Return the error for a study with imported results, which has no task and no command line."""
    chosen = study.best_trial if number is None else _trial(study, number)
    params = f"; the parameters of trial {chosen.number} are {params_text(chosen)}" if chosen and form != "yaml" else ""
    missing = "task" if form == "yaml" else "engine's command line"
    return StudyError(
        f"the results of the study in {study.path} were imported, so its {missing} is unknown{params}. Use --as csv "
        "or parquet, or import the results with --task, the task that produced them"
    )


def _single_configuration_task(study: ExportableStudy, trial: Trial) -> Task:
    """Return the task that measures one configuration only: each of its parameters has one value."""
    data = study.task.model_dump()
    parameters = {
        name: {"type": "choice", "values": [trial.params[name]], "flag": parameter.flag, "style": parameter.style}
        for name, parameter in study.task.parameters.items()
        if name in trial.params
    }
    budget = {**data["budget"], "trials": 1, "baseline": trial.baseline}
    # Without rules: the configuration keeps them, and they may name parameters that are not set.
    changes = {"parameters": parameters, "rules": [], "budget": budget, "strategy": {"sampler": "grid"}}
    return Task.parse({**data, **changes})


def _env(task: Task, params: Mapping[str, Value], command: str, verdict: str) -> str:
    """Return ``NAME=value`` lines for a shell's ``set -a; . FILE`` and docker compose's ``env_file``.

    They set the engine's variables, MODEL, ENGINE_COMMAND (the whole command line) and one ``PARAM_NAME`` for each
    parameter. A secret is given by reference only. The verdict is a comment.
    """
    lines = [_ENV_HEADER, *([f"# {' '.join(verdict.split())}"] if verdict else [])]
    for name, value in task.engine.env.items():
        secret = secret_of(value)
        if secret:
            # A comment, so that a value that the user exported is not overwritten.
            lines.append(f"# {name} is {secret[1]} of the Secret {secret[0]}: set it yourself")
        else:
            lines.append(f"{name}={command_text([value]) if variables_in(value) else _env_value(value)}")
    rows = {"MODEL": task.model.id_or_path or task.model.served_name or "random weights", "ENGINE_COMMAND": command}
    for name, param in params.items():
        if param is not None:
            rows[f"PARAM_{_NOT_IN_NAME.sub('_', name).upper()}"] = param if isinstance(param, str) else _json(param)
    return "".join(f"{line}\n" for line in [*lines, *(f"{name}={_env_value(text)}" for name, text in rows.items())])


def _env_value(text: str) -> str:
    """Quote a value so that a shell and docker compose read the same, as far as such a spelling exists."""
    bare = shlex.quote(text)
    if "'" not in text or _NOT_IN_DOUBLE_QUOTES.search(text):
        return bare
    return f'"{text}"'


def _json(value: Value) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _parquet(frame: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    try:
        frame.to_parquet(out, index=False)
    except ImportError:
        raise SetupError("parquet needs pyarrow: pip install 'autotune_nb[parquet]', or use --as csv") from None
    return out.getvalue()
