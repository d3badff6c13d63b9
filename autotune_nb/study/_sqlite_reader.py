"""Reads a study from Optuna's tables in a SQLite file, without Optuna: importing it takes a second, its storage longer.

Of the tables of another version it reads nothing.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune_nb.study._dashboard_note import DASHBOARD, dashboard_edits
from autotune_nb.study._database_file import connect_read_only
from autotune_nb.study._stored_params import StoredParams
from autotune_nb.study._stored_study import StoredStudy
from autotune_nb.study._stored_trial import ATTRIBUTES, ENQUEUED, stored_trial
from autotune_nb.study._study_attributes import read_edits, read_elapsed, read_end_reason, read_fingerprints, read_run
from autotune_nb.study.steering import Steering
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial

#: The revisions of Optuna's tables that are known here.
_REVISIONS = [("v3.2.0.a",)]
#: Optuna's names of the states of trials that ended.
_ENDED = ("COMPLETE", "PRUNED", "FAIL")
#: SQLite binds at least 999 values in one statement.
_MOST_BOUND = 900


class UnknownTablesError(Exception):
    """A SQLite file has no tables of a known version of Optuna, or must be recovered first, which writes to it."""


@dataclass(frozen=True)
class _Rows:
    """The rows of a study: its attributes, its trials (id, number, state), and those of the trials not read before."""

    attributes: list[tuple[str, str]]
    dashboard: list[tuple[str, str]]
    trials: list[tuple[int, int, str]]
    trial_attributes: list[tuple[int, str, str]]
    params: list[tuple[int, str, float, str]]


class SqliteReader:
    """Reads a study, from the second time on only what has changed."""

    def __init__(self, file: Path, task: Task, space: SearchSpace, busy_s: float) -> None:
        self._file, self._task, self._space, self._busy_s = file, task, space, busy_s
        self._steering = Steering(task, space)
        #: By Optuna's id, the trials that ended, which do not change, each with the id of the edit that enqueued it.
        self._ended: dict[int, tuple[Trial, str | None]] = {}
        self._params = StoredParams(space)

    def read(self, name: str) -> StoredStudy | None:
        """Return the study of a name; None if there is none.

        Raises UnknownTablesError, sqlite3.Error, or LookupError, TypeError, ValueError or AttributeError if its
        content is damaged.
        """
        rows = self._rows(name)
        if rows is None:
            return None
        with _collector_paused():
            return self._parsed(rows)

    def _parsed(self, rows: _Rows) -> StoredStudy:
        attributes = {key: json.loads(text) for key, text in rows.attributes}
        fingerprints = read_fingerprints(attributes)
        params = self._params.points(rows.params)
        texts: dict[int, list[tuple[str, str]]] = {}
        for id_, key, text in rows.trial_attributes:
            if key in ATTRIBUTES:
                texts.setdefault(id_, []).append((key, text))
        trials, numbers_by_edit = [], {}
        for id_, number, state in rows.trials:
            trial, edit = self._ended.get(id_, (None, None))
            if trial is None:
                # Parsed one trial after the other: the records of thousands are some hundred megabytes.
                own = {key: json.loads(text) for key, text in texts.get(id_, ())}
                point = self._space.canonical(params.get(id_, {}))
                trial = stored_trial(number, point, own, fingerprints, ended=state in _ENDED)
                edit = own.get(ENQUEUED)
                if state in _ENDED:
                    self._ended[id_] = trial, edit
            trials.append(trial)
            if edit is not None:
                numbers_by_edit[edit] = number
        edits = read_edits(attributes)
        numbers = {id_: number for id_, number, _ in rows.trials}
        edits += dashboard_edits({key: json.loads(text) for key, text in rows.dashboard}, numbers.get, edits)
        if {edit.id for edit in edits} != {edit.id for edit in self._steering.edits}:
            self._steering = Steering(self._task, self._space, edits)
        return StoredStudy(
            trials=tuple(trials),
            steering=self._steering,
            trial_numbers_by_edit=numbers_by_edit,
            elapsed_s=read_elapsed(attributes),
            end_reason=read_end_reason(attributes),
            last_run=read_run(attributes),
        )

    def _rows(self, name: str) -> _Rows | None:
        if Path(f"{self._file}-wal").exists() and not Path(f"{self._file}-shm").exists():
            raise UnknownTablesError(f"{self._file} has a log of writes to recover")
        with contextlib.closing(connect_read_only(self._file, self._busy_s)) as connection:
            # All of one moment, whatever another process writes meanwhile.
            connection.execute("BEGIN")
            if connection.execute("SELECT version_num FROM alembic_version").fetchall() != _REVISIONS:
                raise UnknownTablesError(f"{self._file} has tables of another version")
            found = connection.execute("SELECT study_id FROM studies WHERE study_name = ?", (name,)).fetchone()
            if found is None:
                return None
            attributes = "SELECT key, value_json FROM study_user_attributes WHERE study_id = ?"
            dashboard = "SELECT key, value_json FROM study_system_attributes WHERE study_id = ? AND key LIKE ?"
            trials = "SELECT trial_id, number, state FROM trials WHERE study_id = ? ORDER BY number"
            trial_rows = connection.execute(trials, found).fetchall()
            new = [id_ for id_, _, _ in trial_rows if id_ not in self._ended]
            return _Rows(
                connection.execute(attributes, found).fetchall(),
                connection.execute(dashboard, (*found, f"{DASHBOARD}%")).fetchall(),
                trial_rows,
                list(_of_trials(connection, "key, value_json FROM trial_user_attributes", new)),
                list(_of_trials(connection, "param_name, param_value, distribution_json FROM trial_params", new)),
            )


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector, which would visit all trials again and again, for a tenth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _of_trials(connection: sqlite3.Connection, columns: str, ids: list[int]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of some trials, each with the trial's id first."""
    for start in range(0, len(ids), _MOST_BOUND):
        some = ids[start : start + _MOST_BOUND]
        rows: Iterable[tuple[Any, ...]] = connection.execute(
            f"SELECT trial_id, {columns} WHERE trial_id IN ({', '.join('?' * len(some))})", some
        )
        yield from rows
