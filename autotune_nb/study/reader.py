"""Reads a study as it is stored, by the fastest way that its storage allows."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from autotune_nb.errors import StudyError
from autotune_nb.study._database_file import (
    StorageBusyError,
    file_problem,
    location,
    not_found,
    recovery_text,
    require_study,
)
from autotune_nb.study._results_json import read_results
from autotune_nb.study._sqlite_reader import SqliteReader, UnknownTablesError
from autotune_nb.study._stored_study import LastRun, StoredStudy
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.storage_url import sqlite_file
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task

if TYPE_CHECKING:
    from autotune_nb.study.study import Study

_RESULTS = "results.json"
#: How many seconds a SQLite file may be locked by another program before ``results.json`` is read instead.
LOCKED_S = 10.0
_DAMAGED = (LookupError, TypeError, ValueError, AttributeError)


class StudyReader:
    """Reads the study of a folder, from the second time on mostly what has changed. Not thread-safe."""

    def __init__(self, task: Task, space: SearchSpace, folder: StudyFolder, storage: str | None = None) -> None:
        self._task, self._space, self._folder, self._given = task, space, folder, storage
        self._tables: SqliteReader | None = None
        self._study: Study | None = None

    def read(self) -> StoredStudy:
        """Return the study as it is stored.

        Raises StudyNotFoundError if the storage does not hold it, DamagedStorageError if that is missing or damaged,
        StorageBusyError if it stays locked, StudyError if it cannot be read for another reason.
        """
        url = self._folder.storage(self._given)
        name = require_study(self._folder, url)
        file = self._folder.database if url is None else sqlite_file(url)
        if file is not None:
            if file_problem(file):
                raise not_found(self._folder, url, name)
            self._tables = self._tables or SqliteReader(file, self._task, self._space, LOCKED_S)
            try:
                stored = self._tables.read(name)
                if stored is None:
                    raise not_found(self._folder, url, name)
                return stored
            except sqlite3.OperationalError as error:
                if "locked" in str(error):
                    where = location(self._folder, url)
                    raise StorageBusyError(
                        f"the study's storage {where} is locked by another program ({error})"
                    ) from None
            except (UnknownTablesError, sqlite3.Error, OSError, *_DAMAGED):
                # Optuna's storage reads it, or says what is wrong with it.
                self._tables = None
        try:
            study = self.open()
            study.reload()
            study.apply_new_edits()
        except StudyError:
            self._study = None
            raise
        return study.stored

    def open(self) -> Study:
        """Return the study in Optuna's storage, to write edits. Raises as ``read`` does."""
        if self._study is None:
            # Optuna takes a second to import.
            from autotune_nb.study.study import Study

            self._study = Study.view(self._task, self._space, self._folder, storage=self._given)
        return self._study

    def order(self, command: str, trial: int | None = None) -> None:
        """Store a command for all workers of a shared study; see ``RunCommand``. Raises as ``read`` does."""
        from autotune_nb.study.shared_study import SharedStudy

        study = self.open()
        assert isinstance(study, SharedStudy)
        study.order(command, trial)

    def read_results(self, error: StudyError) -> tuple[StoredStudy, str] | None:
        """Return what ``results.json`` has of a study whose storage cannot be read, and a sentence that says so.

        None if there is no such file, if it is damaged, or if the storage is not the study's.
        """
        if not self._folder.is_own_storage(self._folder.storage(self._given)):
            return None
        with contextlib.suppress(StudyError, *_DAMAGED):
            stored = read_results(self._folder.read(_RESULTS) or {}, self._task, self._space)
            shown = "The trials shown are those in results.json"
            if isinstance(error, StorageBusyError):
                return stored, f"{error}. {shown}; end that program to read and to resume the study"
            recovery = recovery_text(self._folder)
            return stored, f"{str(error).removesuffix(f': {recovery}')}. {shown}; to resume, {recovery}"
        return None

    def last_run_of_results(self) -> LastRun | None:
        """Return what ``results.json`` has of the last run, which earlier versions wrote nowhere else."""
        with contextlib.suppress(StudyError, *_DAMAGED):
            return LastRun.from_dict(self._folder.read(_RESULTS) or {})
        return None
