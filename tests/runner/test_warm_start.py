"""``warm_start``: what fits of previous studies and files is used, and what does not is refused or named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.errors import StudyError, TaskError
from autotune_nb.runner.previous_studies import PreviousTrials, read_previous
from autotune_nb.runner.warm_start import FILE, WarmStart, fitted
from autotune_nb.task.retuned import retuned_task
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.trial import Trial, TrialState
from tests.runner.test_replay import replay_task, write_table
from tests.stubs import World

WORKLOAD = {"scenarios": ["D(16,8)"], "concurrency": [1, 4]}


def vllm_task(**changes: Any) -> at.Task:
    return at.Task.parse(
        {
            "name": "x",
            "model": "acme/eight-billion",
            "engine": "vllm",
            "parameters": {"max_num_seqs": [64, 128, 256], "enable_prefix_caching": {"type": "bool"}},
            "workload": WORKLOAD,
            "objective": "maximize output_tokens_per_s",
            **changes,
        }
    )


def measured(number: int, params: dict[str, Any], *rates: float, scenario: str = "D(16,8)", **state: Any) -> Trial:
    levels = [Level(scenario, 1), Level(scenario, 4)]
    figures = [{"output_tokens_per_s": rate, "ttft_p99_s": 0.1} for rate in rates]
    ended = tuple(Measurement(level, 10.0, 5, 5, 0, f) for level, f in zip(levels, figures, strict=False))
    return Trial(number, params, TrialState.COMPLETE, ended, seconds={"deploy": 30.0}, **state)


def fit(task: at.Task, trials: Sequence[Trial], previous: at.Task | None = None) -> WarmStart:
    engine = engine_for(task)
    return fitted([PreviousTrials("runs/a", tuple(trials), previous)], task, space_for(task, engine), engine)


def test_trials_are_scored_by_the_new_goal_at_the_points_of_the_new_space() -> None:
    trials = [
        measured(0, {}, 10.0, 40.0, baseline=True),
        measured(1, {"max_num_seqs": 64, "enable_prefix_caching": True}, 20.0, 60.0),
    ]
    objective = {"direction": "maximize", "figure": "output_tokens_per_s", "at": 1}
    warm = fit(vllm_task(objective=objective, limits=["ttft_p99_s <= 0.05"]), trials, vllm_task())
    (study,) = warm.studies
    assert [(dict(o.params), o.values, o.excess) for o in study.observations] == [
        ({"max_num_seqs": 64, "enable_prefix_caching": True}, (20.0,), (pytest.approx(1.0),)),
    ]
    # The engine's default of max_num_seqs is not one of the values.
    assert warm.notes[0].startswith("warm start: 1 complete trials of runs/a inform the search; left out: 1 since")
    assert WarmStart.from_dict(json.loads(json.dumps(warm.to_dict()))) == warm


def test_parameters_that_one_of_the_two_lacks_fit_at_the_values_that_its_trials_had() -> None:
    wide = {"max_num_seqs": [64, 128], "block_size": [16, 32]}
    narrow = {"max_num_seqs": [64, 128]}
    on_fixed = {"engine": {"kind": "vllm", "args": {"block_size": 32}}}
    trials = [measured(0, {"max_num_seqs": 64}, 1.0), measured(1, {"max_num_seqs": 128}, 2.0)]
    more = fit(vllm_task(parameters=wide), trials, vllm_task(parameters=narrow, **on_fixed))
    assert [o.params["block_size"] for o in more.studies[0].observations] == [32, 32]
    both = [measured(n, {"max_num_seqs": 64, "block_size": size}, 1.0) for n, size in enumerate((16, 32, 32))]
    less = fit(vllm_task(parameters=narrow, **on_fixed), both, vllm_task(parameters=wide))
    assert [dict(o.params) for o in less.studies[0].observations] == [{"max_num_seqs": 64}] * 2
    assert "left out: 1 since block_size is not searched here and stays at 32, not 16" in less.notes[0]


def test_what_fits_nowhere_is_refused_with_the_reason() -> None:
    trials = [measured(0, {"max_num_seqs": 512, "enable_prefix_caching": True}, 1.0)]
    with pytest.raises(TaskError, match=r"no complete trial of runs/a fits .*max_num_seqs: 512 is not in the space"):
        fit(vllm_task(), trials)
    other = vllm_task(engine="sglang", parameters={"max_running_requests": [64, 128]})
    with pytest.raises(TaskError, match=r"runs/a is a study of sglang, and this task tunes vllm"):
        fit(vllm_task(), trials, other)
    with pytest.raises(TaskError, match="needs strategy auto"):
        vllm_task(warm_start="runs/a", strategy="tpe")


def test_another_workload_informs_the_shape_only_and_a_note_says_so() -> None:
    trials = [measured(0, {"max_num_seqs": 64, "enable_prefix_caching": True}, 5.0, 9.0, scenario="D(512,64)")]
    objective = {"direction": "maximize", "figure": "output_tokens_per_s", "at": 4}
    warm = fit(vllm_task(objective=objective), trials)
    assert warm.studies[0].observations[0].values == (9.0,)
    assert "other load levels" in warm.notes[1]


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study of a table, with its exported files beside it."""
    folder = tmp_path_factory.mktemp("previous")
    task = at.Task.parse(replay_task(write_table(folder), strategy="auto", budget={"trials": 6}))
    at.tune(task, study=folder / "a").wait(60)
    (folder / "a.json").write_text((folder / "a" / "results.json").read_text())
    csv = CliRunner().invoke(cli, ["export", str(folder / "a"), "--as", "csv", "-o", str(folder / "a.csv")])
    assert csv.exit_code == 0, csv.output
    return folder


@pytest.mark.parametrize("name", ["a", "a.json", "a.csv"])
def test_a_study_and_its_exports_hold_the_same_trials(previous: Path, name: str) -> None:
    found, whole = read_previous(previous / name), read_previous(previous / "a")
    assert [dict(t.params) for t in found.trials] == [dict(t.params) for t in whole.trials]
    assert [t.state for t in found.trials] == [t.state for t in whole.trials]
    assert (found.task is None) == (name == "a.csv")


def test_a_run_with_a_warm_start_measures_the_best_first_and_reports_what_it_saved(
    previous: Path, tmp_path: Path
) -> None:
    shutil.copytree(previous / "a", tmp_path / "a")
    best = at.open(tmp_path / "a").best
    data = replay_task(previous / "table.csv", strategy="auto", budget={"trials": 3})
    task = at.Task.parse({**data, "warm_start": str(tmp_path / "a")})
    run = at.tune(task, study=tmp_path / "b").wait(60)
    assert best is not None
    assert dict(run.history[0].params) == best.params
    assert run.history[0].reason.startswith(f"the best of {tmp_path / 'a'}, measured again")
    assert any("complete trials of" in text for _, text in run.notices)
    assert "the warm start saved" in run.end_reason
    # What it has learned is kept: the previous study may be deleted.
    shutil.rmtree(tmp_path / "a")
    longer = at.tune(at.with_overrides(task, trials=5), study=tmp_path / "b").wait(60)
    assert len(longer.history) == 5
    (tmp_path / "b" / FILE).write_text('{"sources": ["%s"]}' % (tmp_path / "a"))
    with pytest.raises(StudyError, match="is damaged"):
        at.tune(at.with_overrides(task, trials=6), study=tmp_path / "b")


def test_a_source_that_cannot_be_read_is_named(previous: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    for source, message in (("nowhere", "there is no study or file"), ("x.json", "is not the JSON of a study")):
        task = at.Task.parse(
            {**replay_task(previous / "table.csv", strategy="auto"), "warm_start": [str(tmp_path / source)]}
        )
        with pytest.raises(StudyError, match=rf"warm_start\[0\]: .*{message}"):
            at.tune(task, study=tmp_path / "b")
        checked = at.check(task)
        assert not checked.ok
        assert message in str(checked)


def test_the_check_of_a_task_says_what_its_warm_start_has_and_writes_nothing(previous: Path, tmp_path: Path) -> None:
    task = at.Task.parse({**replay_task(previous / "table.csv", strategy="auto"), "warm_start": [str(previous / "a")]})
    checked = at.check(task, study=tmp_path / "b")
    assert checked.ok
    assert "warm start" in str(checked)
    assert not (tmp_path / "b").exists()


def test_retune_runs_the_same_task_in_a_new_folder_from_what_the_study_has_measured(
    previous: Path, tmp_path: Path
) -> None:
    shutil.copytree(previous / "a", tmp_path / "a")
    done = CliRunner().invoke(cli, ["retune", str(tmp_path / "a"), "--trials", "2", "--json"])
    assert done.exit_code == 0, done.output
    results = json.loads(done.stdout)
    assert results["study"] == str(tmp_path / "a-retuned")
    assert "measured again" in results["trials"][0]["reason"]
    assert at.Task.load(tmp_path / "a-retuned" / "retune.yaml").warm_start == [str(tmp_path / "a")]
    # The first has finished: another upgrade gets another folder.
    assert at.retune(tmp_path / "a", trials=1).wait(60).path == tmp_path / "a-retuned-2"
    refused = CliRunner().invoke(cli, ["retune", str(tmp_path / "a"), "--engine-version", "0.9"])
    assert refused.exit_code == 2
    assert "'0.9' is the tag of an image, and the study's trials are of kind replay" in refused.stderr


def test_a_program_that_does_not_exist_creates_no_folder(tmp_path: Path, world: World) -> None:
    at.tune(world.task(trials=1), study=tmp_path / "a").wait(60)
    refused = CliRunner().invoke(cli, ["retune", str(tmp_path / "a"), "--executable", "/nowhere/server"])
    assert (refused.exit_code, refused.stderr) == (
        2,
        "error: engine.executable: the program '/nowhere/server' does not exist or cannot be executed; install it, or "
        "give its path\n",
    )
    assert [one.name for one in tmp_path.glob("a*")] == ["a"]


def test_an_engine_version_is_the_new_tag_of_the_image() -> None:
    def image(name: str, version: str) -> str | None:
        task = vllm_task(deploy={"kind": "container", "image": name}, strategy="tpe")
        changed = retuned_task(task, "runs/a", engine_version=version)
        assert (changed.strategy.sampler, changed.warm_start) == ("auto", ["runs/a"])
        return changed.deploy.image

    assert image("vllm/vllm-openai:v0.10.0", "0.11.1") == "vllm/vllm-openai:v0.11.1"
    assert image("registry:5000/sglang:0.5", "v0.6") == "registry:5000/sglang:v0.6"
    for name in ("registry:5000/sglang", "vllm/vllm-openai@sha256:" + "5f" * 32):
        with pytest.raises(TaskError, match=r"has no tag to replace .*--image"):
            image(name, "0.6")
    with pytest.raises(TaskError, match="--executable"):
        retuned_task(vllm_task(), "runs/a", engine_version="0.11")
    assert retuned_task(vllm_task(), "runs/a", executable="/opt/vllm").engine.executable == "/opt/vllm"
