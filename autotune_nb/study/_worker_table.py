"""The workers of a shared study in PostgreSQL: their heartbeats, by the database's clock, and their working time."""

from __future__ import annotations

import json
from datetime import datetime

import sqlalchemy

from autotune_nb.errors import StudyError
from autotune_nb.study.worker import Worker

#: How often a worker records that it is alive.
HEARTBEAT_S = 15.0
#: After so many seconds without a heartbeat a worker counts as dead, and its trials are given back.
GRACE_S = 120.0
#: A worker that has not left works as long as it is not silent for so long, while another one leaves.
SILENT_S = 45.0

_CREATE = """
CREATE TABLE autotune_nb_workers (
    id text PRIMARY KEY,
    study_id integer NOT NULL REFERENCES studies (study_id) ON DELETE CASCADE,
    label text NOT NULL, name text NOT NULL, host text NOT NULL, pid integer NOT NULL,
    version text NOT NULL, gpus text NOT NULL,
    joined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    active_at timestamptz,
    left_at timestamptz,
    seconds double precision NOT NULL DEFAULT 0
)
"""
_JOIN = """
INSERT INTO autotune_nb_workers (id, study_id, label, name, host, pid, version, gpus, seconds)
VALUES (:id, :study, :label, :name, :host, :pid, :version, :gpus,
    CASE WHEN EXISTS (SELECT 1 FROM autotune_nb_workers WHERE study_id = :study) THEN 0 ELSE :before END)
"""
_RETIRE = """
UPDATE autotune_nb_workers SET left_at = clock_timestamp()
WHERE study_id = :study AND label = :label AND label <> '' AND left_at IS NULL
"""
#: Time that several workers work at once counts once: each adds the time since the last heartbeat of any of them.
_BEAT = """
UPDATE autotune_nb_workers AS w SET heartbeat_at = clock_timestamp(), left_at = NULL,
    active_at = CASE WHEN :own > 0 THEN clock_timestamp() ELSE w.active_at END,
    seconds = w.seconds + greatest(0, CASE WHEN :simulated THEN :own
        ELSE least(:own, coalesce(extract(epoch FROM clock_timestamp() - last.active_at), :own)) END)
FROM (SELECT max(active_at) AS active_at FROM autotune_nb_workers WHERE study_id = :study) AS last,
    (SELECT heartbeat_at FROM autotune_nb_workers WHERE id = :id) AS before
WHERE w.id = :id
RETURNING clock_timestamp() AS now, extract(epoch FROM clock_timestamp() - before.heartbeat_at) AS silent_s
"""
#: While the server was down nobody could record a heartbeat.
_LIVE = """
SELECT id, label, name, host, pid, version, gpus FROM autotune_nb_workers
WHERE study_id = :study AND left_at IS NULL
    AND greatest(heartbeat_at, pg_postmaster_start_time(), CAST(:trusted AS timestamptz))
        > clock_timestamp() - make_interval(secs => :grace)
ORDER BY joined_at
"""
_LEAVE = "UPDATE autotune_nb_workers SET left_at = clock_timestamp() WHERE id = :id"
#: Of the others: those that left or had a heartbeat after this one left, and those that may have been killed before.
_AFTER = """
SELECT count(*) FILTER (WHERE coalesce(other.left_at, other.heartbeat_at) > own.left_at) AS working,
    count(*) FILTER (WHERE other.left_at IS NULL
        AND other.heartbeat_at > clock_timestamp() - make_interval(secs => :silent)) AS recent
FROM autotune_nb_workers AS other, autotune_nb_workers AS own
WHERE own.id = :id AND other.study_id = :study AND other.id <> own.id
"""


class WorkerTable:
    """The workers of one study. Thread-safe; raises the errors of SQLAlchemy."""

    def __init__(self, engine: sqlalchemy.Engine, study_id: int) -> None:
        self._engine, self._study_id = engine, study_id
        self._exists = False
        #: Heartbeats before this time of the database prove nothing: the storage did not accept any.
        self._trusted: datetime | None = None

    def create(self) -> None:
        """Create the table if it is missing."""
        with self._engine.begin() as connection:
            if not _exists(connection):
                connection.execute(sqlalchemy.text(_CREATE))

    def join(self, worker: Worker, *, before_s: float) -> None:
        """Add a worker; a previous one in the same folder has ended, since it would hold the folder's lock.

        ``before_s`` is the working time of the study without a worker in the table.
        """
        values = {"study": self._study_id, "before": before_s, **vars(worker), "gpus": json.dumps(worker.gpus)}
        with self._engine.begin() as connection:
            connection.execute(sqlalchemy.text(_RETIRE), values)
            connection.execute(sqlalchemy.text(_JOIN), values)

    def beat(self, worker: Worker, own_s: float, *, simulated: bool) -> None:
        """Record that a worker is alive, and that it worked for ``own_s`` seconds since its last heartbeat.

        Raises StudyError if the study was deleted.
        """
        values = {"id": worker.id, "study": self._study_id, "own": own_s, "simulated": simulated}
        with self._engine.begin() as connection:
            row = connection.execute(sqlalchemy.text(_BEAT), values).first()
        if row is None:
            raise StudyError("another program deleted the study or its workers from the storage")
        if row.silent_s > GRACE_S / 2:
            self._trusted = row.now

    def live(self, connection: sqlalchemy.Connection) -> dict[str, Worker]:
        """Return the workers that are alive, by their ids."""
        values = {"study": self._study_id, "grace": GRACE_S, "trusted": self._trusted}
        self._exists = self._exists or _exists(connection)
        rows = connection.execute(sqlalchemy.text(_LIVE), values).all() if self._exists else ()
        return {
            row.id: Worker(row.name, row.label, row.host, tuple(json.loads(row.gpus)), row.version, row.pid, row.id)
            for row in rows
        }

    def leave(self, worker: Worker) -> None:
        """Record that a worker has ended: its trials are given back at once."""
        with self._engine.begin() as connection:
            connection.execute(sqlalchemy.text(_LEAVE), {"id": worker.id})

    def others_worked_on(self, worker: Worker) -> bool | None:
        """Return whether others worked after a worker left; None while one may have been killed before."""
        values = {"id": worker.id, "study": self._study_id, "silent": SILENT_S}
        with self._engine.connect() as connection:
            others = connection.execute(sqlalchemy.text(_AFTER), values).one()
        return True if others.working else None if others.recent else False

    def elapsed_s(self) -> float | None:
        """Return the working time of the study; None if no worker was ever in the table."""
        with self._engine.connect() as connection:
            self._exists = self._exists or _exists(connection)
            if not self._exists:
                return None
            statement = "SELECT sum(seconds) FROM autotune_nb_workers WHERE study_id = :study"
            found = connection.execute(sqlalchemy.text(statement), {"study": self._study_id}).scalar()
        return None if found is None else float(found)


def _exists(connection: sqlalchemy.Connection) -> bool:
    return connection.execute(sqlalchemy.text("SELECT to_regclass('autotune_nb_workers')")).scalar() is not None
