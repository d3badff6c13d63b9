"""Runs of several workers on one study in a real PostgreSQL; trials are replayed."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.cli.study_table import study_table
from autotune_nb.errors import StudyNotFoundError
from autotune_nb.handle import StudyHandle
from autotune_nb.opened import OpenedStudy
from autotune_nb.runner import other_workers
from autotune_nb.runner.runner import RunState
from autotune_nb.session import join
from autotune_nb.trial.trial import TrialState
from tests.postgres import SECRET
from tests.stubs import contents_below, until

pytestmark = pytest.mark.xdist_group("postgres")


@pytest.fixture(autouse=True)
def _poll_often() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(other_workers, "POLL_S", 0.05)
        yield


def table_task(folder: Path, configurations: int, **budget: Any) -> at.Task:
    """Return the replay of a table of so many configurations and the default."""
    head = "config_id,status,param:threads,level,startup_s,duration_s,output_tokens_per_s"
    rows = [f"{number},complete,{number},1,20,30,{100 + number}" for number in range(configurations)]
    table = folder / "table.csv"
    table.write_text("\n".join([head, "default,complete,,1,20,30,90", *rows]) + "\n")
    return at.Task.parse(
        {
            "name": "replayed",
            "model": "m",
            "engine": {"kind": "command", "command": "engine --port {port}"},
            "parameters": {"threads": list(range(configurations))},
            "workload": {"scenarios": ["dataset"], "concurrency": [1]},
            "objective": "maximize output_tokens_per_s",
            "strategy": "random",
            "budget": {"baseline": False, **budget},
            "deploy": {"kind": "replay", "table": str(table)},
        }
    )


def of_study(run: StudyHandle) -> list[tuple[int, Any]]:
    return [(trial.number, trial.params.get("threads")) for trial in run.history]


def test_workers_share_the_configurations_the_budget_and_the_default(postgres: str, tmp_path: Path) -> None:
    task = table_task(tmp_path, 8, baseline=True, trials=7)
    name = tmp_path.name
    lines: list[str] = []
    first = at.tune(task, study=tmp_path / "a" / name, storage=postgres)
    first.subscribe(first.progress_lines(lines.append))
    second = join(name, storage=postgres, folder=tmp_path / "workers" / "2")
    second.subscribe(second.progress_lines(lines.append))
    assert second.task == task
    for run in (first, second):
        run.wait(60)
    assert of_study(first) == of_study(second)
    # A worker counts the trials of the others too.
    assert [line for line in lines if "trial 6 (7 of 7): " in line]
    trials = first.history
    assert [trial.number for trial in trials] == list(range(7))
    assert [trial.baseline for trial in trials] == [True] + 6 * [False]
    assert len({trial.params["threads"] for trial in trials[1:]}) == 6
    host = socket.gethostname()
    assert {trial.worker for trial in trials} <= {host, f"{host}-2"}
    opened = at.open(tmp_path / "a" / name, storage=postgres)
    assert of_study(opened) == of_study(first)
    assert set(opened.trials["worker"]) == {trial.worker for trial in trials}
    assert f"by {trials[0].worker}" in study_table(opened.results())
    assert not [file for file, text in contents_below(tmp_path).items() if SECRET.encode() in text]


def test_the_end_is_reported_once_by_the_last_worker(postgres: str, tmp_path: Path) -> None:
    written = tmp_path / "ends"
    task = table_task(tmp_path, 6)
    task = at.Task.parse({**task.model_dump(), "on_end": f'cat >> "{written}"; echo >> "{written}"'})
    first = at.tune(task, study=tmp_path / "a" / tmp_path.name, storage=postgres)
    first.pause()
    second = join(tmp_path.name, storage=postgres, folder=tmp_path / "b")
    until(lambda: second.state is RunState.PAUSED and first.state is RunState.PAUSED)
    first.resume()
    for run in (first, second):
        run.wait(60)
    [end] = [json.loads(line) for line in written.read_text().splitlines()]
    assert end["trials"] == {"complete": 6}
    # Alone, a worker is the last one.
    at.tune(task, study=tmp_path / "a" / tmp_path.name, storage=postgres).wait(60)
    assert len(written.read_text().splitlines()) == 2


def test_to_pause_to_resume_and_to_stop_reaches_every_worker(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, name = table_task(tmp_path, 12), tmp_path.name
    first = at.tune(task, study=tmp_path / "a" / name, storage=postgres)
    first.pause()
    second = join(name, storage=postgres, folder=tmp_path / "b")
    until(lambda: second.state is RunState.PAUSED and first.state is RunState.PAUSED)
    # A monitor in another process sees both, and commands them.
    reader = OpenedStudy(tmp_path / "b", storage=postgres)
    until(lambda: reader.poll() or reader.state is RunState.PAUSED)
    assert len(str(reader.elsewhere).split(", ")) == 2
    monkeypatch.setattr("autotune_nb.opened.live_run", lambda _: None)
    reader.resume()
    monkeypatch.undo()
    until(lambda: first.state is not RunState.PAUSED)
    second.pause()
    until(lambda: first.ended or first.state is RunState.PAUSED)
    first.stop()
    until(lambda: first.ended and second.ended)
    assert second.state in (RunState.STOPPED, RunState.FINISHED)
    # A worker that is started later goes on.
    at.tune(task, study=tmp_path / "a" / name, storage=postgres).wait(60)
    ended = at.open(tmp_path / "b", storage=postgres).history
    # The stop may reach a worker whose trial runs: that one stays in the history, and its configuration is repeated.
    complete = [trial.params["threads"] for trial in ended if trial.state is TrialState.COMPLETE]
    assert sorted(complete) == list(range(12))
    assert {trial.state for trial in ended} <= {TrialState.COMPLETE, TrialState.STOPPED}


def test_what_cannot_be_joined_is_reported(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyNotFoundError, match=r"postgresql://team:\*\*\*@.* holds no study 'none'"):
        join("none", storage=postgres)
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("AUTOTUNE_NB_STORAGE", raising=False)
    done = CliRunner().invoke(cli, ["worker", "--study", "none", "--storage", "sqlite:///a.db"])
    assert done.exit_code == 2
    assert "workers share a study in PostgreSQL, not sqlite:///a.db; pass --storage postgresql://" in done.stderr


def test_a_workers_own_way_to_the_cluster_replaces_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def joined(name: str, **options: Any) -> Any:
        given.update(options)
        raise StudyNotFoundError("no study")

    monkeypatch.setattr("autotune_nb.session.join", joined)
    options = {"kubeconfig": "/etc/kube", "context": "west", "namespace": "night"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    assert CliRunner().invoke(cli, ["worker", "--study", "chat", *words]).exit_code == 2
    assert {name: given[name] for name in options} == options
