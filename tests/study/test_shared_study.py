"""One study in a real PostgreSQL on which several workers work at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna.trial import TrialState as OptunaState

from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.errors import StudyMismatchError
from autotune_nb.runner.proposals import Proposals
from autotune_nb.study import StorageAwayError, StudyFolder, _worker_table, shared_study
from autotune_nb.study._storage import sql_engine
from autotune_nb.study.shared_study import SharedStudy
from autotune_nb.study.steering import enqueue_edit
from autotune_nb.study.study import Study, TrialEndedOutsideError
from autotune_nb.study.worker import Worker
from autotune_nb.task.task import Task
from autotune_nb.trial.score import Score
from autotune_nb.trial.trial import Trial, TrialState
from tests.postgres import SECRET
from tests.stubs import contents_below, open_study

pytestmark = pytest.mark.xdist_group("postgres")

Join = Callable[..., SharedStudy]


@pytest.fixture
def join(postgres: str, tmp_path: Path) -> Iterator[Join]:
    """Add a worker to a study, which has the name of its folder; the folder's parent names the worker's host."""
    opened = []

    def join(task: Task, host: str, *, version: str = "0.1.0", name: str = "") -> SharedStudy:
        folder = StudyFolder(tmp_path / host / (name or tmp_path.name))
        folder.create()
        engine = engine_for(task)
        space, propose = space_for(task, engine), Proposals.of(task, engine)
        worker = Worker(host, version=version)
        study = Study.open(task, space, folder, storage=postgres, propose=propose, worker=worker)
        assert isinstance(study, SharedStudy)
        opened.append(study)
        return study

    yield join
    for study in opened:
        study.close()


def ask(study: SharedStudy) -> Trial:
    with study.turn():
        trial = study.ask()
    assert trial is not None
    return trial


def complete(study: SharedStudy, trial: Trial, value: float = 1.0) -> Trial:
    return study.tell(trial.with_(state=TrialState.COMPLETE, score=Score({study.task.goal.figure: value})))


def silence(study: SharedStudy, postgres: str) -> None:
    """Let a worker's last heartbeat, and the start of the server, be long ago: as if its process had been killed."""
    assert study.worker is not None
    engine = sqlalchemy.create_engine(postgres)
    with engine.begin() as connection:
        statement = "UPDATE autotune_nb_workers SET left_at = clock_timestamp() WHERE id = :id"
        connection.execute(sqlalchemy.text(statement), {"id": study.worker.id})
    engine.dispose()


def test_no_configuration_is_tried_twice_and_none_is_lost(join: Join, make_task: Any) -> None:
    task = make_task(strategy="random", parameters={"threads": list(range(9))}, budget={"baseline": True})
    workers = [join(task, f"host-{number}") for number in range(3)]

    def work(study: SharedStudy) -> None:
        while True:
            with study.turn():
                trial = study.ask()
            if trial is None:
                return
            complete(study, trial, float(trial.number))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, workers))
    seen = join(task, "host-9").trials
    assert sorted(t.params["threads"] for t in seen if not t.baseline) == list(range(9))
    assert [t.baseline for t in seen] == [True] + 9 * [False]
    assert {t.state for t in seen} == {TrialState.COMPLETE}
    assert {t.worker for t in seen} <= {"host-0", "host-1", "host-2"}


def test_the_trial_of_a_killed_worker_is_given_back_and_its_own_late_result_refused(
    join: Join, make_task: Any, postgres: str
) -> None:
    task = make_task(strategy="random", budget={"baseline": False})
    killed, other = join(task, "a"), join(task, "b")
    lost, own = ask(killed), ask(other)
    # As long as it has heartbeats it keeps its trial.
    assert lost.number not in (own.number, ask(other).number)
    silence(killed, postgres)
    retried = ask(other)
    assert (retried.number, retried.params, retried.attempts, retried.worker) == (lost.number, lost.params, 2, "b")
    with pytest.raises(TrialEndedOutsideError, match="another one has taken it over"):
        complete(killed, lost, 7.0)
    complete(other, retried, 5.0)
    killed.reload()
    assert [t.score.value for t in killed.trials if t.number == lost.number and t.score] == [5.0]


def test_the_next_worker_in_a_folder_resumes_at_once_what_the_killed_one_left(join: Join, make_task: Any) -> None:
    task = make_task(strategy="random", budget={"baseline": False})
    lost = ask(join(task, "a"))
    again = join(task, "a")
    assert again.recover() == [f"trial {lost.number} was interrupted and is retried"]
    assert ask(again).number == lost.number


def lose_the_next_response(study: SharedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next commit takes effect, but its response is lost with the connection."""
    dialect = sql_engine(study._study._storage).dialect
    commit = dialect.do_commit

    def lost(connection: Any) -> None:
        commit(connection)
        monkeypatch.undo()
        raise dialect.loaded_dbapi.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(dialect, "do_commit", lost)


def test_a_trial_whose_commit_has_no_response_is_started_once(
    join: Join, make_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = join(make_task(strategy="random", budget={"baseline": False}), "a")
    with study.turn():
        lose_the_next_response(study, monkeypatch)
        with pytest.raises(StorageAwayError, match="server closed the connection"):
            study.ask()
    # The run asks again once the storage responds.
    trial = ask(study)
    assert (trial.number, trial.state, trial.attempts) == (0, TrialState.RUNNING, 2)
    assert [one.number for one in study.trials] == [0]


def test_a_trial_whose_end_has_no_response_is_ended_once(
    join: Join, make_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = join(make_task(strategy="random", budget={"baseline": False}), "a")
    trial = ask(study)
    lose_the_next_response(study, monkeypatch)
    with pytest.raises(StorageAwayError, match="server closed the connection"):
        complete(study, trial, 5.0)
    # The run stores it again once the storage responds.
    assert complete(study, trial, 5.0).number == trial.number
    with pytest.raises(TrialEndedOutsideError, match="another program ended it"):
        complete(study, trial, 6.0)
    assert [(one.value, one.user_attrs["worker"][1]) for one in study._study.trials] == [(5.0, "a")]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("SET TRANSACTION READ ONLY", "read-only transaction"),
        ("DO $$ BEGIN RAISE 'no space left on device' USING ERRCODE = '53100'; END $$", "no space left on device"),
    ],
    ids=["read-only", "full"],
)
def test_a_server_that_is_read_only_or_full_for_a_while_loses_no_trial(
    join: Join, make_task: Any, fault: str, message: str
) -> None:
    study = join(make_task(strategy="random", budget={"baseline": False}), "a")
    engine, trial = sql_engine(study._study._storage), ask(study)

    def fail(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql(fault)

    sqlalchemy.event.listen(engine, "begin", fail)
    # A run waits for a storage that is away, and tries again.
    with pytest.raises(StorageAwayError, match=message):
        complete(study, trial, 5.0)
    with pytest.raises(StorageAwayError, match=message):
        ask(study)
    sqlalchemy.event.remove(engine, "begin", fail)
    complete(study, trial, 5.0)
    assert [(one.number, one.state) for one in (*study.trials, ask(study))] == [
        (0, TrialState.COMPLETE),
        (1, TrialState.RUNNING),
    ]


def test_a_late_result_is_refused_after_another_worker_has_ended_the_trial(
    join: Join, make_task: Any, postgres: str
) -> None:
    task = make_task(strategy="random", budget={"baseline": False})
    late, other = join(task, "a"), join(task, "b")
    trial = ask(late)
    silence(late, postgres)
    complete(other, ask(other), 5.0)
    with pytest.raises(TrialEndedOutsideError, match="another one has taken it over"):
        complete(late, trial, 7.0)
    late.reload()
    assert [one.score.value for one in late.trials if one.score] == [5.0]


def test_a_worker_that_lives_after_all_ends_its_trial_before_another_one_takes_it_over(
    join: Join, make_task: Any, postgres: str
) -> None:
    task = make_task(strategy="random", budget={"baseline": False})
    slow, other = join(task, "a"), join(task, "b")
    trial = ask(slow)
    silence(slow, postgres)
    with other.turn():
        complete(slow, trial, 5.0)
        started = other.ask()
    assert started is not None
    assert (started.number, started.attempts) == (1, 1)
    assert [(one.number, one.state) for one in other.trials] == [(0, TrialState.COMPLETE), (1, TrialState.RUNNING)]


def test_a_trial_takes_few_statements(join: Join, make_task: Any) -> None:
    """Other workers wait for those under the lock, for a minute at most: four do so if each takes two seconds."""
    study = join(make_task(strategy="random", budget={"baseline": False}, limits=["ttft_p99_s < 0.1"]), "a")
    complete(study, ask(study))
    statements: list[str] = []
    engine = sql_engine(study._study._storage)
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda _, __, text, *___: statements.append(text))
    trial = ask(study)
    assert len(statements) <= 5
    complete(study, trial)
    assert len(statements) <= 7


def test_optuna_reads_what_workers_store(join: Join, make_task: Any) -> None:
    study = join(make_task(strategy="random", limits=["ttft_p99_s < 0.1"]), "a")
    figure, limit = study.task.goal.figure, str(study.task.goal.limits[0])
    default, cut = ask(study), ask(study)
    study.tell(default.with_(state=TrialState.COMPLETE, score=Score({figure: 2.0}, {limit: 0.05})))
    study.tell(cut.with_(state=TrialState.CUT, score=Score({figure: 1.0}), cut_reason="worse"))
    failed = ask(study)
    study.tell(failed.with_(state=TrialState.FAILED))
    first, second, third = study._study.trials
    assert (first.state, first.value, first.params) == (OptunaState.COMPLETE, 2.0, {})
    assert first.constraints == {limit: 0.5}
    assert (second.state, second.value, second.intermediate_values) == (OptunaState.PRUNED, 1.0, {0: 1.0})
    assert second.params == dict(cut.params)
    assert (third.state, third.params) == (OptunaState.FAIL, dict(failed.params))
    assert all(one.duration is not None and 0 <= one.duration.total_seconds() < 600 for one in (first, second, third))


def test_every_edit_is_reported_once(join: Join, make_task: Any) -> None:
    task = make_task(strategy="random", budget={"baseline": False})
    one, other = join(task, "a"), join(task, "b")
    edit = enqueue_edit({"threads": 2, "batch_size": 64})
    one.steer(edit)
    assert ask(other).params == {"threads": 2, "batch_size": 64}
    assert [found.id for found in other.apply_new_edits()] == [edit.id]
    assert other.apply_new_edits() == []


def test_of_workers_that_end_one_is_the_last(join: Join, make_task: Any) -> None:
    workers = [join(make_task(), f"host-{number}") for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(SharedStudy.close, workers))
    assert sorted(one.others_go_on(print) for one in workers) == [False, True, True]


def test_a_worker_that_leaves_waits_for_one_that_was_just_killed_or_for_its_heartbeat(
    join: Join, make_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_study, "_OTHERS_POLL_S", 0.02)
    other, first, last = (join(make_task(), f"host-{number}") for number in range(3))
    first.close()
    # It lives after all.
    assert first.others_go_on(lambda _: other.beat(0.0))
    last.close()
    # It was killed.
    waits: list[str] = []
    monkeypatch.setattr(_worker_table, "SILENT_S", 0.3)
    assert not last.others_go_on(waits.append)
    assert len(waits) == 1


def test_edits_and_commands_reach_every_worker(join: Join, make_task: Any) -> None:
    task = make_task(strategy="random", budget={"baseline": False})
    one, other = join(task, "a"), join(task, "b")
    one.steer(enqueue_edit({"threads": 2, "batch_size": 64}))
    one.order("pause")
    trial = ask(other)
    assert trial.params == {"threads": 2, "batch_size": 64}
    assert other.command is not None
    assert other.command.kind == "pause"
    assert "a on " in other.command.by
    # One for a trial replaces no other.
    for number in (3, 4):
        one.order("stop_trial", number)
    other.reload()
    assert other.command.kind == "pause"
    assert [one.text for one in other.trial_commands] == ["stop trial 3", "stop trial 4"]


def test_time_in_which_several_workers_work_counts_once(join: Join, make_task: Any) -> None:
    task = make_task(strategy="random")
    one, other = join(task, "a"), join(task, "b")
    one.beat(600.0)
    assert one.elapsed_s == pytest.approx(600, abs=60)
    other.beat(590.0)
    assert other.elapsed_s == pytest.approx(600, abs=60)
    # A replay has a clock of its own.
    other.beat(400.0, simulated=True)
    assert other.elapsed_s == pytest.approx(1000, abs=60)


def test_another_task_format_or_release_is_refused(join: Join, make_task: Any, tmp_path: Path) -> None:
    study = join(make_task(), "a")
    with pytest.raises(StudyMismatchError, match=r"model.* differs from the task of the study '.*' in postgresql://"):
        join(make_task(model="other"), "b")
    with pytest.raises(StudyMismatchError, match=r"worker a .*autotune_nb 0\.1\.0, and this is autotune_nb 0\.9\.2"):
        join(make_task(), "b", version="0.9.2")
    study._study.set_user_attr("autotune_nb_schema", 9)
    with pytest.raises(StudyMismatchError, match=r"format 9, written by autotune_nb .*, which has format 1"):
        join(make_task(), "b")


def test_a_worker_may_reach_a_cluster_in_its_own_way(join: Join, make_task: Any) -> None:
    join(make_task(deploy={"kind": "ome", "namespace": "tune", "kubeconfig": "~/.kube/team"}), "a")
    elsewhere = make_task(deploy={"kind": "ome", "namespace": "night", "kubeconfig": "/etc/kube", "context": "west"})
    assert len(join(elsewhere, "b").workers or ()) == 2
    # Objects of its previous run are in the namespace that it had.
    with pytest.raises(StudyMismatchError, match=r"deploy\.namespace differs from the task of the study in /"):
        join(make_task(deploy={"kind": "ome", "namespace": "tune"}), "b")
    with pytest.raises(StudyMismatchError, match=r"deploy\.gpus_per_trial differs"):
        join(make_task(deploy={"kind": "ome", "namespace": "tune", "gpus_per_trial": 4}), "c")


def test_a_password_that_is_a_reference_is_stored_as_such(
    postgres: str, make_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_PASSWORD", SECRET)
    url = postgres.replace(SECRET, "${STUDY_PASSWORD}")
    (tmp_path / "referenced").mkdir()
    open_study(make_task(), tmp_path / "referenced", storage=url).close()
    # The folder has what is needed to open it again.
    open_study(make_task(), tmp_path / "referenced").close()
    open_study(make_task(), tmp_path / "referenced", storage=postgres).close()
    contents = contents_below(tmp_path)
    assert any(b"${STUDY_PASSWORD}" in text for text in contents.values())
    assert not any(SECRET.encode() in text for text in contents.values())


def test_a_note_that_optuna_dashboard_changed_reaches_every_worker(join: Join, make_task: Any) -> None:
    study = join(make_task(strategy="random"), "a")
    trial, storage = ask(study), study._study._storage
    key = f"dashboard:{study._study.trials[0]._trial_id}"
    storage.set_study_system_attr(study._study._study_id, f"{key}:note_str:0", "odd")
    storage.set_study_system_attr(study._study._study_id, f"{key}:note_ver", 1)
    assert [(edit.noted_trial, edit.note) for edit in study.apply_new_edits()] == [(trial.number, "odd")]
