"""A lock of a shared study in PostgreSQL: one worker at a time chooses the next trial, or ends one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy

#: The namespaces of the package's advisory locks; the second number is the study's.
_STUDY_LOCKS, _SETUP_LOCK = 1635020386, 1635020387
#: How long a worker waits for the lock before it reports that and tries again.
_WAIT_S = 60
#: After this time without a statement the server takes the lock from a process that is suspended.
_IDLE_S = 300
#: A host that lost its power or its network does not hold the lock for longer than these three together.
_KEEPALIVES = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}


class StudyLock:
    """An advisory lock of a transaction, which the server releases when its connection ends. Not thread-safe.

    It may be taken again by its holder.
    """

    def __init__(self, engine: sqlalchemy.Engine, study_id: int) -> None:
        self._engine, self._study_id = engine, study_id
        self._connection: sqlalchemy.Connection | None = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; waits for it first. Raises the errors of SQLAlchemy."""
        if self._connection is not None:
            yield
            return
        with self._engine.connect() as connection:
            _set(connection, {**_KEEPALIVES, "lock_timeout": f"{_WAIT_S}s"})
            _set(connection, {"idle_in_transaction_session_timeout": f"{_IDLE_S}s"})
            _lock(connection, _STUDY_LOCKS, self._study_id)
            self._connection = connection
            try:
                yield
            finally:
                self._connection = None
                # Without effects of its own, so that a lost connection loses nothing.
                with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
                    connection.rollback()

    def require(self) -> None:
        """Raise an error of SQLAlchemy if the lock is lost; its time without a statement starts anew."""
        if self._connection is not None:
            self._connection.execute(sqlalchemy.text("SELECT 1"))


@contextlib.contextmanager
def setup_lock(engine: sqlalchemy.Engine) -> Iterator[None]:
    """Hold the lock under which tables and studies are created: two workers may start at the same moment."""
    with engine.connect() as connection:
        _set(connection, _KEEPALIVES)
        _lock(connection, _SETUP_LOCK, 0)
        yield


def _lock(connection: sqlalchemy.Connection, namespace: int, key: int) -> None:
    connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:space, :key)"), {"space": namespace, "key": key})


def _set(connection: sqlalchemy.Connection, settings: dict[str, str]) -> None:
    """Set parameters of the server for this transaction."""
    calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
    connection.execute(sqlalchemy.text(f"SELECT {calls}"))
