"""The engine of a task: checks against the catalog, the rules that apply, and the program that is started."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.engines.registry import (
    engine_for,
    engine_named,
    engine_of_study,
    engine_problems,
    program_for,
    space_for,
)
from autotune_nb.errors import SetupError, TaskError, UnknownNameError
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task

MakeTask = Callable[..., Task]


def space(task: Task) -> SearchSpace:
    return space_for(task, engine_for(task))


def test_the_error_for_an_unknown_engine_suggests_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="unknown engine 'sglan'; did you mean 'sglang'"):
        engine_named("sglan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": {"threads": ["two"]}}, r"parameters\.threads: --threads: 'two' is not a whole number"),
        (
            {"parameters": {"t": [1], "threads": [2]}},
            r"parameters\.threads: is the same flag as parameters\.t",
        ),
        (
            {"engine": {"kind": "llama_cpp", "args": {"ctx_size": "big"}}},
            r"engine\.args\.ctx_size: .*not a whole number",
        ),
        ({"engine": {"kind": "llama_cpp", "args": {"t": 3}}}, r"engine\.args\.t: is searched as parameters\.threads"),
        (
            {"engine": {"kind": "command", "command": "serve 'x {port}"}},
            r"engine\.command: .* cannot be split into words",
        ),
    ],
)
def test_the_error_for_a_wrong_flag_names_its_field(make_task: MakeTask, change: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=f"^{message}"):
        engine_for(make_task(**change))


@pytest.mark.parametrize(
    ("engine", "flag", "wrong", "nearest"),
    [
        ("llama_cpp", "flash_attn", "offf", "off"),
        ("llama_cpp", "cache_type_k", "q8_o", "q8_0"),
        ("vllm", "kv_cache_dtype", "fp9", "fp8"),
        ("sglang", "attention_backend", "flashinfr", "flashinfer"),
    ],
)
def test_the_error_for_an_unknown_value_suggests_the_nearest_one(
    make_task: MakeTask, engine: str, flag: str, wrong: str, nearest: str
) -> None:
    searched = make_task(engine=engine, parameters={flag: [nearest, wrong]})
    with pytest.raises(
        TaskError, match=rf"unknown value '{wrong}'; did you mean '{nearest}'.*\?; .* add flag: --"
    ) as caught:
        engine_for(searched)
    assert caught.value.field == f"parameters.{flag}"
    own = make_task(engine=engine, parameters={flag: {"values": [nearest, wrong], "flag": "--x"}})
    engine_for(own)
    threads = {"x": {"values": [1], "flag": "--x"}}
    fixed = make_task(engine={"kind": engine, "args": {flag: wrong}}, parameters=threads)
    with pytest.raises(TaskError, match=rf"did you mean '{nearest}'.*\?; .*use engine\.raw_args") as caught:
        engine_for(fixed)
    assert caught.value.field == f"engine.args.{flag}"
    for value in (nearest, None, "${DTYPE}"):
        engine_for(make_task(engine={"kind": engine, "args": {flag: value}}, parameters=threads))


@pytest.mark.parametrize("value", [True, False, "on", "enabled", "0", 1, -1])
def test_other_spellings_of_on_and_off_are_accepted(make_task: MakeTask, value: Any) -> None:
    engine_for(make_task(parameters={"flash_attn": [value, "auto"]}))
    engine_for(make_task(engine={"kind": "llama_cpp", "args": {"flash_attn": value}}))


def test_every_wrong_value_of_a_task_is_reported(make_task: MakeTask) -> None:
    task = make_task(
        engine={"kind": "llama_cpp", "args": {"numa": "isolated", "ctx_size": "big"}},
        parameters={"flash_attn": ["offf", "onn"], "threads": ["two"]},
    )
    with pytest.raises(TaskError) as caught:
        engine_for(task)
    assert "\n" not in str(caught.value)
    for part in ("'off'", "'on'", "parameters.threads: ", "engine.args.numa: ", "'isolate'", "engine.args.ctx_size: "):
        assert part in str(caught.value)
    assert [problem.field for problem in engine_problems(task)] == [
        *("parameters.flash_attn", "parameters.threads", "engine.args.numa", "engine.args.ctx_size")
    ]


def test_a_stored_study_keeps_its_engine_when_the_catalog_has_changed(make_task: MakeTask) -> None:
    task = make_task(parameters={"flash_attn": ["of-a-previous-version"]})
    assert engine_of_study(task).name == "llama_cpp"


def test_a_parameter_with_its_own_flag_is_accepted(make_task: MakeTask) -> None:
    task = make_task(parameters={"brand_new": {"values": [1], "flag": "--brand-new"}})
    assert engine_for(task).arguments({"brand_new": 1}, task.parameters) == ["--brand-new", "1"]


def test_a_command_engine_accepts_any_flag_and_has_its_own_health_path(make_task: MakeTask) -> None:
    task = make_task(engine={"kind": "command", "command": "x {port}", "args": {"y": 1}, "health_path": "/ready"})
    engine = engine_for(task)
    assert (engine.name, engine.health_path) == ("command", "/ready")
    assert space_for(task, engine).rules == task.space.rules


def test_the_engines_rules_apply_to_the_tasks_own_names(make_task: MakeTask) -> None:
    task = make_task(parameters={"ub": [64, 512], "b": [64, 512]})
    assert [tuple(point.values()) for point in space(task).grid()] == [(64, 64), (64, 512), (512, 512)]
    broken = space(task).broken_rule({"ub": 512, "b": 64})
    assert broken is not None
    assert broken.text == "ubatch_size <= batch_size"


def test_the_engines_rules_use_fixed_and_default_values(make_task: MakeTask) -> None:
    fixed = make_task(parameters={"ubatch_size": [64, 512]}, engine={"kind": "llama_cpp", "args": {"b": 128}})
    assert [point["ubatch_size"] for point in space(fixed).grid()] == [64]
    default = make_task(parameters={"ubatch_size": [64, 4096]})
    assert [point["ubatch_size"] for point in space(default).grid()] == [64]


def test_a_rule_with_an_unknown_default_allows_every_point(make_task: MakeTask) -> None:
    task = make_task(engine="vllm", parameters={"max_num_seqs": [16, 100_000]})
    assert space(task).num_allowed == 2


def test_rules_without_a_tuned_flag_are_omitted(make_task: MakeTask) -> None:
    assert space(make_task(parameters={"threads": [1, 2]})).rules == ()


@pytest.mark.parametrize(("on", "off"), [("on", "off"), (True, False)])
def test_the_engines_rules_apply_to_on_and_off_as_yaml_reads_them(make_task: MakeTask, on: Any, off: Any) -> None:
    task = make_task(parameters={"flash_attn": [on, off], "cache_type_v": ["f16", "q8_0"]})
    assert {"flash_attn": off, "cache_type_v": "q8_0"} not in list(space(task).grid())
    assert space(task).num_allowed == 3
    fixed = make_task(engine={"kind": "llama_cpp", "args": {"fa": off}}, parameters={"cache_type_v": ["f16", "q8_0"]})
    assert space(fixed).num_allowed == 1


def test_the_error_for_an_empty_space_names_the_engines_rule(make_task: MakeTask) -> None:
    task = make_task(parameters={"ubatch_size": [512]}, engine={"kind": "llama_cpp", "args": {"batch_size": 64}})
    with pytest.raises(TaskError, match="no point keeps 'ubatch_size <= batch_size', a rule of the engine"):
        space(task)


@pytest.mark.parametrize(
    ("engine", "field"),
    [
        ({"kind": "llama_cpp", "executable": "/no/such/llama-server"}, "engine.executable"),
        ({"kind": "llama_cpp", "executable": "no-such-llama-server --x"}, "engine.executable"),
        ({"kind": "llama_cpp", "executable": []}, "engine.executable"),
        ({"kind": "llama_cpp", "executable": ""}, "engine.executable"),
        ({"kind": "command", "command": "no-such-server {port}"}, "engine.command"),
        ({"kind": "sglang", "executable": [sys.executable, "-m", "no_such_module.serve"]}, "engine.executable"),
    ],
)
def test_the_error_for_a_missing_program_names_the_field(
    make_task: MakeTask, engine: dict[str, Any], field: str
) -> None:
    task = make_task(engine=engine, parameters={"x": {"values": [1], "flag": "--x"}})
    with pytest.raises(SetupError) as caught:
        program_for(task, engine_for(task))
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_executed_is_refused(make_task: MakeTask, tmp_path: Path) -> None:
    (tmp_path / "server").write_text("#!/bin/sh\n")
    task = make_task(engine={"kind": "llama_cpp", "executable": str(tmp_path / "server")})
    with pytest.raises(SetupError, match=r"^engine\.executable: .*cannot be executed"):
        program_for(task, engine_for(task))


def test_an_unclosed_quote_in_a_command_is_refused(make_task: MakeTask) -> None:
    task = make_task(engine={"kind": "llama_cpp", "executable": "'server"})
    with pytest.raises(TaskError, match=r"^engine\.executable: .*cannot be split"):
        program_for(task, engine_for(task))


def test_a_program_is_found_on_the_path_in_the_working_folder_and_at_home(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / "my-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def program(executable: Any) -> list[str]:
        task = make_task(engine={"kind": "llama_cpp", "executable": executable})
        return list(program_for(task, engine_for(task)))

    assert program("./my-server --flag 'two words'") == [str(server), "--flag", "two words"]
    assert program("~/my-server") == [str(server)]
    assert program([str(server), "--x"]) == [str(server), "--x"]
    with pytest.raises(SetupError):
        program("my-server")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program("my-server") == [str(server)]


@pytest.mark.parametrize(
    ("kind", "program", "arguments"),
    [
        ("vllm", "python3.11", ["-m", "vllm.entrypoints.openai.api_server"]),
        ("vllm", "vllm", ["serve"]),
        ("vllm", "vllm serve", ["serve"]),
        ("vllm", "my-vllm", []),
        ("sglang", "python", ["-m", "sglang.launch_server"]),
        ("llama_cpp", "llama-server", []),
    ],
)
def test_an_engine_is_given_by_its_python_or_its_script(
    make_task: MakeTask, tmp_path: Path, kind: str, program: str, arguments: list[str]
) -> None:
    name, *_ = program.split()
    (tmp_path / name).write_text("#!/bin/sh\n")
    (tmp_path / name).chmod(0o755)
    task = make_task(
        engine={"kind": kind, "executable": f"{tmp_path}/{program}"}, parameters={"stream_interval": [1, 2]}
    )
    assert list(program_for(task, engine_for(task))) == [str(tmp_path / name), *arguments]


def test_llama_server_on_the_path_is_preferred_to_xllamacpps(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(program_for(task, engine_for(task)))[1:] == ["-m", "autotune_nb.engines.llama_server"]
    server = tmp_path / "llama-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    assert list(program_for(task, engine_for(task))) == [str(server)]
