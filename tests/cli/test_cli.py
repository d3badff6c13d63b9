"""The command line's messages, exit codes and help for invalid tasks and wrong usage; runs are tested in tests/e2e."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from autotune_nb.cli.main import _next_study, cli
from autotune_nb.cli.manifests import manifests
from autotune_nb.errors import RunError
from autotune_nb.resources import shared_folder
from autotune_nb.session import tune
from autotune_nb.task.task import Task
from tests.stubs import World, open_study


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


@pytest.fixture
def run_with(task_data: dict[str, Any], tmp_path: Path) -> Callable[..., Result]:
    """Return a function that runs the minimal task with some fields replaced."""

    def run(**changes: Any) -> Result:
        file = tmp_path / "task.yaml"
        file.write_text(yaml.safe_dump({**task_data, **changes}))
        return call("run", file, "--study", tmp_path / "study")

    return run


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"objectiv": "x"}, ["objectiv", "did you mean 'objective'"]),
        ({"engine": "vlm"}, ["engine.kind", "did you mean 'vllm'"]),
        ({"objective": "maximize output_token_per_s"}, ["objective.figure", "did you mean 'output_tokens_per_s'"]),
        ({"limits": ["ttft_p98_s <= 1"]}, ["limits[0]", "'ttft_p99_s'"]),
        ({"strategy": "tpee"}, ["strategy.sampler", "did you mean 'tpe'"]),
        ({"parameters": {}}, ["parameters", "nothing to tune"]),
        ({"parameters": {"threads": {"type": "int", "low": 4, "high": 2}}}, ["parameters.threads", "low 4", "high 2"]),
        ({"parameters": {"cache_type_k": ["q8"]}}, ["parameters.cache_type_k", "'q8'", "flag: --cache-type-k"]),
        ({"rules": ["thread <= 2"]}, ["rules[0]", "did you mean 'threads'"]),
        ({"rules": ["threads = 2"]}, ["rules[0]", "not an expression"]),
        ({"rules": ["threads > 5"]}, ["rules", "no point keeps 'threads > 5'"]),
        ({"model": "/no/such/model.gguf"}, ["model.id_or_path", "/no/such/model.gguf"]),
    ],
)
def test_an_invalid_task_is_reported_in_one_line_that_names_the_field(
    run_with: Callable[..., Result], changes: dict[str, Any], expected: list[str]
) -> None:
    result = run_with(**changes)
    assert result.exit_code == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    for text in expected:
        assert text in errors[0]
    assert "Traceback" not in result.output


def test_a_missing_engine_is_named(run_with: Callable[..., Result], small_model: Path) -> None:
    result = run_with(model=str(small_model), engine={"kind": "llama_cpp", "executable": "no-such-server"})
    assert result.exit_code == 2
    assert "engine.executable" in result.stderr
    assert "'no-such-server'" in result.stderr


def test_a_missing_genai_bench_is_named(run_with: Callable[..., Result], small_model: Path) -> None:
    result = run_with(model=str(small_model), benchmark={"executable": "no-genai-bench"})
    assert result.exit_code == 2
    assert "benchmark.executable" in result.stderr


def test_a_missing_task_file_is_named(tmp_path: Path) -> None:
    result = call("run", tmp_path / "none.yaml", "--study", tmp_path / "s")
    assert result.exit_code == 2
    assert "none.yaml" in result.stderr
    assert not (tmp_path / "s").exists()


def test_a_study_is_required() -> None:
    result = call("run", "quickstart")
    assert result.exit_code == 2
    assert "--study" in result.stderr


def test_show_reports_a_folder_without_a_study(tmp_path: Path) -> None:
    result = call("show", tmp_path)
    assert result.exit_code == 2
    assert "there is no study" in result.stderr


def test_a_study_folder_that_cannot_be_written_is_reported_in_one_line(
    task_data: dict[str, Any], tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    file = tmp_path / "task.yaml"
    file.write_text(yaml.safe_dump(task_data))
    result = call("run", file, "--study", blocked / "study")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_schema_accepts_the_tasks_that_come_with_the_package() -> None:
    result = call("schema")
    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    tasks = sorted((shared_folder("notebooks") / "tasks").glob("*.yaml"))
    assert tasks
    for file in tasks:
        jsonschema.validate(yaml.safe_load(file.read_text()), schema)


@pytest.mark.parametrize("preset", ["scheduling", ["scheduling"], [{"name": "scheduling"}]])
def test_the_schema_accepts_presets_and_check_prints_what_they_expand_to(
    task_data: dict[str, Any], tmp_path: Path, preset: Any
) -> None:
    data = {**task_data, "parameters": {"preset": preset}, "rules": []}
    jsonschema.validate(data, json.loads(call("schema").stdout))
    file = tmp_path / "task.yaml"
    file.write_text(yaml.safe_dump(data))
    assert "preset scheduling expands to parallel: 1, 2, 4, 8; batch_size: " in call("check", file).stdout


@pytest.mark.parametrize("key", ["args", "raw_args"])
@pytest.mark.parametrize("given", ["--ctx-size 2048 -t 4", ["--ctx-size", 2048], ["--ctx-size 2048"], []])
def test_the_schema_accepts_a_command_line(make_task: Callable[..., Task], key: str, given: Any) -> None:
    data = make_task().model_dump(exclude_defaults=True) | {"engine": {"kind": "llama_cpp", key: given}}
    Task.parse(data)
    jsonschema.validate(data, json.loads(call("schema").stdout))


@pytest.mark.parametrize(
    "bad",
    [
        {"engine": {"kind": "vllm", "args": 4}},
        {"objectiv": 1},
        {"budget": {"trials": 0}},
        {"workload": {"scenarios": []}},
    ],
)
def test_the_schema_rejects_what_the_task_rejects(task_data: dict[str, Any], bad: dict[str, Any]) -> None:
    schema = json.loads(call("schema").stdout)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**task_data, **bad}, schema)


def test_every_command_has_help_and_a_line_in_the_list_of_commands() -> None:
    for command in cli.commands:
        result = call(command, "--help")
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage:")
    # Click ends a line that is too long with "...".
    for group, members in (((), cli.commands), (("manifests",), manifests.commands)):
        # Examples follow the list.
        listed = call(*group, "--help").stdout.partition("Commands:")[2].partition("\n\n")[0]
        assert len(listed.strip().splitlines()) == len(members)
        assert "..." not in listed


def test_show_lists_the_studies_below_a_folder_without_one(make_task: Callable[..., Task], tmp_path: Path) -> None:
    assert call("show", tmp_path / "runs").stderr == (
        f"error: there is no study in {tmp_path / 'runs'}: there is no such folder\n"
    )
    (tmp_path / "runs").mkdir()
    assert call("show", tmp_path / "runs").stderr == f"error: there is no study in {tmp_path / 'runs'}\n"
    task = make_task(engine={"kind": "command", "command": "server {port}"}, model="m")
    for number in range(1, 6):
        open_study(task, tmp_path / "runs" / f"s{number}").close()
        error = call("show", tmp_path / "runs").stderr
        assert (f"below it there {'is' if number == 1 else 'are'} s1" in error, "\n" in error.strip()) == (True, False)
    assert error.endswith("below it there are s1, s2, s3 and 2 more\n")
    shown = call("show", tmp_path / "runs" / "s1")
    assert shown.exit_code == 1
    assert shown.stdout.splitlines() == [
        f"{tmp_path / 'runs' / 's1'}: new, 0 trials, 0 s",
        "",
        f"no trials yet; start them with: autotune-nb run TASK --study {tmp_path / 'runs' / 's1'}",
    ]


def test_show_prints_a_failure_in_full_once_and_then_refers_to_its_first_trial(world: World) -> None:
    run = tune(world.task("exit:3", trials=3), study=world.folder)
    with pytest.raises(RunError):
        run.wait()
    shown = call("show", world.folder).stdout
    full, short = (
        "crash in deploy: the engine ended with exit code 3 before it was healthy",
        "crash in deploy, same as trial 0",
    )
    assert shown.count(full) == shown.count("try: ") == 1
    assert shown.index(full) < shown.index(short) < shown.rindex(short)


def test_cleanup_refuses_a_study_that_ran_locally(make_task: Callable[..., Task], tmp_path: Path) -> None:
    task = make_task(engine={"kind": "command", "command": "server {port}"}, model="m")
    open_study(task, tmp_path / "study").close()
    result = call("cleanup", tmp_path / "study")
    assert result.exit_code == 2
    assert "ran as local processes: nothing of it is in a cluster" in result.stderr


def test_the_demo_uses_the_next_folder_once_a_study_is_finished(tmp_path: Path) -> None:
    assert _next_study(tmp_path, "q").name == "q"
    for name, state in (("q", "finished"), ("q-2", "stopped")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps({"state": state}))
    assert _next_study(tmp_path, "q").name == "q-2"


def test_a_tokenizer_that_cannot_be_loaded_is_reported_before_any_trial(
    run_with: Callable[..., Result], small_model: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    result = run_with(model={"id_or_path": str(small_model), "tokenizer": str(empty)})
    assert result.exit_code == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "model.tokenizer" in errors[0]
    assert str(empty) in errors[0]


def test_a_file_that_is_not_a_notebook_is_reported_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "x.ipynb"
    file.write_text("name: x")
    result = call("notebook", file, "-o", tmp_path / "o.ipynb")
    assert result.exit_code == 2
    assert "is not a notebook" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_misspelt_example_task_is_suggested(tmp_path: Path) -> None:
    result = call("run", "quikstart", "--study", tmp_path / "s")
    assert result.exit_code == 2
    assert "did you mean 'quickstart'" in result.stderr


@pytest.mark.parametrize("bad", [{"engine": "llamacpp"}, {"limits": ["foo"]}, {"strategy": {"sampler": "bayes"}}])
def test_the_schema_checks_names_and_limits(task_data: dict[str, Any], bad: dict[str, Any]) -> None:
    schema = json.loads(call("schema").stdout)
    if bad.get("engine"):
        bad = {"engine": {"kind": bad["engine"]}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**task_data, **bad}, schema)
