"""``autotune-nb export``: command lines, environment files, manifests, tasks and measurements."""

from __future__ import annotations

import copy
import io
import os
import shlex
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.results.exporting import FORMATS, export
from autotune_nb.task.task import Task
from tests.conftest import MINIMAL
from tests.stubs import World, open_study


def run_export(study: Path, form: str, *arguments: object) -> Result:
    return CliRunner().invoke(cli, ["export", str(study), "--as", form, *map(str, arguments)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> at.Run:
    """A finished run, from which tests only read."""
    world = World(tmp_path_factory.mktemp("exporting"), copy.deepcopy(MINIMAL))
    env = {"MODE": "it's", "PLAIN": "1"}
    task = world.task(trials=3, budget={"baseline": True})
    task = Task.parse({**task.model_dump(), "engine": {**task.engine.model_dump(), "env": env}})
    return at.tune(task, study=world.folder).wait()


def test_the_command_is_the_bests_or_the_trials(run: at.Run) -> None:
    assert run.best is not None
    told = run_export(run.folder, "command")
    assert (told.exit_code, told.stdout) == (0, run.best.command + "\n")
    other = next(t for t in run.history if t.number != run.best.number and not t.baseline)
    told = run_export(run.folder, "command", "--trial", other.number)
    assert f"--threads {other.params['threads']}" in told.stdout
    assert f"--batch-size {other.params['batch_size']}" in told.stdout


def test_every_command_line_of_a_study_sets_the_engines_variables(run: at.Run) -> None:
    assert run.best is not None
    best = run.history[run.best.number]
    assert shlex.split(run.best.command)[:3] == ["env", "MODE=it's", "PLAIN=1"]
    assert list(best.command[:3]) == ["env", "MODE=it's", "PLAIN=1"]
    reopened = at.open(run.folder)
    assert reopened.best is not None
    assert reopened.best.command == run.best.command
    assert run.command(best.params)[:3] == ["env", "MODE=it's", "PLAIN=1"]


def test_an_environment_file_is_one_to_a_shell(run: at.Run, tmp_path: Path) -> None:
    assert run.best is not None
    told = run_export(run.folder, "env", "-o", tmp_path / "sub" / "engine.env")
    assert told.exit_code == 0, told.output
    shell = 'set -a; . "$1"; printf "%s\\n" "$MODE" "$PLAIN" "$MODEL" "$ENGINE_COMMAND" "$PARAM_THREADS"'
    argv = ["sh", "-c", shell, "sh", str(tmp_path / "sub" / "engine.env")]
    env = {"PATH": os.environ["PATH"]}
    lines = subprocess.run(argv, capture_output=True, text=True, check=True, env=env).stdout.splitlines()
    assert lines[:4] == ["it's", "1", "stub", run.best.command]
    assert lines[4] == str(run.best.params.get("threads", ""))
    # Docker compose reads it alike: bare values, single quotes without an escape, double ones around what needs none.
    text = (tmp_path / "sub" / "engine.env").read_text()
    assert '\nMODE="it\'s"\nPLAIN=1\nMODEL=stub\n' in text
    assert f"\nENGINE_COMMAND={shlex.quote(run.best.command)}\n" in text
    assert text.startswith("# For a shell (set -a; . FILE; set +a) or docker compose's env_file; docker run --env-file")


def test_an_environment_file_names_secrets_and_holds_none(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_KEY", "canary-value")
    env = {"KEY": "${TUNE_KEY}", "URL": "http://${TUNE_KEY}@x/a b", "HF": "secret://tune-keys/hf", "ODD": "a'b\"$x`"}
    task = world.task(trials=1)
    task = Task.parse({**task.model_dump(), "engine": {**task.engine.model_dump(), "env": {"KEY": env["KEY"]}}})
    done = at.tune(task, study=world.folder).wait()
    # A Secret is a cluster's, and this study ran here.
    handle = at.open(done.folder)
    told = Task.parse({**task.model_dump(), "engine": {**task.engine.model_dump(), "env": env}})
    handle._task = told  # type: ignore[attr-defined,union-attr]
    text = str(export(handle, "env"))
    assert "canary" not in text
    assert "\n# HF is hf of the Secret tune-keys: set it yourself\n" in text
    file = tmp_path / "engine.env"
    file.write_text(text)
    shell = 'set -a; . "$1"; printf "%s\\n" "$KEY" "$URL" "$HF" "$ODD" "$PARAM_THREADS"'
    own = {"PATH": os.environ["PATH"], "TUNE_KEY": "told", "HF": "kept"}
    argv = ["sh", "-c", shell, "sh", str(file)]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True, env=own).stdout.splitlines()
    best = done.best
    assert best is not None
    assert lines == ["told", "http://told@x/a b", "kept", env["ODD"], str(best.params["threads"])]


def test_the_task_is_the_same_again_and_of_a_trial_the_one_that_measures_it(run: at.Run) -> None:
    again = Task.parse(yaml.safe_load(run_export(run.folder, "yaml").stdout))
    assert again == run.task
    trial = run.history[-1]
    alone = Task.parse(yaml.safe_load(run_export(run.folder, "yaml", "--trial", trial.number).stdout))
    assert [dict(point) for point in alone.space.grid()] == [dict(trial.params)]
    assert alone.num_trials == 1


def test_csv_has_a_row_per_configuration_and_level(run: at.Run) -> None:
    frame = pd.read_csv(io.StringIO(run_export(run.folder, "csv").stdout))
    assert list(frame.columns[:9]) == [
        *("config_id", "status", "reason", "param:threads", "param:batch_size"),
        *("level", "gpus", "startup_s", "duration_s"),
    ]
    assert frame["config_id"].tolist() == [0, 0, 1, 1, 2, 2]
    assert set(frame["status"]) == {"complete"}
    assert frame["output_tokens_per_s"].tolist() == run.levels["output_tokens_per_s"].tolist()
    one = pd.read_csv(io.StringIO(run_export(run.folder, "csv", "--trial", 2).stdout))
    assert one["config_id"].unique().tolist() == [2]


def test_parquet_goes_into_a_file(run: at.Run, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert run_export(run.folder, "parquet").exit_code == 2
    file = tmp_path / "levels.parquet"
    assert run_export(run.folder, "parquet", "-o", file).exit_code == 0
    assert len(pd.read_parquet(file)) == 6


def test_what_is_there_is_not_written_over_unless_told_so(run: at.Run, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("mine")
    told = run_export(run.folder, "csv", "-o", file)
    assert told.exit_code == 2
    assert told.stderr == f"error: {file} already exists; overwrite it with --force, or choose another -o\n"
    assert file.read_text() == "mine"
    assert run_export(run.folder, "csv", "-o", file, "--force").exit_code == 0
    assert file.read_text() != "mine"


def test_a_file_that_cannot_be_is_said_in_a_line(run: at.Run, tmp_path: Path) -> None:
    for output in (tmp_path / ("x" * 300), Path("/proc/none/x.csv")):
        told = run_export(run.folder, "csv", "-o", output)
        assert told.exit_code == 2
        assert told.stderr.startswith("error: ")
        assert told.stderr.count("\n") == 1
    (tmp_path / "file").touch()
    told = run_export(run.folder, "csv", "-o", tmp_path / "file" / "x.csv")
    # Not the one that was asked for is there already.
    assert told.stderr == f"error: {tmp_path / 'file' / 'x.csv'} cannot be written: {tmp_path / 'file'}: File exists\n"


@pytest.mark.parametrize(
    ("form", "option", "forms"),
    [
        ("csv", ("--requests-per-second", "20"), "hpa and keda"),
        ("canary", ("--concurrency", "20"), "hpa and keda"),
        ("isvc", ("--headroom", "20%"), "hpa and keda"),
        ("yaml", ("--scenario", "D(1,1)"), "hpa and keda"),
        ("command", ("--min-replicas", "1"), "hpa and keda"),
        ("hpa", ("--prometheus", "http://x"), "keda"),
        ("keda", ("--traffic", "10"), "canary"),
        ("mlflow", ("--gateway", "a/b"), "canary"),
        ("hpa", ("--against", "0"), "canary"),
    ],
)
def test_an_option_that_the_format_does_not_use_is_refused(
    form: str, option: tuple[str, str], forms: str, tmp_path: Path
) -> None:
    told = run_export(tmp_path, form, *option)
    assert (told.exit_code, told.stderr) == (
        2,
        f"error: {option[0]} has no effect with --as {form}; it is for {forms}\n",
    )


def test_a_local_study_has_nothing_to_apply_and_says_what_has(run: at.Run) -> None:
    told = run_export(run.folder, "isvc")
    assert told.exit_code == 2
    assert "ran as local processes and has no InferenceService" in told.stderr
    assert "deploy.kind: ome" in told.stderr


def test_a_study_in_a_cluster_has_its_manifest(world: World) -> None:
    task = world.task(trials=1, budget={"baseline": True})
    at.tune(task, study=world.folder).wait()
    handle = at.open(world.folder)
    changes = {"engine": "vllm", "parameters": {"max_num_seqs": [8]}, "deploy": {"kind": "ome", "namespace": "x"}}
    ome = Task.parse({**task.model_dump(), **changes})
    handle._task = ome  # type: ignore[attr-defined,union-attr]
    kind = [one["kind"] for one in yaml.safe_load_all(str(export(handle, "isvc", trial=0)))]
    assert kind == ["InferenceService"]


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "parquet"])
def test_no_study_no_such_trial_and_nothing_finished_are_said(form: str, world: World, tmp_path: Path) -> None:
    told = run_export(tmp_path / "none", form)
    assert told.exit_code == 2
    assert told.stderr.startswith("error: there is no study in ")
    failing = at.tune(world.task("exit:3", trials=1), study=world.folder)
    with pytest.raises(at.RunError):
        failing.wait()
    told = run_export(world.folder, form, "--trial", 9)
    assert told.exit_code == 2
    assert "has no trial 9; it has trials 0 to 0" in told.stderr
    told = run_export(world.folder, form)
    if form not in ("yaml", "csv"):
        assert told.exit_code == 2
        assert "No trial completed" in told.stderr
        assert "--trial N" in told.stderr
    else:
        assert told.exit_code == 0
        assert form == "yaml" or "failed" in told.stdout


def test_a_study_in_which_nothing_is_finished_has_its_task_and_nothing_else_to_export(world: World) -> None:
    open_study(world.task(), world.folder).close()
    for form in FORMATS:
        told = run_export(world.folder, form, "-o", world.folder / f"out.{form}")
        if form == "yaml":
            assert told.exit_code == 0, told.stderr
            continue
        assert told.exit_code == 2
        # No trial can be named where there is none.
        assert told.stderr.startswith(f"error: no trial of the study in {world.folder} is finished yet, so there is no")
        assert told.stderr.count("\n") == 1
        assert not (world.folder / f"out.{form}").exists()
    assert "has no trial 0; it has none" in run_export(world.folder, "command", "--trial", 0).stderr
