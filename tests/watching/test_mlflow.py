"""Studies on an MLflow server: an export, a live run, a server that goes away. A slow test uses the real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import autotune_nb as at
from autotune_nb import events
from autotune_nb.cli.main import cli
from autotune_nb.errors import StudyError
from autotune_nb.task.task import Task
from autotune_nb.watching import mlflow_export
from autotune_nb.watching.mlflow_export import MlflowStudy
from tests.stubs import World
from tests.watching.mlflow_fake import FakeMlflow
from tests.watching.mlflow_server import mlflow_server

URI = "http://tracking.example:5000"
SECRET = "tracking-4711-canary-value"


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    fake = FakeMlflow()
    monkeypatch.setattr(mlflow_export, "connect", lambda _uri: fake)
    monkeypatch.setattr(mlflow_export, "find_spec", lambda _name: object())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    return fake


def tracked(world: World, **changes: Any) -> Task:
    return Task.parse({**world.task(**changes).model_dump(), "tracking": "mlflow"})


def export(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["export", str(folder), "--as", "mlflow", *arguments])


def test_a_run_is_sent_as_it_goes_on_and_an_export_finds_it_there(world: World, mlflow: FakeMlflow) -> None:
    run = at.tune(tracked(world, trials=2), study=world.folder)
    best = run.wait(60).best
    assert best is not None
    parent, trials = mlflow.parent(), mlflow.trials()
    assert (parent.info.run_name, parent.info.status) == ("study", "FINISHED")
    assert parent.data.params["engine"] == "command"
    assert parent.data.metrics == {"best.output_tokens_per_s": 100.0}
    assert parent.data.tags["verdict"] == str(run.verdict)
    assert set(mlflow.artifacts[parent.info.run_id]) == {"task.yaml", "report.html", "./results.json"}
    assert json.loads(mlflow.artifacts[parent.info.run_id]["./results.json"])["state"] == "finished"
    assert set(trials) == {"0", "1"}
    one, trial = trials["1"], run.history[1]
    assert one.info.status == "FINISHED"
    assert one.data.params == {name: str(value) for name, value in trial.params.items()}
    assert one.data.tags["mlflow.parentRunId"] == parent.info.run_id
    by_step = {(name, step): value for name, value, _, step in mlflow.metrics[one.info.run_id]}
    for step, level in enumerate(trial.measurements, 1):
        assert by_step["ttft_p99_s", step] == level.figures["ttft_p99_s"]
        assert by_step["load.concurrency", step] == level.level.concurrency
    raw = {str(Path(name).relative_to("artifacts")) for name in mlflow.artifacts[one.info.run_id]}
    folder = run.folder / "artifacts" / "trial-0001"
    assert raw == {
        str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and file.stat().st_size
    }
    assert not [text for _, text in run.notices if "MLflow" in text]

    before = {run_id: set(metrics) for run_id, metrics in mlflow.metrics.items()}
    for _ in range(2):
        result = export(world.folder)
        assert result.exit_code == 0, result.output
        assert result.stdout == f"0 trials sent, 2 were there: {URI}/#/experiments/x0/runs/{parent.info.run_id}\n"
    assert (len(mlflow.runs), mlflow.metrics) == (3, before)


def test_a_server_that_goes_away_is_one_notice_and_gets_the_rest_at_the_end(world: World, mlflow: FakeMlflow) -> None:
    mlflow.away = True
    run = at.tune(tracked(world, trials=3), study=world.folder)

    def back(event: events.Event) -> None:
        if isinstance(event, events.StateChanged) and event.state == "finished":
            mlflow.away = False

    run.subscribe(back)
    assert run.wait(60).state == "finished"
    notices = [text for _, text in run.notices if "MLflow" in text]
    assert notices == [
        "MLflow at tracking.example:5000 did not take the study: Max retries exceeded: connection refused; what it "
        "misses is sent when it is back, at the latest at the end"
    ]
    assert {number: one.info.status for number, one in mlflow.trials().items()} == dict.fromkeys("012", "FINISHED")
    assert mlflow.parent().info.status == "FINISHED"


def test_what_a_server_did_not_get_at_all_an_export_sends(world: World, mlflow: FakeMlflow) -> None:
    mlflow.away = True
    run = at.tune(tracked(world, trials=1), study=world.folder)
    assert run.wait(60).state == "finished"
    notices = [text for _, text in run.notices if "MLflow" in text]
    assert notices[-1].endswith(f"what is missing there is sent by: autotune-nb export {world.folder} --as mlflow")
    failed = export(world.folder)
    assert failed.exit_code == 2
    assert failed.stderr == (
        "error: MLflow at tracking.example:5000 did not take the study: Max retries exceeded: connection refused; the "
        "same command sends what is missing\n"
    )
    mlflow.away = False
    assert export(world.folder).stdout.startswith("1 trial sent, 0 were there")


@pytest.mark.parametrize("lost", [5, *(pytest.param(at, marks=pytest.mark.slow) for at in (3, 4, 6, 7, 8))])
def test_a_reply_that_is_lost_makes_no_trial_twice(world: World, mlflow: FakeMlflow, lost: int) -> None:
    study = _study(world)
    mlflow.reply_lost_at = lost
    runs = MlflowStudy(mlflow, study, "mine")
    try:
        runs.send_all(ended=True)
    except ConnectionError:
        mlflow.reply_lost_at = -1
        MlflowStudy(mlflow, study, "mine").send_all(ended=True)
    assert {number: one.info.status for number, one in mlflow.trials().items()} == {"0": "FINISHED"}
    assert mlflow.parent().info.status == "FINISHED"


_studies: dict[str, Any] = {}


def _study(world: World) -> Any:
    """Return a finished study of one trial, the same for all tests of this module."""
    if "one" not in _studies:
        at.tune(world.task(trials=1), study=world.folder).wait(60)
        _studies["one"] = at.open(world.folder)
    return _studies["one"]


def test_secrets_are_not_sent(world: World, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    from autotune_nb.secrets.scrubbing import know

    study = _study(world)
    know([SECRET])
    trial = study.history[0]
    runs = MlflowStudy(mlflow, study, "mine")
    runs.open()
    runs.send(trial.with_(number=7, params={"x": SECRET, "y": None}, reason=f"because of {SECRET}"))
    assert mlflow.trials()["7"].data.params == {"x": "***"}
    assert SECRET not in str(mlflow.runs) + str(mlflow.artifacts)


def test_an_experiment_that_was_deleted_is_named(world: World, mlflow: FakeMlflow) -> None:
    mlflow.create_experiment("mine")
    mlflow.experiments["mine"].lifecycle_stage = "deleted"
    with pytest.raises(StudyError, match="the experiment 'mine' was deleted in MLflow; restore it, or name another"):
        MlflowStudy(mlflow, _study(world), "mine").send_all(ended=True)


def test_a_server_that_is_not_named_or_a_client_that_is_missing_is_one_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(at.SetupError, match="no MLflow server is named; give its address, such as http://127"):
        at.tune(tracked(world), study=world.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    monkeypatch.setattr(mlflow_export, "find_spec", lambda _name: None)
    with pytest.raises(at.SetupError, match=r"not installed: pip install 'autotune_nb\[mlflow\]'"):
        at.tune(tracked(world), study=world.folder)
    assert not world.folder.exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_real_server_has_the_run_and_its_trials_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is on SQLite, stops in mid-run, and comes back before the end."""
    from mlflow import MlflowClient

    gone, back = tmp_path / "gone", tmp_path / "back"
    with mlflow_server(tmp_path / "server") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        # The second trial waits until the server is gone, the third until it is back.
        count = f'[ "$(ls "{world.folder}/artifacts" | wc -l)" -lt'
        gates = [f'{count} {n} ] || until [ -e "{gate}" ]; do sleep 0.05; done' for n, gate in ((2, gone), (3, back))]
        run = at.tune(tracked(world, trials=3, before="\n".join(gates)), study=world.folder)
        client = MlflowClient(tracking_uri=server.uri)
        server.wait_for(lambda: len(client.search_runs(["1"])) == 2)
        server.stop()
        gone.touch()
        server.wait_for(lambda: [text for _, text in run.notices if "did not take trial" in text])
        server.start()
        back.touch()
        assert run.wait(240).state == "finished"
        ids = {one.info.run_id for one in client.search_runs(["1"])}
        assert len(ids) == 4
        parent = next(one for one in client.search_runs(["1"]) if "mlflow.parentRunId" not in one.data.tags)
        assert parent.info.status == "FINISHED"
        assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
            "task.yaml",
            "report.html",
            "results.json",
        }
        child = next(iter(ids - {parent.info.run_id}))
        assert [one.step for one in client.get_metric_history(child, "ttft_p99_s")] == [1, 2]
        result = export(world.folder)
        assert result.exit_code == 0, result.output
        assert "0 trials sent, 3 were there" in result.stdout
        assert {one.info.run_id for one in client.search_runs(["1"])} == ids
        assert len(client.get_metric_history(parent.info.run_id, "best.output_tokens_per_s")) == 1
