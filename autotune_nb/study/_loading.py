"""Loading the Optuna study of a folder, or creating it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.exc
import sqlalchemy.pool

from autotune_nb.errors import StudyError, StudyMismatchError
from autotune_nb.study._database_file import damage_errors, location, not_found, require_database, require_study
from autotune_nb.study._storage import closed_on_error, holds_study, open_storage, sql_engine, storage_errors
from autotune_nb.study._study_lock import setup_lock
from autotune_nb.study._worker_table import WorkerTable
from autotune_nb.study.folder import StudyFolder, require_same_task
from autotune_nb.study.format import FORMAT
from autotune_nb.study.storage_url import is_shared
from autotune_nb.study.worker import package_version
from autotune_nb.task.task import Task


def load_or_create(task: Task, folder: StudyFolder, storage: str | None) -> tuple[optuna.Study, str | None]:
    """Return the study of a task, created if need be, and the URL of its storage (None for the folder's own database).

    Raises StudyMismatchError if the folder holds another task's study, StudyError if the storage cannot be reached or
    no longer holds the study.
    """
    metadata = folder.ensure_metadata(storage)
    url = folder.storage(storage)
    if "optuna_name" in metadata:
        require_database(folder, url)
    metadata = _delete_empty_study(folder, task, url, metadata)
    name = metadata.get("optuna_name")
    where = location(folder, url)
    with damage_errors(where), storage_errors(folder, url), _setup(url) as end_setup:
        study_name = name or new_name(task, folder, url, metadata)
        exists = (name is not None or is_shared(url)) and holds_study(folder, url, study_name)
        if name is not None and not exists:
            raise StudyError(
                f"the trials of {folder.path} are not in {where}: no study {name!r}. Pass the storage in which it was "
                "created, or choose another folder; results.json is not changed"
            )
        if exists:
            # Other workers that join it need not wait.
            end_setup()
        folder.write_task(task)
        opened = open_storage(folder, url)
        with closed_on_error(opened):
            study = optuna.create_study(
                storage=opened,
                study_name=study_name,
                directions=[one.direction for one in task.goal.every],
                load_if_exists=True,
            )
            if "task" in study.user_attrs and is_shared(url):
                require_same_format(study)
                whose = f"the study {study.study_name!r} in {where}"
                require_same_task(study.user_attrs["task"], task, whose, of_worker=True)
                metadata = {**metadata, "id": str(study.user_attrs["autotune_nb_id"])}
            if "autotune_nb_id" not in study.user_attrs:
                study.set_user_attr("autotune_nb_id", metadata["id"])
                study.set_user_attr("autotune_nb_schema", FORMAT)
                study.set_user_attr("autotune_nb_version", package_version())
                study.set_user_attr("task", task.model_dump(mode="json"))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    study.set_metric_names(list(task.goal.figures))
    if name is None:
        folder.write("study.json", {**metadata, "optuna_name": study.study_name})
    return study, url


def new_name(task: Task, folder: StudyFolder, url: str | None, metadata: dict[str, Any]) -> str:
    """Return the name of a new study. In a shared storage it is the folder's, by which other workers find it."""
    if is_shared(url):
        return str(metadata.get("shared_name") or folder.path.name)
    return f"{task.name}-{metadata['id']}"


def require_same_format(study: optuna.Study) -> None:
    """Raise StudyMismatchError if another release of the package wrote the study in another format."""
    attributes = study.user_attrs
    stored, version = attributes.get("autotune_nb_schema"), attributes.get("autotune_nb_version", "of another release")
    if stored != FORMAT:
        raise StudyMismatchError(
            f"the study {study.study_name!r} has format {stored}, written by autotune_nb {version}, and this is "
            f"autotune_nb {package_version()}, which has format {FORMAT}: install that release, or start a new study"
        )


@contextlib.contextmanager
def _setup(url: str | None) -> Iterator[Callable[[], None]]:
    """Hold the lock under which a shared storage gets tables and studies, and yield what releases it early."""
    if url is None or not is_shared(url):
        yield lambda: None
        return
    try:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        # Opening the storage reports it.
        yield lambda: None
        return
    with setup_lock(engine) as release:
        yield release


def load(folder: StudyFolder, storage: str | None) -> tuple[optuna.Study, str | None]:
    """Return the study of a folder and the URL of its storage. Writes nothing.

    Raises StudyNotFoundError if the storage does not hold it, StudyError if it cannot be read.
    """
    url = folder.storage(storage)
    name = require_study(folder, url)
    with storage_errors(folder, url):
        if holds_study(folder, url, name):
            with contextlib.suppress(KeyError):
                return optuna.load_study(storage=open_storage(folder, url), study_name=name), url
    raise not_found(folder, url, name)


def _has_workers(study: optuna.Study) -> bool:
    """Return whether a worker of a shared study is alive, and may be about to start its first trial."""
    engine = sql_engine(study._storage)
    with engine.connect() as connection:
        return bool(WorkerTable(engine, study._study_id).live(connection))


def _delete_empty_study(folder: StudyFolder, task: Task, url: str | None, metadata: dict[str, Any]) -> dict[str, Any]:
    """Delete the study of another task if it has no trials and nobody works on it. Returns the folder's metadata.

    Raises StudyMismatchError otherwise.
    """
    try:
        folder.require_same_task(task)
    except StudyMismatchError:
        name = metadata.get("optuna_name")
        with storage_errors(folder, url):
            if name is not None and holds_study(folder, url, name):
                storage = open_storage(folder, url)
                with closed_on_error(storage):
                    study = optuna.load_study(study_name=name, storage=storage)
                    if study.get_trials(deepcopy=False) or (is_shared(url) and _has_workers(study)):
                        raise
                    optuna.delete_study(study_name=name, storage=storage)
        folder.delete_task()
        return {name: value for name, value in metadata.items() if name != "optuna_name"}
    return metadata
