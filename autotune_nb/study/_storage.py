"""The storage of a study's trials: the folder's own SQLite file or any Optuna storage, and its errors."""

from __future__ import annotations

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
import sqlalchemy
import sqlalchemy.exc
import sqlalchemy.pool

from autotune_nb.errors import AutotuneError, StudyError
from autotune_nb.study._database_file import file_problem
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.storage_url import redact, sqlite_file


def open_storage(folder: StudyFolder, url: str | None) -> optuna.storages.BaseStorage:
    """Open the storage at a URL, by default the folder's own database. Raises StudyError if the URL is invalid."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if url is not None:
            try:
                return optuna.storages.get_storage(url)
            except (ValueError, KeyError) as error:
                raise StudyError(
                    f"{redact(url)} is not the URL of a storage ({type(error).__name__}), such as sqlite:///file.db or "
                    "postgresql://user@host/database"
                ) from None

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(folder.database, timeout=60, check_same_thread=False)

        # By its path, not by a URL, in which Optuna and SQLAlchemy interpret ?, % and {}.
        options = {"creator": connect, "poolclass": sqlalchemy.pool.QueuePool}
        return optuna.storages.get_storage(optuna.storages.RDBStorage("sqlite://", engine_kwargs=options))


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
    try:
        engine = sqlalchemy.create_engine(
            url if file is None and url is not None else "sqlite://",
            poolclass=sqlalchemy.pool.NullPool,
            **({"creator": lambda: _read_only(file)} if file is not None else {}),
        )
    except (sqlalchemy.exc.ArgumentError, ValueError):
        # Opening the storage reports the error.
        return True
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(connection)
        if not tables.has_table("studies") or "study_name" not in {c["name"] for c in tables.get_columns("studies")}:
            return False
        rows = connection.execute(sqlalchemy.text("SELECT 1 FROM studies WHERE study_name = :name"), {"name": name})
        return rows.first() is not None


def _in_transaction(file: Path) -> bool:
    """Return whether the journal of a SQLite file has a transaction to roll back."""
    with contextlib.suppress(FileNotFoundError), Path(f"{file}-journal").open("rb") as journal:
        return any(journal.read(8))
    return False


def _read_only(file: Path) -> sqlite3.Connection:
    uri = f"{file.absolute().as_uri()}?mode=ro"
    with file.open("rb") as opened:
        wal = opened.read(20)[18:20] == b"\2\2"
    if wal and not Path(f"{file}-wal").exists():
        # In WAL mode even reading would create files beside it.
        uri += "&immutable=1"
    return sqlite3.connect(uri, uri=True, timeout=60, check_same_thread=False)


def location(folder: StudyFolder, url: str | None) -> str:
    """Return the place of the trials for messages, without a password."""
    return redact(url) if url else str(folder.database)


@contextlib.contextmanager
def storage_errors(url: str | None = None) -> Iterator[None]:
    """Turn errors of SQLAlchemy and the file system into StudyError without a password."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError) as error:
        cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
        message = redact(str(getattr(cause, "orig", None) or cause).splitlines()[0])
        where = f" {redact(url)}" if url else ""
        raise StudyError(f"the study's storage{where} does not work: {message}") from None
    except ImportError as error:
        drivers = {"postgresql": "; pip install 'psycopg[binary]'", "mysql": "; pip install pymysql"}
        hint = drivers.get((url or "").partition(":")[0], "")
        raise StudyError(f"the study's storage {redact(url or '')} needs a driver{hint} ({error})") from None


@contextlib.contextmanager
def damage_errors(where: object) -> Iterator[None]:
    """Turn errors of reading a damaged storage into StudyError."""
    try:
        yield
    except AutotuneError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        message = " ".join(str(error).split())
        raise StudyError(f"{where} is damaged: {type(error).__name__} {message}") from None
