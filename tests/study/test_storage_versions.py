"""Databases of other versions of Optuna, of other programs, and damaged ones: one line that says how to continue."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from click.testing import CliRunner, Result

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.errors import StudyError
from autotune_nb.study import StudyFolder
from tests.stubs import open_study
from tests.study.test_study import asked, completed

OLDER = "UPDATE alembic_version SET version_num = 'v3.0.0.c'; UPDATE version_info SET library_version = '3.0.6'"
NEWER = (
    "UPDATE alembic_version SET version_num = 'v9.1.0.a'; "
    "UPDATE version_info SET schema_version = 99, library_version = '9.1.0'"
)
FOREIGN = "UPDATE alembic_version SET version_num = '2b4d017a5e9b'"
TWO_PROGRAMS = "INSERT INTO alembic_version VALUES ('2b4d017a5e9b')"


def execute(file: Path, script: str) -> None:
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.executescript(script)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def study(make_task: Any, tmp_path: Path) -> tuple[Any, Path]:
    """A task, and the folder of its study with one trial and its results."""
    task = make_task(budget={"baseline": False, "trials": 3})
    folder = tmp_path / "study"
    opened = open_study(task, folder)
    opened.tell(completed(asked(opened), 10))
    opened.folder.write_results(opened.results(state="finished", elapsed_s=1.0))
    opened.close()
    return task, folder


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (OLDER, ["created by Optuna 3.0.6", "cp ", "optuna storage upgrade --storage sqlite:////"]),
        (NEWER, ["created by Optuna 9.1.0, which is newer", "pip install 'optuna>=9.1.0'"]),
        (FOREIGN, ["used by another program", "'2b4d017a5e9b'", "--storage"]),
        (TWO_PROGRAMS, ["used by another program", "'2b4d017a5e9b'"]),
        ("DROP TABLE alembic_version; CREATE TABLE alembic_version (id INTEGER)", ["used by another program"]),
    ],
    ids=["older", "newer", "foreign", "shared", "no-version"],
)
def test_tables_of_another_version_or_program_are_one_line(
    study: tuple[Any, Path], change: str, parts: list[str]
) -> None:
    task, folder = study
    execute(folder / "study.db", change)
    before = (folder / "study.db").read_bytes()
    with pytest.raises(StudyError) as caught:
        open_study(task, folder)
    message = str(caught.value)
    assert "\n" not in message
    assert [part for part in parts if part not in message] == []
    assert ("storage upgrade" in message) == (change == OLDER)
    if change not in (OLDER, NEWER):
        assert (folder / "study.db").read_bytes() == before
    shown = call("show", folder)
    assert (shown.exit_code, shown.stderr.count("\n")) == (2, 1)
    assert parts[0] in shown.stderr


def test_older_tables_can_be_used_after_the_upgrade_that_the_message_names(study: tuple[Any, Path]) -> None:
    task, folder = study
    execute(folder / "study.db", OLDER)
    # The command optuna storage upgrade calls it.
    optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}", skip_compatibility_check=True).upgrade()
    assert len(open_study(task, folder).trials) == 1


def test_a_database_of_another_program_stays_as_it_is(make_task: Any, tmp_path: Path) -> None:
    file = tmp_path / "tracking.db"
    execute(
        file, "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('2b4d017a5e9b')"
    )
    before = file.read_bytes()
    with pytest.raises(StudyError, match="used by another program"):
        open_study(make_task(), tmp_path / "study", storage=f"sqlite:///{file}")
    assert file.read_bytes() == before


def overwritten_pages(file: Path) -> None:
    data = bytearray(file.read_bytes())
    page = int.from_bytes(data[16:18], "big")
    for start in range(3 * page, len(data), page):
        data[start : start + 64] = b"\xff" * 64
    file.write_bytes(data)


def overwritten_schema(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[100:164] = b"\xff" * 64
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [overwritten_pages, overwritten_schema])
def test_a_malformed_database_names_the_file_and_the_study_is_read_from_its_results(
    study: tuple[Any, Path], damage: Callable[[Path], None]
) -> None:
    task, folder = study
    damage(folder / "study.db")
    with pytest.raises(StudyError) as caught:
        open_study(task, folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'study.db'} is damaged (")
    assert "import what results.json has into a new study" in message
    assert "\n" not in message
    opened = at.open(folder)
    assert [trial.number for trial in opened.history] == [0]
    assert "malformed" in opened.lost
    assert "The trials shown are those in results.json" in opened.lost
    # The way to continue works.
    levels = folder.parent / "levels.csv"
    assert call("export", folder, "--as", "csv", "-o", levels).exit_code == 0
    assert call("import", levels, "--study", folder.parent / "new").exit_code == 0


def test_without_results_a_malformed_database_is_an_error(study: tuple[Any, Path]) -> None:
    _, folder = study
    overwritten_pages(folder / "study.db")
    (folder / "results.json").unlink()
    shown = call("show", folder)
    assert shown.exit_code == 2
    assert "is damaged" in shown.stderr
    assert "restore it, or choose another folder" in shown.stderr


def test_a_study_that_was_deleted_from_its_database_is_read_from_its_results(study: tuple[Any, Path]) -> None:
    task, folder = study
    url = f"sqlite:///{folder / 'study.db'}"
    optuna.delete_study(study_name=json.loads((folder / "study.json").read_text())["optuna_name"], storage=url)
    opened = at.open(folder)
    assert [trial.number for trial in opened.history] == [0]
    assert "holds no study" in opened.lost
    with pytest.raises(StudyError, match=r"results\.json is not changed"):
        open_study(task, StudyFolder(folder))
