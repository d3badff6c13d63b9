"""Finding the Optuna study that belongs to a folder, or beginning it there."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import optuna

from autotune_nb.errors import StudyError, StudyMismatchError, StudyNotFoundError
from autotune_nb.study._database_file import require_database
from autotune_nb.study._storage import damage_errors, holds_study, location, open_storage, storage_errors
from autotune_nb.study.folder import StudyFolder
from autotune_nb.task.task import Task

_SCHEMA = 1


def find_or_begin(task: Task, folder: StudyFolder, storage: str | None) -> tuple[optuna.Study, str | None]:
    """The study of a task, and its storage's URL (None for the folder's own database).

    Raises StudyMismatchError where the folder holds another task's study, StudyError where the storage cannot be
    reached or lost it.
    """
    about = folder.identity(storage)
    url = folder.storage(storage)
    if "optuna_name" in about:
        require_database(folder, url)
    about = _without_empty_study(folder, task, url, about)
    name = about.get("optuna_name")
    where = location(folder, url)
    with damage_errors(where), storage_errors(url):
        if name is not None and not holds_study(folder, url, name):
            raise StudyError(
                f"the trials of {folder.path} are not in {where}: no study {name!r}. Name the storage it began in, or "
                "choose another folder; results.json is left as it is"
            )
        folder.keep_task(task)
        study = optuna.create_study(
            storage=open_storage(folder, url),
            study_name=name or f"{task.name}-{about['id']}",
            direction=task.goal.direction,
            load_if_exists=True,
        )
        if "autotune_nb_id" not in study.user_attrs:
            study.set_user_attr("autotune_nb_id", about["id"])
            study.set_user_attr("autotune_nb_schema", _SCHEMA)
            study.set_user_attr("task", task.model_dump(mode="json"))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([task.goal.figure])
    if name is None:
        folder.write("study.json", {**about, "optuna_name": study.study_name})
    return study, url


def find(folder: StudyFolder, storage: str | None) -> tuple[optuna.Study, str | None]:
    """The study of a folder as it is, and its storage's URL; nothing is written.

    Raises StudyNotFoundError where the storage does not hold it, StudyError where it cannot be read.
    """
    url = folder.storage(storage)
    about = folder.about() or {}
    if "optuna_name" not in about:
        raise StudyNotFoundError(f"the study in {folder.path} has not begun")
    require_database(folder, url)
    name = about["optuna_name"]
    with storage_errors(url):
        if holds_study(folder, url, name):
            with contextlib.suppress(KeyError):
                return optuna.load_study(storage=open_storage(folder, url), study_name=name), url
    kept = "" if folder.keeps_trials_in(url) else f"; it is kept in {about['storage'] or folder.database}"
    raise StudyNotFoundError(f"{location(folder, url)} holds no study {name!r}{kept}")


def _without_empty_study(folder: StudyFolder, task: Task, url: str | None, about: dict[str, Any]) -> dict[str, Any]:
    """Forget the study of another task where it never began a trial: nothing is lost, nothing has to be compared.

    Raises StudyMismatchError where it has trials.
    """
    try:
        folder.require_same(task)
    except StudyMismatchError:
        name = about.get("optuna_name")
        with storage_errors(url):
            if name is not None and holds_study(folder, url, name):
                storage = open_storage(folder, url)
                if optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False):
                    raise
                optuna.delete_study(study_name=name, storage=storage)
        folder.forget_task()
        return {name: value for name, value in about.items() if name != "optuna_name"}
    return about
