"""Joining a shared study: the folder of a worker, and the task that its storage has."""

from __future__ import annotations

import itertools

import optuna

from autotune_nb.errors import StudyBusyError, StudyMismatchError, StudyNotFoundError, TaskError
from autotune_nb.study._loading import require_same_format
from autotune_nb.study._storage import close_storage, holds_study, open_storage, storage_errors
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.storage_url import is_shared, redact, with_password
from autotune_nb.study.worker import package_version
from autotune_nb.task.file import parse_task
from autotune_nb.task.task import Task


def acquire_worker_folder(folder: StudyFolder, storage: str | None, *, name: str | None = None) -> StudyFolder:
    """Create and lock the folder of a worker, and return it: ``folder``, or one below it if that is in use.

    ``name`` is the study's name in a shared storage, by default the folder's. Raises StudyBusyError if the folder is in
    use and its study is not shared.
    """
    folder.create()
    try:
        folder.acquire()
    except StudyBusyError:
        metadata = folder.metadata() or {}
        url = storage or metadata.get("storage")
        if not is_shared(url):
            raise
        name = name or metadata.get("optuna_name") or folder.path.name
        return _first_free(folder, url, name)
    if name is not None and not folder.exists:
        folder.ensure_metadata(storage, shared_name=name)
    return folder


def _first_free(folder: StudyFolder, url: str, name: str) -> StudyFolder:
    for number in itertools.count(2):
        found = StudyFolder(folder.path / "workers" / str(number))
        found.create()
        try:
            found.acquire()
        except StudyBusyError:
            continue
        if not found.exists:
            found.ensure_metadata(url, shared_name=name)
        return found
    raise AssertionError


def stored_task(folder: StudyFolder, storage: str, name: str) -> Task:
    """Return the task of a shared study.

    Raises StudyNotFoundError if the storage does not hold the study, StudyMismatchError if another release wrote it,
    StudyError if it cannot be read.
    """
    url = with_password(storage)
    with storage_errors(folder, url):
        if not holds_study(folder, url, name):
            raise StudyNotFoundError(f"{redact(url)} holds no study {name!r}; start it with at.tune or autotune-nb run")
        opened = open_storage(folder, url)
        try:
            study = optuna.load_study(storage=opened, study_name=name)
            require_same_format(study)
            attributes = study.user_attrs
        finally:
            close_storage(opened)
    try:
        return parse_task(attributes["task"])
    except TaskError as error:
        raise StudyMismatchError(
            f"the task of the study {name!r} was written by autotune_nb "
            f"{attributes.get('autotune_nb_version', 'of another release')}, and this is autotune_nb "
            f"{package_version()}, which cannot read it: {error}"
        ) from None
