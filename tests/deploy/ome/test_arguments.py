"""The command and arguments of a configuration, merged with the runtime's."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.deploy.ome._arguments import RunnerCommand, command_line, runner_command
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import SetupError, TaskError
from autotune_nb.task.task import Task

SGLANG = [
    "python3",
    "-m",
    "sglang.launch_server",
    "--host",
    "0.0.0.0",
    "--port",
    "8080",
    "--model-path",
    "$(MODEL_PATH)",
]
BASE: dict[str, Any] = {
    "name": "t",
    "model": "qwen",
    "engine": {"kind": "sglang"},
    "parameters": {"tp_size": [1, 2], "enable_mixed_chunk": {"type": "bool"}, "schedule_policy": ["fcfs", "lpm"]},
    "workload": {"scenarios": ["D(16,8)"], "concurrency": [1]},
    "objective": "maximize output_tokens_per_s",
    "deploy": {"kind": "ome"},
}


def said(
    runner: dict[str, Any] | None, params: dict[str, Any] | None = None, served: str | None = None, **changes: Any
) -> RunnerCommand:
    task = Task.parse({**BASE, **changes})
    return runner_command(task, engine_for(task), params or {}, runner, served)


def test_args_follow_a_runtime_that_says_it_all_in_its_command() -> None:
    found = said({"command": SGLANG}, {"tp_size": 2, "schedule_policy": "lpm"})
    assert found == RunnerCommand(None, ("--tp-size", "2", "--schedule-policy", "lpm"))


def test_a_runtimes_own_args_are_said_again_and_earlier_spellings_go() -> None:
    runner = {
        "command": ["sglang", "serve"],
        "args": ["--tp-size=1", "--log-requests", "--schedule-policy", "fcfs", "-v"],
    }
    found = said(runner, {"tp_size": 2, "schedule_policy": "lpm"})
    assert found.command is None
    assert found.args == ("--log-requests", "-v", "--tp-size", "2", "--schedule-policy", "lpm")


@pytest.mark.parametrize(
    ("engine", "runtime", "params", "args"),
    [
        # All words of a list, in every spelling of the flag.
        ("sglang", "--cuda-graph-bs 1 2 4 --x", {"cuda_graph_bs": [1, 8]}, "--x --cuda-graph-bs 1 8"),
        ("sglang", "--cuda_graph_bs=1 --x", {"cuda_graph_bs": [1, 8]}, "--x --cuda-graph-bs 1 8"),
        ("sglang", "--cuda-graph-max-bs 8", {"cuda_graph_max_bs_decode": 9}, "--cuda-graph-max-bs-decode 9"),
        ("vllm", "--middleware a --x 1 --middleware b", {"middleware": ["c"]}, "--x 1 --middleware c"),
        ("vllm", "-tp 2 --x", {"tensor_parallel_size": 4}, "--x --tensor-parallel-size 4"),
        ("vllm", "--max_model_len -1 --x", {"max_model_len": "auto"}, "--x --max-model-len auto"),
        ("vllm", "-O2 -cc.mode=1", {"compilation_config": {"mode": 3}}, "-O2 --compilation-config '{\"mode\":3}'"),
        (
            "vllm",
            "--compilation-config.cudagraph_mode=NONE --compilation-config.mode 2 --x",
            {"compilation_config": {"cudagraph_mode": "FULL"}},
            '--x --compilation-config \'{"cudagraph_mode":"FULL"}\'',
        ),
        (
            "vllm",
            '--compilation-config \'{"mode": 3, "cudagraph_mode": "NONE"}\' --x',
            {"compilation_config.cudagraph_mode": "FULL"},
            '--x --compilation-config \'{"cudagraph_mode":"FULL","mode":3}\'',
        ),
        ("vllm", "--x", {"compilation_config.mode": 3}, "--x --compilation-config.mode 3"),
        ("llama_cpp", "-ngl 99 --x", {"n_gpu_layers": "all"}, "--x --fit off --n-gpu-layers all"),
    ],
)
@pytest.mark.parametrize("shell", [False, True], ids=["words", "script"])
def test_every_spelling_of_a_flag_goes(
    engine: str, runtime: str, params: dict[str, Any], args: str, shell: bool
) -> None:
    words = shlex.split(runtime)
    runner = {"command": ["sh", "-c"], "args": [f"serve {runtime}"]} if shell else {"args": words}
    found = said(runner, params, engine=engine, parameters={name: [value] for name, value in params.items()}).args
    assert found is not None
    got = shlex.split(found[0])[1:] if shell else list(found)
    assert got == shlex.split(args)


def test_what_the_configuration_does_not_decide_stays() -> None:
    runner = {"command": SGLANG, "args": ["--schedule-policy", "fcfs"]}
    assert said(runner, {"schedule_policy": None}).args == ("--schedule-policy", "fcfs")


def test_a_switch_that_is_turned_off_is_taken_out_of_the_command() -> None:
    runner = {"command": [*SGLANG, "--enable-mixed-chunk", "--log-requests"]}
    found = said(runner, {"enable_mixed_chunk": False})
    assert found.command == (*SGLANG, "--log-requests")
    assert found.args == ()
    on = said(runner, {"enable_mixed_chunk": True})
    assert (*(on.command or ()), *(on.args or ())).count("--enable-mixed-chunk") == 1


def test_a_value_that_looks_like_a_flag_is_no_flag() -> None:
    runner = {"command": [*SGLANG, "--chunked-prefill-size", "-1", "--log-requests"]}
    found = said(runner, {"chunked_prefill_size": 4096}, parameters={"chunked_prefill_size": [-1, 4096]})
    assert found.command == (*SGLANG, "--log-requests")
    assert found.args == ("--chunked-prefill-size", "4096")


def test_without_a_known_runtime_only_the_flags_are_sent() -> None:
    assert said(None, {"tp_size": 2}) == RunnerCommand(None, ("--tp-size", "2"))


@pytest.mark.parametrize("shell", [["/bin/bash", "-c"], ["bash", "-lc"], ["sh", "-c", "--"]])
@pytest.mark.parametrize("where", ["command", "args"])
def test_in_a_shell_script_the_flags_go_to_its_end(shell: list[str], where: str) -> None:
    script = "exec python3 -m sglang.launch_server --tp-size 1 \\\n  --log-requests \\\n"
    runner = {"command": [*shell, script]} if where == "command" else {"command": shell, "args": [script]}
    found = said(runner, {"tp_size": 2, "schedule_policy": "lpm"})
    line = [*(found.command if found.command is not None else runner["command"]), *(found.args or ())]
    assert line[: len(shell)] == shell
    assert len(line) == len(shell) + 1
    assert shlex.split(line[-1].replace("\\\n", " ")) == [
        *("exec", "python3", "-m", "sglang.launch_server", "--log-requests", "--tp-size", "2"),
        *("--schedule-policy", "lpm"),
    ]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_shell_gets_every_word_as_it_is(word: str) -> None:
    if "{{" in word or "$(" in word:
        return
    found = said(
        {"command": ["sh", "-c", "printf '%s\\n'"]},
        engine={"kind": "sglang", "raw_args": [f"--x={word}"]},
        parameters={"tp_size": [1]},
    )
    assert found.command is not None
    told = subprocess.run(found.command, capture_output=True, check=True)
    assert told.stdout.decode() == f"--x={word}\n"


@pytest.mark.parametrize(
    "end", ["server &", "if true; then server; fi", "server # --x", "for i in 1; do server; done", ""]
)
def test_a_script_that_cannot_be_extended_is_refused_in_words(end: str) -> None:
    with pytest.raises(SetupError, match=r"deploy\.runtime: .*shell script"):
        said({"command": ["bash", "-c"], "args": [end]}, {"tp_size": 2})


def test_what_kubernetes_is_to_fill_in_stays_and_nothing_else_is_filled_in() -> None:
    found = said(
        {"command": SGLANG}, engine={"kind": "sglang", "raw_args": ["--a=$(MODEL_PATH)/x", "--b=$(HOME)", "--c=$5"]}
    )
    assert found.args == ("--a=$(MODEL_PATH)/x", "--b=$$(HOME)", "--c=$5")


@pytest.mark.parametrize(
    ("changes", "params", "field"),
    [
        ({"engine": {"kind": "sglang", "raw_args": ["{{ .Name }}"]}}, {}, "engine.raw_args[0]"),
        ({"engine": {"kind": "sglang", "args": {"served_model_name": "{{"}}}, {}, "engine.args.served_model_name"),
        ({}, {"schedule_policy": "{{x"}, "parameters.schedule_policy"),
    ],
)
def test_omes_own_templates_are_refused(changes: dict[str, Any], params: dict[str, Any], field: str) -> None:
    task = Task.parse({**BASE, "parameters": {"tp_size": [1]}, **changes}) if changes else Task.parse(BASE)
    with pytest.raises(TaskError) as caught:
        runner_command(task, engine_for(Task.parse(BASE)), params, None, None)
    assert caught.value.field == field


def test_a_served_name_is_passed_where_the_engine_has_a_flag_for_it() -> None:
    found = said({"command": [*SGLANG, "--served-model-name", "Qwen"]}, served="vllm-model")
    assert found.command == tuple(SGLANG)
    assert found.args == ("--served-model-name", "vllm-model")


def test_an_engine_by_command_replaces_the_runtimes_line() -> None:
    found = said(
        {"command": ["old"], "args": ["--old"]},
        {"slots": 4},
        engine={"kind": "command", "command": "my-server --listen {host}:{port} --weights {model}"},
        parameters={"slots": [1, 4]},
    )
    assert found.command is not None
    assert found.command[:3] == ("my-server", "--listen", found.command[2])
    assert found.command[2].startswith("0.0.0.0:")
    assert found.command[3:] == ("--weights", "$(MODEL_PATH)", "--slots", "4")
    assert found.args == ()


def test_the_line_to_show_is_whole_and_has_the_models_path(make_line: Callable[..., list[str]]) -> None:
    assert make_line({"command": SGLANG}, model_path="/models/q")[-4:] == [
        "--model-path",
        "/models/q",
        "--tp-size",
        "2",
    ]
    unknown = make_line(None)
    assert unknown[:3] == ["python3", "-m", "sglang.launch_server"] or "sglang" in " ".join(unknown[:3])
    assert unknown[-2:] == ["--tp-size", "2"]


@pytest.fixture
def make_line() -> Callable[..., list[str]]:
    def line(runner: dict[str, Any] | None, **how: Any) -> list[str]:
        task = Task.parse(BASE)
        return command_line(task, engine_for(task), {"tp_size": 2}, runner, **how)

    return line
