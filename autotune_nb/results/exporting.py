"""What a study hands on: a command line, an environment file, a manifest, the task, every measurement."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from autotune_nb.engines.registry import engine_of_study
from autotune_nb.errors import SetupError, StudyError
from autotune_nb.results.long_table import long_table
from autotune_nb.secrets.references import command_text, secret_of, variables_in
from autotune_nb.task.external_results import is_imported
from autotune_nb.task.file import task_yaml
from autotune_nb.task.parameters import Value
from autotune_nb.task.task import Task
from autotune_nb.trial.formatting import params_text
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

Form = Literal["command", "env", "isvc", "yaml", "csv", "parquet"]
_ENV_HEADER = (
    "# For a shell (set -a; . FILE; set +a) or docker compose's env_file; docker run --env-file takes quotes literally."
)
#: What no variable's name may have.
_NO_NAME = re.compile(r"[^A-Za-z0-9_]")
#: What means something between double quotes.
_NOT_IN_DOUBLE = re.compile(r'["\\$`!\n]')
FORMS: tuple[Form, ...] = get_args(Form)


class BestConfiguration(Protocol):
    """The best configuration as ``Best`` has it."""

    @property
    def command(self) -> str: ...

    @property
    def manifest(self) -> str | None: ...


class ExportedStudy(Protocol):
    """What is read of a study to export it; every ``StudyHandle`` is one."""

    @property
    def path(self) -> Path: ...

    @property
    def task(self) -> Task: ...

    @property
    def history(self) -> Sequence[Trial]: ...

    @property
    def best(self) -> BestConfiguration | None: ...

    @property
    def best_trial(self) -> Trial | None: ...

    @property
    def verdict(self) -> str: ...

    def command(self, params: Mapping[str, Value]) -> list[str]: ...

    def manifest(self, params: Mapping[str, Value]) -> str | None: ...


def export(study: ExportedStudy, form: Form, *, trial: int | None = None) -> str | bytes:
    """A study in one of FORMS: text, or bytes for parquet.

    ``command``, ``env``, ``isvc`` are about the best configuration, or about ``trial``; ``yaml`` is the task, with
    ``trial`` the one that measures that configuration alone; ``csv`` and ``parquet`` are the measurements in long form,
    with ``trial`` of that one alone. Raises StudyError where there is none such, and for a study that was measured
    elsewhere, which has measurements alone; SetupError where parquet's library is missing.
    """
    if form in ("csv", "parquet"):
        frame = measurements(study, trial=trial)
        return frame.to_csv(index=False, lineterminator="\n") if form == "csv" else _parquet(frame)
    if is_imported(study.task):
        raise _nothing_to_start(study, form, trial)
    if form == "yaml":
        return task_yaml(study.task if trial is None else _fixed(study, _trial(study, trial)))
    chosen = _best(study) if trial is None else _trial(study, trial)
    best = study.best if trial is None else None
    command = best.command if best else command_text(study.command(chosen.params))
    if form == "command":
        return f"{command}\n"
    if form == "env":
        return _env(study.task, chosen.params, command)
    manifest = best.manifest if best else study.manifest(chosen.params)
    if manifest is None:
        raise StudyError(
            f"the study in {study.path} ran as local processes and has no InferenceService; ask for --as command, or "
            "tune with deploy.kind: ome (--deploy ome)"
        )
    return manifest


def measurements(study: ExportedStudy, *, trial: int | None = None) -> pd.DataFrame:
    """Every finished trial in long form; see ``long_table``. Raises StudyError where there is none."""
    trials = study.history if trial is None else (_trial(study, trial),)
    if not any(one.state.finished for one in trials):
        raise StudyError(f"no trial of the study in {study.path} is finished yet, so there is nothing to export")
    engine, fixed = engine_of_study(study.task), study.task.deploy.gpus_per_trial

    def gpus(one: Trial) -> int:
        if fixed is not None:
            return fixed
        if study.task.deploy.kind == "local" and one.fingerprint.get("gpus") == []:
            return 0
        return engine.gpus({**study.task.engine.args, **one.params})

    return long_table(trials, gpus)


def _trial(study: ExportedStudy, number: int) -> Trial:
    found = next((one for one in study.history if one.number == number), None)
    if found is None:
        known = f"it has trials 0 to {study.history[-1].number}" if study.history else "it has none"
        raise StudyError(f"the study in {study.path} has no trial {number}; {known}")
    return found


def _best(study: ExportedStudy) -> Trial:
    best = study.best_trial
    if best is None and not any(one.state.finished for one in study.history):
        raise StudyError(f"no trial of the study in {study.path} is finished yet, so there is none to export")
    if best is None:
        raise StudyError(f"{study.path}: {study.verdict} Name a trial with --trial N")
    return best


def _nothing_to_start(study: ExportedStudy, form: Form, number: int | None) -> StudyError:
    """Why a study that was measured elsewhere has no task and no way to start its engine, and what it has."""
    chosen = study.best_trial if number is None else _trial(study, number)
    had = f"; trial {chosen.number} had {params_text(chosen)}" if chosen is not None and form != "yaml" else ""
    lacks = "has no task" if form == "yaml" else "does not know how its engine is started"
    return StudyError(
        f"the study in {study.path} was measured elsewhere and imported, so it {lacks}{had}. Ask for --as csv or "
        "parquet, or import the results with --task, the task they are results of"
    )


def _fixed(study: ExportedStudy, trial: Trial) -> Task:
    """The task that measures one configuration alone: its parameters have one value each."""
    data = study.task.model_dump()
    given = {
        name: {"type": "choice", "values": [trial.params[name]], "flag": parameter.flag, "style": parameter.style}
        for name, parameter in study.task.parameters.items()
        if name in trial.params
    }
    budget = {**data["budget"], "trials": 1, "baseline": trial.baseline}
    # The rules were kept, and may name what is not there.
    return Task.parse({**data, "parameters": given, "rules": [], "budget": budget, "strategy": {"sampler": "grid"}})


def _env(task: Task, params: Mapping[str, Value], command: str) -> str:
    """``NAME=value`` a line, for a shell's ``set -a; . FILE`` and an ``env_file`` of docker compose: the engine's
    variables, then MODEL (what is served), ENGINE_COMMAND (the whole command line) and one ``PARAM_NAME`` a parameter.
    A secret is named, never told."""
    lines = [_ENV_HEADER]
    for name, value in task.engine.env.items():
        secret = secret_of(value)
        if secret:
            # Not set to nothing: whoever has exported it keeps it.
            lines.append(f"# {name} is {secret[1]} of the Secret {secret[0]}: set it yourself")
        else:
            lines.append(f"{name}={command_text([value]) if variables_in(value) else _env_value(value)}")
    rows = {"MODEL": task.model.id_or_path or task.model.served_name or "random weights", "ENGINE_COMMAND": command}
    for name, param in params.items():
        if param is not None:
            rows[f"PARAM_{_NO_NAME.sub('_', name).upper()}"] = param if isinstance(param, str) else _json(param)
    return "".join(f"{line}\n" for line in [*lines, *(f"{name}={_env_value(text)}" for name, text in rows.items())])


def _env_value(text: str) -> str:
    """A value that a shell and docker compose read alike, as far as one spelling means the same to both: bare, else in
    single quotes, else in double ones."""
    bare = shlex.quote(text)
    if "'" not in text or _NOT_IN_DOUBLE.search(text):
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
        raise SetupError("parquet needs pyarrow: pip install 'autotune_nb[parquet]', or ask for --as csv") from None
    return out.getvalue()
