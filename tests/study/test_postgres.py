"""A study in a real PostgreSQL, as a team keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from autotune_nb.errors import StudyError, StudyNotFoundError
from autotune_nb.study import Study, StudyFolder
from autotune_nb.trial.score import Score
from autotune_nb.trial.trial import TrialState
from tests.postgres import SECRET
from tests.stubs import contents_below, open_study

#: One server for all of them.
pytestmark = pytest.mark.xdist_group("postgres")


def test_a_study_lives_in_postgres_and_its_password_nowhere_else(postgres: str, make_task: Any, tmp_path: Path) -> None:
    task = make_task(strategy="random", budget={"baseline": False})

    def opened(folder: StudyFolder, storage: str | None) -> Study:
        folder.acquire()
        try:
            study = open_study(task, folder, storage=storage)
            study.recover()
            return study
        finally:
            folder.release()

    folders = [tmp_path / "mine", tmp_path / "yours"]
    for path in folders:
        path.mkdir()
    mine, yours = (opened(StudyFolder(path), postgres) for path in folders)
    trial = mine.ask()
    assert trial is not None
    mine.tell(trial.with_(state=TrialState.COMPLETE, score=Score({task.goal.figure: 5.0})))
    # Two studies of one name share a database, not their trials.
    assert yours.trials == ()
    again = opened(StudyFolder(folders[0]), postgres)
    assert [t.score.value for t in again.trials if t.score] == [5.0]
    with pytest.raises(StudyError, match="password is not stored"):
        opened(StudyFolder(folders[0]), None)
    assert not [name for name, text in contents_below(tmp_path).items() if SECRET.encode() in text]
    for study in (mine, yours, again):
        study.close()


def test_a_database_that_is_named_by_mistake_gets_no_tables(postgres: str, make_task: Any, tmp_path: Path) -> None:
    open_study(make_task(), tmp_path).close()
    folder = StudyFolder(tmp_path)
    other = postgres.replace("/postgres", "/template1")
    with pytest.raises(
        StudyNotFoundError, match=r"/template1 holds no study '.*'; it is stored in .*study\.db$"
    ) as caught:
        Study.view(make_task(), make_task().space, folder, storage=other)
    assert SECRET not in str(caught.value)
    engine = sqlalchemy.create_engine(other)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()
