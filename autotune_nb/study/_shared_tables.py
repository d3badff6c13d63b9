"""The statements of a shared study on Optuna's tables in PostgreSQL, for which Optuna needs several times as many."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial

from autotune_nb.study._bulk import rows_of
from autotune_nb.study._dashboard_note import DASHBOARD, dashboard_edits
from autotune_nb.study._edit import Edit
from autotune_nb.study._stored_params import StoredParams
from autotune_nb.study._stored_trial import ATTRIBUTES, ENDED_AT, WORKER
from autotune_nb.study._study_attributes import read_edits
from autotune_nb.task.space import Point, SearchSpace

#: Optuna stores times in UTC, without a time zone.
_NOW = "clock_timestamp() AT TIME ZONE 'UTC'"
_UNFINISHED = "state IN ('RUNNING', 'WAITING')"
#: Of one moment. The trials of a study become visible in the order of their ids, since each is added under a lock.
_CHANGES = """
WITH changed AS (
    SELECT trial_id, number, state, datetime_complete FROM trials
    WHERE study_id = :study AND (trial_id > :last OR trial_id = ANY(CAST(:unfinished AS integer[])))
)
SELECT 'study' AS kind, 0 AS id, key AS name, value_json AS text, CAST(NULL AS double precision) AS number
FROM study_user_attributes WHERE study_id = :study
UNION ALL SELECT 'system', 0, key, value_json, NULL FROM study_system_attributes
WHERE study_id = :study AND key LIKE :dashboard
UNION ALL SELECT CAST(state AS text), trial_id, CAST(number AS text), '',
    extract(epoch FROM datetime_complete AT TIME ZONE 'UTC') FROM changed
UNION ALL SELECT 'attribute', trial_id, key, value_json, NULL FROM trial_user_attributes JOIN changed USING (trial_id)
UNION ALL SELECT 'parameter', trial_id, param_name, distribution_json, param_value
FROM trial_params JOIN changed USING (trial_id)
"""
_LOCK_STUDY = "SELECT study_id FROM studies WHERE study_id = :study FOR UPDATE"
_LOCK_TRIAL = "SELECT CAST(state AS text) FROM trials WHERE trial_id = :trial FOR UPDATE"
_START = f"""
WITH started AS (
    INSERT INTO trials (study_id, number, state, datetime_start)
    SELECT :study, count(*), 'RUNNING', {_NOW} FROM trials WHERE study_id = :study
    RETURNING trial_id, number
), parameters AS (
    INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
    SELECT trial_id, param_name, param_value, distribution_json FROM started, json_to_recordset(CAST(:params AS json))
        AS one (param_name text, param_value double precision, distribution_json text)
), attributes AS (
    INSERT INTO trial_user_attributes (trial_id, key, value_json)
    SELECT trial_id, key, value FROM started, json_each_text(CAST(:attributes AS json))
)
SELECT trial_id, number FROM started
"""
_SET = "ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json"
_CLAIM = f"""
WITH claimed AS (SELECT trial_id FROM trials WHERE trial_id = :trial AND {_UNFINISHED} FOR UPDATE)
INSERT INTO trial_user_attributes (trial_id, key, value_json)
SELECT trial_id, key, value FROM claimed, json_each_text(CAST(:attributes AS json))
{_SET} RETURNING trial_id
"""
#: Without effect unless the trial is the worker's. Values that are there are of a crash of an earlier release.
_END = f"""
WITH ended AS (
    UPDATE trials SET state = CAST(:state AS trialstate), datetime_complete = {_NOW}
    WHERE trial_id = :trial AND :worker = (
        SELECT CAST(value_json AS json) ->> 0 FROM trial_user_attributes WHERE trial_id = :trial AND key = '{WORKER}'
    )
    RETURNING trial_id
), attributes AS (
    INSERT INTO trial_user_attributes (trial_id, key, value_json)
    SELECT trial_id, key, value FROM ended, json_each_text(CAST(:attributes AS json))
    UNION ALL SELECT trial_id, '{ENDED_AT}', CAST(extract(epoch FROM clock_timestamp()) AS text) FROM ended
    {_SET}
), system_attributes AS (
    INSERT INTO trial_system_attributes (trial_id, key, value_json)
    SELECT trial_id, key, value FROM ended, json_each_text(CAST(:system_attributes AS json))
    {_SET}
), intermediate AS (
    INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)
    SELECT trial_id, step, value, 'FINITE' FROM ended, json_to_recordset(CAST(:intermediate AS json))
        AS one (step integer, value double precision)
    ON CONFLICT (trial_id, step) DO NOTHING
), objectives AS (
    INSERT INTO trial_values (trial_id, objective, value, value_type)
    SELECT trial_id, objective, value, 'FINITE' FROM ended, json_to_recordset(CAST(:values AS json))
        AS one (objective integer, value double precision)
    ON CONFLICT (trial_id, objective) DO UPDATE SET value = excluded.value, value_type = excluded.value_type
)
SELECT trial_id FROM ended
"""


@dataclass(frozen=True)
class ChangedTrial:
    """A stored trial that is new or has changed; ``ended_at`` is in seconds since the epoch, None while it runs."""

    id: int
    number: int
    state: str
    ended_at: float | None
    params: Point
    attributes: Mapping[str, Any]

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.state not in ("RUNNING", "WAITING")


@dataclass(frozen=True)
class Changes:
    """The attributes of a study, its edits, also those of optuna-dashboard, and the trials that may have changed."""

    attributes: Mapping[str, Any]
    edits: list[Edit]
    trials: list[ChangedTrial]


@dataclass
class _Parts:
    """The rows of one trial."""

    number: int = -1
    state: str = ""
    at: float | None = None
    texts: dict[str, str] = field(default_factory=dict)


class SharedTables:
    """Reads and writes the trials of one study; raises the errors of SQLAlchemy, and KeyError without the study."""

    def __init__(self, study_id: int, space: SearchSpace) -> None:
        self._study_id, self._space = study_id, space
        self._params = StoredParams(space)
        #: The highest id that was read, and the ids up to it of the trials that had not ended.
        self._last, self._unfinished = -1, set[int]()
        self._numbers: dict[int, int] = {}

    def changes(self, connection: sqlalchemy.Connection) -> Changes:
        """Return what is new or may have changed since the last call, and all attributes of the study."""
        unfinished, dashboard = list(self._unfinished), f"{DASHBOARD}%"
        values = {"study": self._study_id, "last": self._last, "unfinished": unfinished, "dashboard": dashboard}
        attributes: dict[str, Any] = {}
        system: dict[str, Any] = {}
        parts: dict[int, _Parts] = {}
        params: list[tuple[int, str, float, str]] = []
        for kind, id_, name, text, number in connection.execute(sqlalchemy.text(_CHANGES), values):
            match kind:
                case "study":
                    attributes[name] = json.loads(text)
                case "system":
                    system[name] = json.loads(text)
                case "attribute":
                    if name in ATTRIBUTES:
                        parts.setdefault(id_, _Parts()).texts[name] = text
                case "parameter":
                    params.append((id_, name, number, text))
                case _:
                    one = parts.setdefault(id_, _Parts())
                    one.number, one.state, one.at = int(name), kind, None if number is None else float(number)
        if not attributes:
            raise KeyError(f"the study {self._study_id} is deleted")
        points = self._params.points(params)
        trials = [
            _changed(id_, one, self._space.canonical(points.get(id_, {})))
            for id_, one in sorted(parts.items(), key=lambda item: item[1].number)
        ]
        self._last = max([self._last, *parts])
        self._unfinished = {one.id for one in trials if not one.ended}
        self._numbers.update((one.id, one.number) for one in trials)
        edits = read_edits(attributes)
        return Changes(attributes, edits + dashboard_edits(system, self._numbers.get, edits), trials)

    def start(self, connection: sqlalchemy.Connection, trial: FrozenTrial) -> tuple[int, int]:
        """Add a running trial in the connection's transaction, and return its id and its number."""
        # As Optuna does: another program that adds a trial waits.
        if connection.execute(sqlalchemy.text(_LOCK_STUDY), {"study": self._study_id}).first() is None:
            raise KeyError(f"the study {self._study_id} is deleted")
        rows = rows_of([(0, trial)])
        values = {
            "study": self._study_id,
            "params": json.dumps(rows[models.TrialParamModel]),
            "attributes": _texts(rows[models.TrialUserAttributeModel]),
        }
        row = connection.execute(sqlalchemy.text(_START), values).one()
        return int(row.trial_id), int(row.number)

    def claim(self, connection: sqlalchemy.Connection, trial_id: int, attributes: Mapping[str, Any]) -> bool:
        """Set attributes of a trial, and return whether it has not ended."""
        texts = json.dumps({key: json.dumps(value) for key, value in attributes.items()})
        values = {"trial": trial_id, "attributes": texts}
        return connection.execute(sqlalchemy.text(_CLAIM), values).first() is not None

    def lock(self, connection: sqlalchemy.Connection, trial_id: int) -> str:
        """Return the state of a trial, which changes no more until the transaction has ended."""
        state = connection.execute(sqlalchemy.text(_LOCK_TRIAL), {"trial": trial_id}).scalar()
        if state is None:
            raise KeyError(f"the trial {trial_id} is deleted")
        return str(state)

    def end(self, connection: sqlalchemy.Connection, trial_id: int, trial: FrozenTrial, worker: str) -> bool:
        """Store how a locked trial has ended; returns False, without effect, if it is another worker's."""
        rows = rows_of([(trial_id, trial)])
        values = {
            "trial": trial_id,
            "worker": worker,
            "state": trial.state.name,
            "attributes": _texts(rows[models.TrialUserAttributeModel]),
            "system_attributes": _texts(rows[models.TrialSystemAttributeModel]),
            "intermediate": json.dumps([{"step": s, "value": v} for s, v in trial.intermediate_values.items()]),
            "values": json.dumps([{"objective": i, "value": value} for i, value in enumerate(trial.values or ())]),
        }
        return connection.execute(sqlalchemy.text(_END), values).first() is not None

    def attribute(self, connection: sqlalchemy.Connection, trial_id: int, key: str) -> str | None:
        """Return the JSON text of an attribute of a trial; None if it has none."""
        statement = "SELECT value_json FROM trial_user_attributes WHERE trial_id = :trial AND key = :key"
        text = connection.execute(sqlalchemy.text(statement), {"trial": trial_id, "key": key}).scalar()
        return None if text is None else str(text)


def _changed(id_: int, parts: _Parts, params: Point) -> ChangedTrial:
    attributes = {key: json.loads(text) for key, text in parts.texts.items()}
    at = attributes.get(ENDED_AT, parts.at)
    return ChangedTrial(id_, parts.number, parts.state, None if at is None else float(at), params, attributes)


def _texts(rows: list[dict[str, Any]]) -> str:
    return json.dumps({row["key"]: row["value_json"] for row in rows})
