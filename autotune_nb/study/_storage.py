"""The storage of a study's trials: the folder's own SQLite file or any Optuna storage, and its errors."""

from __future__ import annotations

import contextlib
import re
import shlex
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.exc
import sqlalchemy.pool

from autotune_nb.errors import StudyError
from autotune_nb.study._database_file import (
    DamagedStorageError,
    StorageAwayError,
    StorageBusyError,
    connect_read_only,
    file_problem,
    location,
    recovery_text,
)
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.storage_url import is_shared, redact, sqlite_file

#: How many seconds a SQLite file may be locked by another program before an access fails.
BUSY_S = 60.0
#: Revisions of Optuna's tables, such as v3.2.0.a.
_OPTUNA_REVISION = re.compile(r"v\d+\.\d+\.\d+\.\w+")
_SET_UP_BY = re.compile(r"set up by optuna ([^\s)]+)")
#: SQLite's messages about a file with invalid content.
_DAMAGED = ("malformed", "file is not a database", "file is encrypted")
#: PostgreSQL's states of a transaction that is read-only, as in a standby, or that was idle for too long.
_PASSING_STATES = ("25006", "25P03")
#: How long connecting to a server may take.
_CONNECT_S = 20
#: SQLite's messages about a disk that is full or fails.
_DISK = ("database or disk is full", "disk I/O error")


def open_storage(folder: StudyFolder, url: str | None) -> optuna.storages.BaseStorage:
    """Open the storage at a URL, by default the folder's own database.

    Raises StudyError if the URL is invalid, or if the tables are those of another version of Optuna.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _require_own_migrations(folder, url)
    try:
        return _open_optuna(folder, url)
    except RuntimeError as error:
        raise _schema_error(folder, url, error) from None


def _open_optuna(folder: StudyFolder, url: str | None) -> optuna.storages.BaseStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if url is not None:
            try:
                # A server may be restarted while a study is open, which ends its connections.
                options = {"pool_pre_ping": True, "connect_args": {"connect_timeout": _CONNECT_S}}
                return optuna.storages.get_storage(
                    optuna.storages.RDBStorage(url, engine_kwargs=options) if is_shared(url) else url
                )
            except (ValueError, KeyError) as error:
                raise StudyError(
                    f"{redact(url)} is not the URL of a storage ({type(error).__name__}), such as sqlite:///file.db or "
                    "postgresql://user@host/database"
                ) from None

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(folder.database, timeout=BUSY_S, check_same_thread=False)

        # By its path, not by a URL, in which Optuna and SQLAlchemy interpret ?, % and {}.
        own = {"creator": connect, "poolclass": sqlalchemy.pool.QueuePool}
        return optuna.storages.get_storage(optuna.storages.RDBStorage("sqlite://", engine_kwargs=own))


def close_storage(storage: optuna.storages.BaseStorage) -> None:
    """Close the connections of a storage."""
    storage.remove_session()
    backend: Any = getattr(storage, "_backend", storage)
    if (engine := getattr(backend, "engine", None)) is not None:
        engine.dispose()


@contextlib.contextmanager
def closed_on_error(storage: optuna.storages.BaseStorage) -> Iterator[None]:
    """Close a storage if the body raises, since nobody else will."""
    try:
        yield
    except BaseException:
        close_storage(storage)
        raise


def sql_engine(storage: optuna.storages.BaseStorage) -> sqlalchemy.Engine:
    """Return the SQLAlchemy engine of a storage in a database."""
    backend: Any = getattr(storage, "_backend", storage)
    engine: sqlalchemy.Engine = backend.engine
    return engine


def holds_study(folder: StudyFolder, url: str | None, name: str) -> bool:
    """Return whether a storage holds a study of that name.

    Writes nothing, whereas Optuna would create its tables in any database, and the file of a missing one.
    """
    if url is not None and url.startswith("redis"):
        # Not a database with tables.
        return True
    file = folder.database if url is None else sqlite_file(url)
    if file is not None and file_problem(file):
        return False
    if file is not None and _in_transaction(file):
        if folder.is_own_storage(url):
            # Of a process that runs the study, or was killed: SQLite rolls it back when the file is opened.
            return True
        raise StudyError(f"{location(folder, url)} has an unfinished transaction of another program")
    engine = _reading_engine(url, file)
    if engine is None:
        return True
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(connection)
        if not tables.has_table("studies") or "study_name" not in {c["name"] for c in tables.get_columns("studies")}:
            return False
        rows = connection.execute(sqlalchemy.text("SELECT 1 FROM studies WHERE study_name = :name"), {"name": name})
        return rows.first() is not None


def _reading_engine(url: str | None, file: Path | None) -> sqlalchemy.Engine | None:
    """Return an engine that only reads; None for an invalid URL, whose error opening the storage reports."""
    with contextlib.suppress(sqlalchemy.exc.ArgumentError, ValueError):
        return sqlalchemy.create_engine(
            url if file is None and url is not None else "sqlite://",
            poolclass=sqlalchemy.pool.NullPool,
            **({"creator": lambda: connect_read_only(file, BUSY_S)} if file is not None else {}),
        )
    return None


def _require_own_migrations(folder: StudyFolder, url: str | None) -> None:
    """Raise StudyError if the table alembic_version is another program's: Optuna would add its tables and then fail."""
    file = folder.database if url is None else sqlite_file(url)
    if url is not None and url.startswith("redis"):
        return
    if file is not None and (file_problem(file) or _in_transaction(file)):
        return
    engine = _reading_engine(url, file)
    if engine is None:
        return
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(connection)
        if not tables.has_table("alembic_version"):
            return
        named = "version_num" in {column["name"] for column in tables.get_columns("alembic_version")}
        rows = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).all() if named else ()
    foreign = [str(version) for (version,) in rows if not _OPTUNA_REVISION.fullmatch(str(version))]
    if foreign or not named:
        held = f" (it holds {foreign[0][:40]!r})" if foreign else ""
        raise StudyError(
            f"{location(folder, url)} is used by another program, whose migrations are in its table "
            f"alembic_version{held}, which Optuna needs for its own; pass a database of its own for the study, with "
            "--storage"
        )


def _schema_error(folder: StudyFolder, url: str | None, error: RuntimeError) -> StudyError:
    """Return the StudyError for a storage whose tables another version of Optuna created."""
    where, message = location(folder, url), " ".join(str(error).split())
    created = _SET_UP_BY.search(message)
    by = f"Optuna {created[1]}" if created else "another version of Optuna"
    if "storage upgrade" in message:
        file = folder.database if url is None else sqlite_file(url)
        copy = f"cp {shlex.quote(str(file))} {shlex.quote(f'{file}.bak')}" if file else "a backup of the database"
        link = where if url else f"sqlite:///{where}"
        return StudyError(
            f"{where} was created by {by}, and its tables are older than Optuna {optuna.__version__} needs; make a "
            f"copy ({copy}), then upgrade them: optuna storage upgrade --storage {shlex.quote(link)}"
        )
    if created:
        return StudyError(
            f"{where} was created by {by}, which is newer than the installed {optuna.__version__}; install that: pip "
            f"install 'optuna>={created[1]}'"
        )
    return StudyError(f"{where} cannot be opened: {message}")


def _in_transaction(file: Path) -> bool:
    """Return whether the journal of a SQLite file has a transaction to roll back."""
    with contextlib.suppress(FileNotFoundError), Path(f"{file}-journal").open("rb") as journal:
        return any(journal.read(8))
    return False


def _passes(cause: BaseException | None) -> bool:
    """Return whether a server's error passes: it is away, overloaded, full or read-only at the moment."""
    state = getattr(getattr(cause, "orig", None), "sqlstate", None)
    return isinstance(cause, sqlalchemy.exc.OperationalError) or state in _PASSING_STATES


@contextlib.contextmanager
def storage_errors(folder: StudyFolder, url: str | None = None) -> Iterator[None]:
    """Turn errors of SQLAlchemy and the file system into StudyError without a password."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError) as error:
        cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
        message = redact(str(getattr(cause, "orig", None) or cause).splitlines()[0])
        if isinstance(cause, sqlalchemy.exc.DatabaseError) and any(one in message for one in _DAMAGED):
            raise DamagedStorageError(
                f"{location(folder, url)} is damaged ({message}); the trials of {folder.path} were in it: "
                f"{recovery_text(folder)}"
            ) from None
        file = folder.database if url is None else sqlite_file(url)
        if "readonly database" in message and file is not None and not file.exists():
            # SQLite's words for a file that has lost its name.
            raise DamagedStorageError(
                f"{location(folder, url)} was deleted or moved while the study used it: {recovery_text(folder)}"
            ) from None
        where = f" {redact(url)}" if url else ""
        if "database is locked" in message or "database table is locked" in message:
            raise StorageBusyError(
                f"the study's storage {location(folder, url)} is locked by another program ({message})"
            ) from None
        server = url is not None and sqlite_file(url) is None and _passes(cause)
        kind = StorageAwayError if server or any(one in message for one in _DISK) else StudyError
        raise kind(f"the study's storage{where} does not work: {message}") from None
    except ImportError as error:
        drivers = {"postgresql": "; pip install 'psycopg[binary]'", "mysql": "; pip install pymysql"}
        hint = drivers.get((url or "").partition(":")[0], "")
        raise StudyError(f"the study's storage {redact(url or '')} needs a driver{hint} ({error})") from None
