"""``autotune-nb import``: results become a study that can be shown, reported, exported and resumed."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.errors import StudyBusyError, StudyError
from autotune_nb.opened import OpenedStudy
from autotune_nb.results._fitting import with_plain_types
from autotune_nb.results.importing import import_results
from autotune_nb.secrets import scrubbing
from autotune_nb.study import Study
from autotune_nb.trial.trial import Trial
from tests.benchmarks.kept import write_study
from tests.stubs import World, level_data, level_file

CSV = (
    """config_id,status,reason,param:threads,param:mode,level,gpus,startup_s,duration_s,output_tokens_per_s,ttft_p99_s
0,complete,,,,D(16;8) at concurrency 1,1,2.5,6,10,0.1
0,complete,,,,D(16;8) at concurrency 4,1,2.5,6,30,0.4
1,complete,,2,größe 🚀,D(16;8) at concurrency 1,1,2.5,6,20,0.1
1,complete,,2,größe 🚀,D(16;8) at concurrency 4,1,2.5,6,60,0.9
2,failed,out of memory in deploy: it ended,4,<b>ערב</b>,,1,,,,
""".replace("D(16;8)", '"D(16,8)')
    .replace(" at concurrency 1,", ' at concurrency 1",')
    .replace(" at concurrency 4,", ' at concurrency 4",')
)


def run_import(source: Path, study: Path, *arguments: object) -> Result:
    return CliRunner().invoke(cli, ["import", str(source), "--study", str(study), *map(str, arguments)])


def many(file: Path, trials: int) -> Path:
    """A file of so many configurations."""
    rows = [f"{i},complete,{i},concurrency 1,5,{i + 1},0.1" for i in range(trials)]
    file.write_text(
        "config_id,status,param:threads,level,duration_s,output_tokens_per_s,ttft_p99_s\n" + "\n".join(rows)
    )
    return file


def show(study: Path) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(CliRunner().invoke(cli, ["show", str(study), "--json"]).stdout)
    return shown


def test_a_file_becomes_a_study_that_is_shown_reported_and_exported_the_same(tmp_path: Path) -> None:
    source, study = tmp_path / "größe.csv", tmp_path / "study"
    source.write_text(CSV)
    told = run_import(source, study, "--limit", "ttft_p99_s <= 0.5")
    assert told.exit_code == 0, told.output
    assert told.stdout.splitlines()[0] == f"{study}: 2 trials complete, 1 failed"
    assert "there are no limits" not in told.stdout
    shown = show(study)
    assert [t["state"] for t in shown["trials"]] == ["complete", "complete", "failed"]
    assert [t["baseline"] for t in shown["trials"]] == [True, False, False]
    # The other level breaks the limit.
    assert shown["best"]["number"] == 0
    assert shown["task"]["name"] == "größe"
    assert shown["trials"][2]["failure"]["kind"] == "out_of_memory"
    report = at.report(study)
    assert report.verdict.startswith("Best is trial 0 with 30 tokens/s")
    page = report.to_html()
    assert "&lt;b&gt;ערב&lt;/b&gt;" in page
    # The engine's command line is unknown, so none is shown.
    assert "imported --port 8000" not in page + report.text()
    assert "The results were imported from größe.csv, so" in page
    assert "Reproduce" not in page
    assert "None is set: it is the engine's default configuration." in page
    printed = CliRunner().invoke(cli, ["show", str(study)]).stdout
    assert printed.endswith("\n\nits command line is unknown: its results were imported\n")
    for form in ("command", "env", "isvc", "yaml"):
        for trial, told in ((), "the engine's default configuration"), (("--trial", "1"), "threads=2 mode=größe 🚀"):
            done = CliRunner().invoke(cli, ["export", str(study), "--as", form, *trial])
            assert (done.exit_code, done.stdout) == (2, "")
            assert "were imported, so its" in done.stderr
            assert "so its task is unknown. Use" in done.stderr if form == "yaml" else told in done.stderr
            assert "--as csv or parquet" in done.stderr
            assert done.stderr.count("\n") == 1
    again = CliRunner().invoke(cli, ["export", str(study), "--as", "csv"]).stdout
    other = tmp_path / "other"
    (tmp_path / "again.csv").write_text(again)
    assert run_import(tmp_path / "again.csv", other, "--limit", "ttft_p99_s <= 0.5").exit_code == 0
    assert CliRunner().invoke(cli, ["export", str(other), "--as", "csv"]).stdout == again
    # Without the limit a configuration with parameters is the best.
    assert run_import(source, tmp_path / "free").exit_code == 0
    page = at.report(tmp_path / "free").to_html()
    assert '<th dir="auto">threads</th><td dir="auto">2</td>' in page
    assert '<th dir="auto">mode</th><td dir="auto">größe 🚀</td>' in page
    # The database has it, and not only its summary.
    (study / "results.json").unlink()
    assert at.open(study).history == at.open(other).history


def test_nothing_is_started_with_a_task_that_was_made_of_results(tmp_path: Path) -> None:
    source, study, file = tmp_path / "x.csv", tmp_path / "study", tmp_path / "made.json"
    source.write_text(CSV)
    # So tight that none is the best: whichever trial is named, there is no command line either.
    assert run_import(source, study, "--limit", "ttft_p99_s <= 0.01").exit_code == 0
    told = CliRunner().invoke(cli, ["export", str(study), "--as", "command"]).stderr
    assert "were imported, so its" in told
    assert "--trial" not in told
    opened = at.open(study)
    assert isinstance(opened, OpenedStudy)
    before = (study / "results.json").read_bytes()
    tries = (opened.start, lambda: opened.command({"threads": 2}), lambda: opened.manifest({"threads": 2}))
    for start in tries:
        with pytest.raises(
            at.TaskError, match=r"engine\.command: 'imported --port \{port\}' is a placeholder: .* --task"
        ):
            start()
    file.write_text(opened.task.model_dump_json())
    done = CliRunner().invoke(cli, ["run", str(file), "--study", str(study)])
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "this task was derived from imported results" in done.stderr
    assert (study / "results.json").read_bytes() == before
    checked = CliRunner().invoke(cli, ["check", str(file)])
    assert checked.exit_code == 2
    assert "this task was derived from imported results" in checked.stdout
    best = at.open(import_results(source, tmp_path / "free").folder).best
    assert best is not None
    assert (best.command, best.manifest) == ("", None)


def test_an_exported_study_comes_back_equal_and_goes_on_under_its_task(world: World, tmp_path: Path) -> None:
    task = world.task(trials=2, budget={"baseline": True})
    run = at.tune(task, study=world.folder).wait()
    source, study, file = tmp_path / "levels.csv", tmp_path / "back", tmp_path / "task.json"
    source.write_text(CliRunner().invoke(cli, ["export", str(world.folder), "--as", "csv"]).stdout)
    file.write_text(task.model_dump_json())
    told = run_import(source, study, "--task", file)
    assert told.exit_code == 0, told.output
    for ours, theirs in zip(at.open(study).history, run.history, strict=True):
        assert (ours.params, ours.score, ours.measurements) == (theirs.params, theirs.score, theirs.measurements)
    more = at.tune(at.with_overrides(task, trials=4), study=study).wait()
    assert [t.number for t in more.history] == [0, 1, 2, 3]
    assert len({json.dumps(dict(t.params)) for t in more.history}) == 4


def experiment(folder: Path, *levels: int, speed: float = 50.0, **metadata: Any) -> Path:
    folder.mkdir(parents=True)
    about = {"task": "text-to-text", "model": "acme/8b", "traffic_scenario": ["D(16,8)"], "num_concurrency": [1, 2]}
    (folder / "experiment_metadata.json").write_text(json.dumps({**about, **metadata}))
    for level in levels:
        data = level_data(concurrency=level, tokens_per_s=speed * level)
        (folder / level_file(level)).write_text(json.dumps(data))
    return folder


def test_folders_of_genai_bench_are_configurations(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    experiment(runs / "a", 1, 2)
    experiment(runs / "b 🚀", 1, 2, speed=70.0)
    told = run_import(runs, tmp_path / "study")
    assert told.exit_code == 0, told.output
    assert told.stderr == ""
    shown = show(tmp_path / "study")
    assert [t["params"] for t in shown["trials"]] == [{"folder": "a"}, {"folder": "b 🚀"}]
    assert shown["best"]["params"] == {"folder": "b 🚀"}
    assert shown["task"]["model"] == {"id_or_path": "acme/8b"}
    assert shown["task"]["workload"]["concurrency"] == [1, 2]
    one = run_import(runs / "a", tmp_path / "one")
    assert one.stdout.startswith(f"{tmp_path / 'one'}: 1 trial complete, 0 failed")


def changed(folder: Path, level: int, **changes: Any) -> None:
    """Change fields of one level's file."""
    file = folder / level_file(level)
    data = json.loads(file.read_text())
    data["aggregated_metrics"].update(changes)
    file.write_text(json.dumps(data))


def test_folders_with_loads_that_no_task_has_are_left_out_and_named(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in ("mixed", "plain", "prefix", "rate"):
        experiment(runs / name, 1, 2)
    changed(runs / "mixed", 1, scenario="M(0.5:P(800,100)/50,0.5:D(64,16))")
    changed(runs / "plain", 1, scenario="D(16, 8)")
    for level in (1, 2):
        changed(runs / "prefix", level, scenario="P(1500,300)/120")
        changed(runs / "rate", level, iteration_type="request_rate", num_concurrency=64)
    done = import_results(runs, tmp_path / "study")
    assert [(t.number, t.params, len(t.measurements)) for t in done.trials] == [
        (0, {"folder": "mixed"}, 1),
        (1, {"folder": "plain"}, 2),
    ]
    assert done.notes == (
        "mixed is left out in part: the traffic scenario 'M(0.5:P(800,100)/50,0.5:D(64,16))' is unknown",
        "mixed: only 1 of 2 levels have results",
        "prefix is left out: the traffic scenario 'P(1500,300)/120' is unknown",
        "rate is left out: its load is of the kind 'request_rate', not a concurrency or a batch size",
    )
    alone = run_import(runs / "rate", tmp_path / "alone")
    assert alone.exit_code == 2
    assert "rate is left out: its load is of the kind 'request_rate'" in alone.stderr
    assert not (tmp_path / "alone").exists()


def test_embeddings_are_compared_by_their_input(tmp_path: Path) -> None:
    runs = experiment(tmp_path / "runs", 1, task="text-to-embeddings", traffic_scenario=["E(64)"], num_concurrency=[1])
    changed(runs, 1, scenario="E(64)", mean_output_throughput_tokens_per_s=None, stats=None)
    done = import_results(runs, tmp_path / "study")
    assert done.num_complete == 1
    assert at.open(tmp_path / "study").task.goal.figure == "input_tokens_per_s"
    assert "the objective is maximize input_tokens_per_s" in done.notes[0]


def test_an_impossible_speed_is_named(tmp_path: Path) -> None:
    runs = experiment(tmp_path / "runs", 1, num_concurrency=[1])
    changed(runs, 1, stats={**level_data()["aggregated_metrics"]["stats"], "output_inference_speed": {"max": 4008080}})
    done = import_results(runs, tmp_path / "study")
    assert done.num_complete == 1
    assert "a request of 4,008,080 output tokens/s is impossible" in done.notes[0]


def test_a_value_that_the_space_no_longer_has_leaves_its_row_out(tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text(CSV)
    import_results(source, tmp_path / "all")
    data = at.open(tmp_path / "all").task.model_dump(mode="json")
    data["parameters"]["threads"] = [1, 4]
    done = import_results(source, tmp_path / "study", task=at.Task.parse(data))
    assert [(t.number, t.baseline or t.params["threads"]) for t in done.trials] == [(0, True), (1, 4)]
    assert done.notes[0].startswith("configuration 1 is left out, it is not in the task's space: ")
    assert [t.number for t in at.open(tmp_path / "study").history] == [0, 1]


def test_a_folder_cut_short_gives_what_is_whole_and_says_the_rest(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    cut = experiment(runs / "cut", 1, 2)
    text = (cut / level_file(2)).read_text()
    (cut / level_file(2)).write_text(text[: len(text) // 2])
    none = experiment(runs / "none", 1)
    (none / level_file(1)).write_text("{")
    told = run_import(runs, tmp_path / "study")
    assert told.exit_code == 0
    assert told.stderr.splitlines()[:2] == [
        f"note: cut: {level_file(2)} is ignored: it is cut short",
        "note: cut: only 1 of 2 levels have results",
    ]
    states = [(t["state"], len(t["measurements"])) for t in show(tmp_path / "study")["trials"]]
    assert states == [("complete", 1), ("failed", 0)]
    assert "cut short" in show(tmp_path / "study")["trials"][1]["failure"]["message"]


@pytest.mark.parametrize(
    ("strange", "told"),
    [
        ({"scenario": ["D(16,8)"]}, "scenario is ['D(16,8)']; expected is a text"),
        ({"scenario": None}, "scenario is None; expected is a text"),
        ({"num_concurrency": "eight"}, "num_concurrency is 'eight'; expected is a whole number, 1 or more"),
        ({"num_concurrency": 0}, "num_concurrency is 0; expected is a whole number, 1 or more"),
        ({"num_concurrency": True}, "num_concurrency is True; expected is a whole number, 1 or more"),
        ({"stats": [1]}, "stats is [1]; expected is an object"),
        ({"stats": {"ttft": 5}}, "stats.ttft is 5; expected is an object"),
        ({"num_completed_requests": "many"}, "num_completed_requests is 'many'; expected is a number, 0 or more"),
        ({"num_error_requests": [0]}, "num_error_requests is [0]; expected is a number, 0 or more"),
        ({"run_duration": "long"}, "run_duration is 'long'; expected is a number, 0 or more"),
        ({"error_codes_frequency": [500]}, "error_codes_frequency is [500]; expected is an object"),
    ],
)
def test_a_level_with_a_field_of_another_type_is_left_out_and_the_field_is_named(
    tmp_path: Path, strange: Any, told: str
) -> None:
    folder = experiment(tmp_path / "run", 1, num_concurrency=7)
    data = level_data(concurrency=2)
    data["aggregated_metrics"].update(strange)
    (folder / level_file(2)).write_text(json.dumps(data))
    done = run_import(folder, tmp_path / "study")
    assert done.exit_code == 0, done.output
    assert done.stderr == f"note: run: {level_file(2)} is ignored: aggregated_metrics.{told}\n"


def test_a_folder_whose_only_level_is_of_another_type_fails_for_that(tmp_path: Path) -> None:
    folder = experiment(tmp_path / "run", num_concurrency=7)
    (folder / level_file(1)).write_text('{"aggregated_metrics": 5}')
    done = import_results(folder, tmp_path / "study")
    assert done.trials[0].failure is not None
    assert "aggregated_metrics is 5; expected is an object" in done.trials[0].failure.message


def test_a_trial_without_the_objectives_figure_is_kept_as_failed(tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text("config_id,status,level,output_tokens_per_s,ttft_p99_s\nA,complete,1,5,\nB,complete,1,6,0.5\n")
    done = import_results(source, tmp_path / "study", objective="minimize ttft_p99_s")
    assert [str(t.state) for t in done.trials] == ["failed", "complete"]
    assert done.notes == ("trial 0 is stored as failed: the measurement of dataset at concurrency 1 has no ttft_p99_s",)
    none = run_import(source, tmp_path / "none", "--objective", "minimize tpot_mean_s")
    assert none.exit_code == 1
    assert at.report(tmp_path / "none").verdict.startswith("No trial completed")


def test_a_column_that_nobody_knows_is_left_out_and_told(tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text("config_id,status,level,arrival_requests_per_s,output_tokens_per_s\nA,complete,1,4.5,5\n")
    told = run_import(source, tmp_path / "study")
    assert told.exit_code == 0, told.output
    assert told.stderr == "note: unknown columns are ignored: arrival_requests_per_s\n"
    assert "there are no limits, so any trial can be the best; set them with --limit or --task" in told.stdout


def test_what_cannot_be_imported_is_said_and_nothing_is_written(tmp_path: Path, world: World) -> None:
    source, study = tmp_path / "x.csv", tmp_path / "study"
    for text, told in (
        ("", "x.csv cannot be read as .csv: No columns"),
        ("config_id,status,level,ttft_p99_ms\n", "expected ttft_p99_s"),
        ("config_id,status,level,ttft_p99_s\n", "contains no results"),
        (CSV.replace("complete,,2", "complete,,2,7", 1), "line 4 has 12 fields and the header 11"),
        ("config_id,status,level\n1,complete,8,9\n", "line 2 has 4 fields and the header 3"),
        ("config_id,status,level,param:x,param:x\n", "x.csv has the column 'param:x' twice"),
        ("config_id,status,level,ttft_p99_s,\n1,complete,0,0.5,\n", "x.csv, row 2: level is '0'"),
        ("config_id;status;level;ttft_p99_s\n1;complete;8;0,5\n", "x.csv has semicolons between its columns"),
        ("config_id\tstatus\tlevel\tttft_p99_s\n1\tcomplete\t8\t0.5\n", "x.csv has tabs between its columns"),
    ):
        source.write_text(text)
        done = run_import(source, study)
        assert done.exit_code == 2
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
        assert not study.exists()
    packed = tmp_path / "x.csv.gz"
    packed.write_bytes(gzip.compress(CSV.encode()))
    assert run_import(packed, study).stderr == f"error: {packed} is compressed; unpack it and import its content\n"
    (tmp_path / "x.json").write_text("[{}]")
    assert "x.json is JSON, which is not read; give a CSV" in run_import(tmp_path / "x.json", study).stderr
    source.write_text(CSV)
    done = run_import(tmp_path / "missing.csv", study)
    assert "there is no file or folder" in done.stderr
    (tmp_path / "empty").mkdir()
    assert "contains no results of genai-bench" in run_import(tmp_path / "empty", study).stderr
    file = tmp_path / "task.json"
    file.write_text(world.task().model_dump_json())
    done = run_import(source, study, "--task", file)
    assert done.exit_code == 2
    assert "configuration 1 of x.csv is not in the task's space" in done.stderr
    assert "omit --objective" in run_import(source, study, "--task", file, "--objective", "minimize ttft").stderr
    assert not study.exists()


@pytest.mark.parametrize("known", [True, False])
def test_no_secret_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    # Put together here, so that no scanner takes this file for a leak.
    secret = "wholly-odd-canary-7" if known else "hf_" + "aB3dE5" * 6
    for name in ("_told", "_short", "_named"):
        monkeypatch.setattr(scrubbing, name, set())
    monkeypatch.setattr(scrubbing, "_known", None)
    if known:
        monkeypatch.setenv("HF_TOKEN", secret)
    source, study = tmp_path / "x.csv", tmp_path / "study"
    for there, place in (("größe 🚀", "configuration 1's mode"), ("param:mode", "the name of a parameter")):
        source.write_text(CSV.replace(there, f"param:{secret}" if there.startswith("param") else secret))
        done = run_import(source, study)
        assert done.exit_code == 2
        assert f"x.csv: {place}" in done.stderr and "is a secret value" in done.stderr
        assert secret not in done.output
        assert not study.exists()
    source.write_text(CSV.replace("failed", secret))
    assert "row 6: status is" in (done := run_import(source, study)).stderr and secret not in done.output
    source.write_text(CSV.replace("it ended", f"it ended: no such token {secret}"))
    done = run_import(source, study)
    assert done.exit_code == 0, done.output
    assert secret not in done.output
    assert "it ended: no such token " in str(at.open(study).history[2].failure)
    assert [file.name for file in study.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()] == []


def test_a_study_whose_trials_all_failed_at_their_start_goes_out_and_in(world: World, tmp_path: Path) -> None:
    with pytest.raises(at.RunError):
        at.tune(world.task("exit:3"), study=world.folder).wait()
    source = tmp_path / "failed.csv"
    source.write_text(CliRunner().invoke(cli, ["export", str(world.folder), "--as", "csv"]).stdout)
    told = run_import(source, tmp_path / "back")
    assert told.exit_code == 1
    assert told.stdout.startswith(f"{tmp_path / 'back'}: 0 trials complete, 2 failed")
    failures = [str(t.failure) for t in at.open(tmp_path / "back").history]
    assert failures == [str(t.failure) for t in at.open(world.folder).history]


@pytest.mark.parametrize("there", [False, True])
def test_an_import_that_is_cut_short_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    source, study = tmp_path / "x.csv", tmp_path / "study"
    source.write_text(CSV)
    if there:
        study.mkdir()
        (study / "mine.txt").write_text("mine")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Study, "save_elapsed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_results(source, study)
    assert [file.name for file in study.glob("*")] == (["mine.txt"] if there else [])
    monkeypatch.undo()
    assert import_results(source, study).num_complete == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_leaves_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    source, study = many(tmp_path / "x.csv", 60), tmp_path / "study"
    add = Study.add

    def and_then(self: Study, trials: Sequence[Trial]) -> None:
        add(self, trials)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(Study, "add", and_then)
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    told = run_import(source, study)
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr == f"stopped: nothing was imported into {study}\n"
    assert not study.exists()
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_long_import_says_that_it_goes_on(tmp_path: Path) -> None:
    source, told = many(tmp_path / "x.csv", 60), []
    import_results(source, tmp_path / "study", progress=lambda *counts: told.append(counts))
    assert told == [(0, 60), (60, 60)]
    # No terminal: a line that is renewed would be hundreds of lines in a log.
    done = run_import(many(tmp_path / "y.csv", 200), tmp_path / "many")
    assert (done.exit_code, done.stderr) == (0, "importing 200 trials\n")
    assert [t.number for t in at.open(tmp_path / "many").history] == list(range(200))
    assert run_import(source, tmp_path / "few").stderr == ""


_DIGITS, _LISTS, _OBJECTS = "1" * 400, "[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "1" + "}" * 10_000
_TOO_LARGE = "contains an integer of {} digits; the largest allowed is 18446744073709551615"
_TOO_DEEP = "contains lists or objects nested more than 100 deep"


@pytest.mark.parametrize(
    ("column", "cell", "told"),
    [
        ("param:threads", _DIGITS, _TOO_LARGE.format(400)),
        ("param:threads", f"-{_DIGITS}", _TOO_LARGE.format(400)),
        ("param:threads", f'{{"a": [1, {_DIGITS}]}}', _TOO_LARGE.format(400)),
        ("param:threads", "9" * 5000, _TOO_LARGE.format(5000)),
        ("param:threads", _LISTS, _TOO_DEEP),
        ("param:threads", _OBJECTS, _TOO_DEEP),
        ("param:threads", "[" * 10_000, _TOO_DEEP),
        ("param:threads", "[" * 300 + "]" * 300, _TOO_DEEP),
        ("level", f"concurrency {_DIGITS}", "(414 characters); expected a level such as"),
        ("level", "9" * 5000, "(5002 characters); expected a level such as"),
        ("gpus", "9" * 5000, "(5002 characters); expected a number of GPUs"),
        ("duration_s", _LISTS, "(20002 characters); expected a number"),
        ("num_requests", _DIGITS, "(402 characters); expected an integer"),
    ],
)
def test_huge_numbers_and_deep_lists_are_errors_in_one_short_line(
    tmp_path: Path, column: str, cell: str, told: str
) -> None:
    source, study = tmp_path / "x.csv", tmp_path / "study"
    cells = {"param:threads": "1", "level": "concurrency 1", "gpus": "1", "duration_s": "5", "num_requests": "3"}
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["config_id", "status", "output_tokens_per_s", *cells])
        writer.writerow(["0", "complete", "10", *(cells | {column: cell}).values()])
    done = run_import(source, study)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: x.csv")
    assert f"{column} " in done.stderr
    assert told in done.stderr
    assert len(done.stderr) < 300
    assert done.stderr.count("\n") == 1
    assert not study.exists()


def test_huge_numbers_and_deep_lists_in_a_reason_are_its_text(tmp_path: Path) -> None:
    source, study = tmp_path / "x.csv", tmp_path / "study"
    reasons = [_DIGITS, "9" * 5000, _LISTS, "[" * 10_000, _OBJECTS, '{"token": ' * 10_000]
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["config_id", "status", "reason", "param:threads", "level", "output_tokens_per_s"])
        writer.writerow(["best", "complete", "", "0", "concurrency 1", "10"])
        writer.writerows(
            [n, "failed", f"out of memory in deploy: {text}", n, "", ""] for n, text in enumerate(reasons, 1)
        )
    done = run_import(source, study)
    assert done.exit_code == 0, done.output
    failures = [trial.failure for trial in at.open(study).history[1:]]
    assert [failure.message[:5] for failure in failures if failure] == [text[:5] for text in reasons]
    for command in (["show", str(study)], ["export", str(study), "--as", "csv"]):
        assert CliRunner().invoke(cli, command).exit_code == 0


_KILLED = """
import sys
from autotune_nb.results.importing import import_results

def progress(kept, total):
    if kept == 500:
        print(kept, flush=True)
        sys.stdin.read()

import_results(sys.argv[1], sys.argv[2], progress=progress)
"""


def test_an_import_that_was_killed_is_recognized_as_incomplete(tmp_path: Path, world: World) -> None:
    source, study, task = many(tmp_path / "x.csv", 600), tmp_path / "imported", world.task()
    argv = [sys.executable, "-c", _KILLED, str(source), str(study)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "500\n"
        with pytest.raises(StudyBusyError, match=f"is running .pid {process.pid} on .*; wait until it has finished"):
            at.open(study)
        process.kill()
    before = {file: file.read_bytes() for file in study.iterdir()}
    told = f"the import into {study} did not finish: delete the folder and import again"
    with pytest.raises(StudyError, match=re.escape(told)):
        at.open(study)
    with pytest.raises(StudyError, match=re.escape(told)):
        at.tune(task, study=study)
    assert [answer.text for answer in at.check(task, study=study).answers] == [told]
    file = tmp_path / "task.json"
    file.write_text(task.model_dump_json())
    for command in (
        ["show", study],
        ["report", study, "-o", tmp_path / "report.ipynb"],
        ["run", file, "--study", study],
        ["export", study, "--as", "csv"],
        ["import", source, "--study", study],
    ):
        done = CliRunner().invoke(cli, list(map(str, command)))
        assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"error: {told}\n")
    # The killed process's own; it goes with the next that takes the folder.
    before.pop(study / "run.json")
    assert {file: file.read_bytes() for file in study.iterdir()} == before
    shutil.rmtree(study)
    assert import_results(source, study).num_complete == 600
    assert len(at.open(study).history) == 600


def test_a_study_that_is_there_is_left_alone(tmp_path: Path) -> None:
    source, study = tmp_path / "x.csv", tmp_path / "study"
    source.write_text(CSV)
    assert run_import(source, study).exit_code == 0
    before = (study / "results.json").read_bytes()
    done = run_import(source, study)
    assert done.exit_code == 2
    assert "holds a study already; choose another --study" in done.stderr
    assert (study / "results.json").read_bytes() == before


def test_hundreds_of_trials_go_out_and_in(tmp_path: Path) -> None:
    write_study(tmp_path / "many", 400)
    out = tmp_path / "many.csv"
    told = CliRunner().invoke(cli, ["export", str(tmp_path / "many"), "--as", "csv", "-o", str(out)])
    assert told.exit_code == 0, told.output
    done = import_results(out, tmp_path / "back", limits=["ttft_p99_s <= 0.2", "tpot_mean_s <= 0.09"])
    before = at.open(tmp_path / "many")
    assert [t.state for t in done.trials] == [t.state for t in before.history]
    best, other = at.open(tmp_path / "back").best_trial, before.best_trial
    assert best is not None
    assert other is not None
    assert (best.number, best.params, best.score) == (other.number, other.params, other.score)


def test_an_invalid_level_is_left_out_and_the_others_are_kept(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    experiment(runs / "a", 1, 2)
    changed(runs / "a", 2, num_error_requests=1, error_codes_frequency={"429": 1})
    of_folders = import_results(runs, tmp_path / "folders")
    table = tmp_path / "x.csv"
    table.write_text(
        "config_id,status,param:threads,level,output_tokens_per_s,num_completed_requests,num_failed_requests\n"
        "0,complete,1,concurrency 1,5,10,0\n0,complete,1,concurrency 2,9,10,1\n"
    )
    of_table = import_results(table, tmp_path / "table")
    for done, note in (
        (of_folders, "a: D(16,8) at concurrency 2 is left out: 1 of 11 requests failed (1 x 429); at most 0 may"),
        (of_table, "configuration 0: dataset at concurrency 2 is left out: 1 of 11 requests failed; at most 0 may"),
    ):
        assert done.num_complete == 1
        assert [m.level.concurrency for m in done.trials[0].measurements] == [1]
        assert note in done.notes
    data = at.open(tmp_path / "folders").task.model_dump(mode="json")
    data["workload"] |= {"max_failed_requests": 1, "concurrency": [1, 2]}
    allowed = import_results(runs, tmp_path / "allowed", task=at.Task.parse(data))
    assert [m.level.concurrency for m in allowed.trials[0].measurements] == [1, 2]


def test_levels_that_the_task_does_not_have_are_left_out_by_name(tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text(CSV)
    import_results(source, tmp_path / "all")
    data = at.open(tmp_path / "all").task.model_dump(mode="json")
    data["workload"]["concurrency"] = [1, 16]
    done = import_results(source, tmp_path / "study", task=at.Task.parse(data))
    assert {str(m.level) for t in done.trials for m in t.measurements} == {"D(16,8) at concurrency 1"}
    assert done.notes[0] == "levels that the task does not have are left out: D(16,8) at concurrency 4"
    data["workload"]["concurrency"] = [16]
    with pytest.raises(at.TaskError, match=r"no level of the task, which has D\(16,8\) at concurrency 16; it has D"):
        import_results(source, tmp_path / "none", task=at.Task.parse(data))
    assert not (tmp_path / "none").exists()


def exported_gpus(study: Path) -> list[str]:
    content = CliRunner().invoke(cli, ["export", str(study), "--as", "csv"]).stdout
    return [row["gpus"] for row in csv.DictReader(content.splitlines())]


PANDAS = """config_id,status,param:seqs,param:prefix,level,gpus,output_tokens_per_s
0,complete,,,concurrency 1,1.0,10
1,complete,64.0,True,concurrency 1,2.0,20
2,complete,128.0,FALSE,concurrency 1,,30
"""


class CountedText(str):
    """A text that counts how often it is looked up."""

    lookups = 0

    def __hash__(self) -> int:
        CountedText.lookups += 1
        return super().__hash__()


def test_the_types_of_a_parameter_are_decided_once_and_not_for_each_of_its_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CountedText, "lookups", 0)
    trials = [Trial(number, {"on": CountedText("True")}) for number in range(100)]
    assert [trial.params["on"] for trial in with_plain_types(trials)] == [True] * 100
    # A comparison of each value with all others would be 10 000.
    assert 100 <= CountedText.lookups <= 1_000


def test_whole_floats_and_booleans_as_pandas_writes_them(tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text(PANDAS)
    import_results(source, tmp_path / "free")
    task = at.open(tmp_path / "free").task
    wanted = [{}, {"seqs": 64, "prefix": True}, {"seqs": 128, "prefix": False}]
    data = task.model_dump(mode="json")
    data["parameters"] = {"seqs": [64, 128], "prefix": {"type": "bool"}}
    done = import_results(source, tmp_path / "study", task=at.Task.parse(data))
    for trials in (at.open(tmp_path / "free").history, done.trials):
        assert [repr(dict(trial.params)) for trial in trials] == [repr(one) for one in wanted]
    assert exported_gpus(tmp_path / "free") == ["1", "2", ""]


def test_gpus_and_models_of_folders_are_read(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    experiment(runs / "a", 1, model="m-8b", server_gpu_count="2", server_gpu_type="H100")
    experiment(runs / "b", 1, model="m-70b")
    done = import_results(runs, tmp_path / "study")
    assert any("2 models (m-8b, m-70b)" in note for note in done.notes)
    assert exported_gpus(tmp_path / "study") == ["2", ""]
    (other,) = at.report(tmp_path / "study").alternatives
    assert not any("GPU" in reason for reason in other.reasons)
