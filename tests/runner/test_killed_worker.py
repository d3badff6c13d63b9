"""Workers as processes: one is killed, the server is restarted or slow, and a trial of another worker is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy.exc

from autotune_nb.opened import OpenedStudy
from autotune_nb.task.task import Task
from tests.benchmarks.workers import replayed_task, start, stored
from tests.postgres import Postgres, delayed
from tests.stubs import open_study, until

pytestmark = pytest.mark.xdist_group("postgres")
_TRIALS = 16


@pytest.mark.slow
def test_a_killed_worker_and_a_restarted_server_lose_no_trial_and_repeat_none(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    task = replayed_task(tmp_path, _TRIALS)
    name = "with-faults"

    def count() -> int:
        try:
            return len(stored(postgres_server, name)[0])
        except sqlalchemy.exc.SQLAlchemyError:
            # Before the tables exist.
            return 0

    # The clock of one of them is an hour ahead.
    places = [(tmp_path / str(number) / name, ahead_s) for number, ahead_s in enumerate((0, 3600))]
    killed, other = (start(postgres_server.url, task, folder, 1 / 50, 1, 20, ahead_s) for folder, ahead_s in places)
    try:
        until(lambda: count() >= 4, within_s=180)
        killed.kill()
        postgres_server.stop()
        postgres_server.start()
        output, _ = other.communicate(timeout=300)
        assert other.returncode == 0, output
    finally:
        for process in (killed, other):
            process.kill()
            process.communicate()
    found, _ = stored(postgres_server, name)
    assert sorted(found) == sorted(f"COMPLETE {number:g}" for number in range(_TRIALS))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_storage_that_takes_two_seconds_a_query_loses_no_trial(postgres_server: Postgres, tmp_path: Path) -> None:
    trials, name, delay_s = 4, "slow", [0.0]
    file = replayed_task(tmp_path, trials)
    open_study(Task.load(file), tmp_path / name, storage=postgres_server.url).close()
    with delayed(postgres_server, lambda: delay_s[0]) as url:
        workers = [start(url, file, tmp_path / str(number) / name, 1 / 10) for number in range(2)]
        try:
            # Optuna opens a storage by hundreds of statements: until both workers have a trial, none waits.
            until(lambda: sum("RUNNING" in one for one in stored(postgres_server, name)[0]) == 2, within_s=180)
            delay_s[0] = 2.0
            outputs = [process.communicate(timeout=800)[0] for process in workers]
        finally:
            for process in workers:
                process.kill()
                process.communicate()
    assert [process.returncode for process in workers] == [0, 0], outputs
    assert not [output for output in outputs if "waits" in output or "lock" in output]
    assert sorted(stored(postgres_server, name)[0]) == sorted(f"COMPLETE {number:g}" for number in range(trials))


@pytest.mark.slow
def test_a_trial_of_another_worker_is_stopped_and_the_rest_go_on(postgres_server: Postgres, tmp_path: Path) -> None:
    trials, name = 6, "stopped-trial"
    file, folder = replayed_task(tmp_path, trials), tmp_path / name
    open_study(Task.load(file), folder, storage=postgres_server.url).close()
    # Of 30 s each, so that one is running when it is stopped; the others follow at once.
    workers = [start(postgres_server.url, file, tmp_path / str(number) / name, 1 / 5) for number in range(2)]
    try:
        reader = OpenedStudy(folder, storage=postgres_server.url)
        until(lambda: reader.poll() or [t for t in reader.history if t.state == "running"], within_s=180)
        stopped = next(t for t in reader.history if t.state == "running")
        reader.stop_trial(stopped.number)
        outputs = [process.communicate(timeout=300)[0] for process in workers]
    finally:
        for process in workers:
            process.kill()
            process.communicate()
    assert [process.returncode for process in workers] == [0, 0], outputs
    reader = OpenedStudy(folder, storage=postgres_server.url)
    assert {t.number: t.state for t in reader.history} == {
        number: "failed" if number == stopped.number else "complete" for number in range(trials)
    }
    assert any("commands to stop trial" in output for output in outputs)
