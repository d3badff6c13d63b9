"""A lock of a shared study in PostgreSQL: one worker at a time chooses the next trial, or ends one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

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
    def held(self) -> Iterator[sqlalchemy.Connection]:
        """Hold the lock, after waiting for it, and yield the connection that holds it.

        What is written with the connection is lost unless ``commit`` is called. Raises the errors of SQLAlchemy.
        """
        if self._connection is not None:
            yield self._connection
            return
        with self._engine.connect() as connection:
            settings = {
                **_KEEPALIVES,
                "lock_timeout": f"{_WAIT_S}s",
                "idle_in_transaction_session_timeout": f"{_IDLE_S}s",
            }
            _lock(connection, _STUDY_LOCKS, self._study_id, settings)
            self._connection = connection
            try:
                yield connection
            finally:
                self._connection = None
                # A lost connection loses nothing.
                with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
                    connection.rollback()

    def commit(self) -> None:
        """Commit what was written with the connection of the lock, which releases it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.commit()

    def require(self) -> None:
        """Raise an error of SQLAlchemy if the lock is lost; its time without a statement starts anew."""
        if self._connection is not None:
            self._connection.execute(sqlalchemy.text("SELECT 1"))


@contextlib.contextmanager
def setup_lock(engine: sqlalchemy.Engine) -> Iterator[Callable[[], None]]:
    """Hold the lock under which tables and studies are created: two workers may start at the same moment.

    Yields what releases it before the end.
    """
    with engine.connect() as connection:
        _lock(connection, _SETUP_LOCK, 0, _KEEPALIVES)
        yield connection.rollback


def _lock(connection: sqlalchemy.Connection, namespace: int, key: int, settings: Mapping[str, str]) -> None:
    """Wait for a lock, with parameters of the server for this transaction."""
    calls = "".join(f"set_config('{name}', '{value}', true), " for name, value in settings.items())
    # In the order of the list, so that the parameters apply to the wait.
    statement = f"SELECT {calls}pg_advisory_xact_lock(:space, :key)"
    connection.execute(sqlalchemy.text(statement), {"space": namespace, "key": key})
