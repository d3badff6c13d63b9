"""Task files: errors in one line that name the field, and tasks that survive being written."""

from __future__ import annotations

import datetime
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune_nb.errors import TaskError
from autotune_nb.task import SAMPLERS, Task
from autotune_nb.task_file import load_task

NAN = float("nan")
DAY = datetime.date(2024, 1, 1)


@pytest.mark.parametrize(
    ("change", "begins"),
    [
        ({"objectiv": 1}, "objectiv: unknown field; did you mean 'objective'?"),
        ({"name": "a/b"}, "name: "),
        ({"name": ""}, "name: "),
        ({"name": "x" * 61}, "name: "),
        ({"name": 5}, "name: input should be a valid string, not 5"),
        ({"model": None}, "model: "),
        ({"model": {}}, "model: give either id_or_path or random_weights"),
        ({"model": {"id_or_paht": "x"}}, "model.id_or_paht: unknown field; did you mean 'id_or_path'?"),
        (
            {"model": {"random_weights": {"layer": 1}}},
            "model.random_weights.layer: unknown field; did you mean 'layers'?",
        ),
        ({"model": {"random_weights": {"hidden_size": 100}}}, "model.random_weights.hidden_size: "),
        ({"engine": "vlm"}, "engine.kind: unknown engine 'vlm'; did you mean 'vllm'?"),
        ({"engine": {"kind": 4}}, "engine.kind: input should be a valid string, not 4"),
        ({"engine": "command"}, "engine: engine kind 'command' needs a command"),
        ({"engine": {"kind": "vllm", "command": "x {port}"}}, "engine: "),
        ({"engine": {"kind": "command", "command": "serve"}}, "engine: command has no {port}"),
        ({"engine": {"kind": "vllm", "executable": 5}}, "engine.executable: "),
        ({"engine": {"kind": "vllm", "executable": ["a", 5]}}, "engine.executable[1]: "),
        ({"engine": {"kind": "vllm", "args": {"x": DAY}}}, "engine.args.x: "),
        ({"engine": {"kind": "vllm", "args": {"a b": 1}}}, "engine.args.a b: "),
        ({"engine": {"kind": "vllm", "args": {"int": NAN}}}, "engine.args.int: nan cannot be written as JSON"),
        ({"engine": {"kind": "vllm", "env": {"A": 1}}}, "engine.env.A: input should be a valid string, not 1"),
        ({"parameters": {}}, "parameters: there is nothing to tune"),
        ({"parameters": [1]}, "parameters: "),
        ({"parameters": {True: [1]}}, "parameters: a name is text, not True; put it in quotes"),
        ({"parameters": {"a b": [1]}}, "parameters.a b: "),
        ({"parameters": {"x": 4}}, "parameters.x: "),
        ({"parameters": {"x": None}}, "parameters.x: "),
        ({"parameters": {"x": []}}, "parameters.x.values: "),
        ({"parameters": {"x": [1, DAY]}}, "parameters.x.values[1]: "),
        ({"parameters": {"x": [[NAN]]}}, "parameters.x.values[0]: [nan] cannot be written as JSON"),
        ({"parameters": {"x": {"type": "integer", "low": 1, "high": 2}}}, "parameters.x.type: "),
        ({"budget": 10}, "budget: is a section with fields such as trials"),
        ({"parameters": {"x": {"low": 5, "high": 2}}}, "parameters.x: low 5 is above high 2"),
        ({"parameters": {"x": {"low": 5}}}, "parameters.x.high: field required"),
        ({"parameters": {"x": {"low": 1, "hihg": 2}}}, "parameters.x.hihg: unknown field; did you mean 'high'?"),
        ({"parameters": {"int": {"low": 1, "high": 2, "step": 0}}}, "parameters.int.step: "),
        ({"rules": "threads < 2"}, "rules: "),
        ({"rules": [5]}, "rules[0]: input should be a valid string, not 5"),
        ({"rules": ["threads > 0", "thread < 2"]}, "rules[1]: unknown parameter 'thread'; did you mean 'threads'?"),
        ({"rules": ["threads = 2"]}, "rules[0]: 'threads = 2' is not an expression"),
        ({"rules": ["threads > 9"]}, "rules: no point keeps 'threads > 9'"),
        ({"workload": {}}, "workload.scenarios: field required"),
        ({"workload": {"scenarios": "D(1,2)"}}, "workload.scenarios: "),
        ({"workload": {"scenarios": ["D(1,2)", "D(1, 2)"]}}, "workload.scenarios: a value stands there twice"),
        ({"workload": {"scenarios": ["D(1,2)"], "concurrency": [0]}}, "workload.concurrency[0]: "),
        (
            {"workload": {"scenarios": ["D(1,2)"], "concurency": [1]}},
            "workload.concurency: unknown field; did you mean 'con",
        ),
        ({"workload": {"scenarios": ["D(1,2)"], "request_params": {"x": DAY}}}, "workload.request_params.x: "),
        ({"objective": None}, "objective: "),
        (
            {"objective": "minimize_latensy"},
            "objective: unknown objective 'minimize_latensy'; did you mean 'minimize_latency'",
        ),
        (
            {"objective": "maximize output_token_per_s"},
            "objective.figure: unknown figure 'output_token_per_s'; did you mean",
        ),
        ({"objective": {"direction": "max", "figure": "ttft"}}, "objective.direction: "),
        ({"objective": {"direction": "minimize", "figure": "ttft", "at": "wurst"}}, "objective.at: "),
        ({"objective": {"direction": "minimize", "figure": "ttft", "at": 9}}, "objective.at: names no level"),
        (
            {"objective": {"direction": "minimize", "figure": "ttft", "at": {"concurency": 1}}},
            "objective.at.concurency: unknown field; did you mean 'concurrency'?",
        ),
        (
            {"objective": {"direction": "minimize", "figure": "ttft", "at": {"concurrency": 0}}},
            "objective.at.concurrency: ",
        ),
        ({"limits": ["ttft_p98 <= 1"]}, "limits[0]: unknown figure 'ttft_p98'; did you mean 'ttft_p99_s'"),
        ({"limits": ["ttft <= 1", "ttft is low"]}, "limits[1]: 'ttft is low' is no limit"),
        ({"strategy": "tpee"}, "strategy.sampler: unknown sampler 'tpee'; did you mean 'tpe'?"),
        ({"strategy": {"sampler": "tpe", "sed": 1}}, "strategy.sed: unknown field; did you mean 'seed'?"),
        (
            {"strategy": "grid", "parameters": {"x": {"low": 0.1, "high": 0.9}}},
            "parameters.x.step: a grid needs a step",
        ),
        ({"budget": {"trials": 0}}, "budget.trials: "),
        ({"budget": {"trials": "many"}}, "budget.trials: "),
        ({"budget": {"minutes": NAN}}, "budget.minutes: "),
        ({"budget": {"trails": 5}}, "budget.trails: unknown field; did you mean 'trials'?"),
        ({"deadlines": {"ready_s": -1}}, "deadlines.ready_s: "),
        ({"deploy": "k8s"}, "deploy.kind: "),
        ({"deploy": {"port": 8080, "parallel": 2}}, "deploy: a fixed port serves one trial at a time"),
        ({"deploy": {"gpus": [0, -1]}}, "deploy.gpus[1]: "),
        ({"benchmark": {"executible": "x"}}, "benchmark.executible: unknown field; did you mean 'executable'?"),
    ],
)
def test_an_error_is_one_line_that_begins_with_the_field(
    task_data: dict[str, Any], change: dict[str, Any], begins: str
) -> None:
    with pytest.raises(TaskError) as caught:
        Task.parse({**task_data, **change})
    text = str(caught.value)
    assert text.startswith(begins)
    assert "\n" not in text
    assert caught.value.field == begins.split(": ")[0]


def test_several_errors_are_counted(task_data: dict[str, Any]) -> None:
    with pytest.raises(TaskError, match=r"^name: .* \(and 2 more\)$"):
        Task.parse({**task_data, "name": 5, "deadlines": {"ready_s": -1}, "budget": {"trials": 0}})


@pytest.mark.parametrize("data", [None, [], "x"])
def test_data_that_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(TaskError, match="a task is an object of fields"):
        Task.parse(data)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.yaml", b"a: [", "t.yaml is not YAML at line 1, column 5"),
        ("t.yaml", b"a: b: c", "t.yaml is not YAML at line 1, column 5"),
        ("t.yaml", b"\x00", "t.yaml is not YAML"),
        ("t.yaml", b"\xff\xfe", "cannot be read"),
        ("t.yaml", b"a: 2024-13-45", "t.yaml cannot be read"),
        ("t.yaml", b"a: !!python/object/apply:os.abort []", "t.yaml is not YAML at line 1"),
        ("t.yaml", b"[" * 5000, "t.yaml cannot be read"),
        ("t.yaml", b"- 1", "t.yaml holds list, not a task's fields"),
        ("t.yaml", b"", "t.yaml holds NoneType, not a task's fields"),
        ("t.json", b"{", "t.json is not JSON"),
        ("t.json", b"[" * 100_000, "t.json cannot be read"),
    ],
)
def test_a_file_that_is_no_task_says_so_in_one_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError) as caught:
        Task.load(tmp_path / name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="there is no task file"):
        Task.load(tmp_path / "none.yaml")
    with pytest.raises(TaskError, match="cannot be read"):
        Task.load(tmp_path)
    with pytest.raises(TaskError, match=r"there is no task file 'no-such-task'"):
        Task.load("no-such-task")


def test_a_bare_name_is_a_task_that_comes_with_the_package() -> None:
    assert Task.load("quickstart").name == "quickstart"


def test_json_and_yaml_of_the_same_task_are_equal(task_data: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(task_data))
    assert Task.load(tmp_path / "t.json") == Task.parse(task_data)


#: No program takes a null byte, so no task does.
_LETTERS = st.characters(codec="utf-8", exclude_characters="\x00")
_WORDS = st.text(_LETTERS, min_size=1, max_size=12)
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["on", "off", "no", "null", "1", "1.0", "1e3", "2024-01-01", "=", "~", "", "a: b", "- x", "0x1"]),
    st.text(_LETTERS, max_size=8),
    st.dictionaries(_WORDS, st.one_of(st.integers(), st.booleans(), _WORDS), max_size=2),
    st.lists(st.integers(), max_size=2),
)
_OPTIONAL_FLAG = st.fixed_dictionaries(
    {}, optional={"flag": st.just("--x-y"), "style": st.sampled_from(["switch", "json"])}
)
_PARAMETERS = st.one_of(
    st.lists(_VALUES, min_size=1, max_size=4, unique_by=lambda v: json.dumps(v, sort_keys=True)),
    _OPTIONAL_FLAG.map(lambda extra: {"type": "bool", **extra}),
    st.tuples(st.integers(1, 9), st.integers(0, 99), st.booleans()).map(
        lambda t: {"low": t[0], "high": t[0] + t[1], "log": t[2]}
    ),
    st.tuples(st.integers(-9, 9), st.integers(0, 99)).map(
        lambda t: {"type": "float", "low": t[0], "high": t[0] + t[1], "step": 0.25}
    ),
    st.tuples(st.floats(0.001, 9), st.floats(0, 9)).map(
        lambda t: {"type": "float", "low": t[0], "high": t[0] + t[1], "log": True}
    ),
)
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    parameters = draw(st.dictionaries(_NAMES, _PARAMETERS, min_size=1, max_size=3))
    fixed = draw(st.dictionaries(_NAMES.filter(lambda name: name not in parameters), _VALUES, max_size=2))
    data: dict[str, Any] = {
        "name": draw(st.from_regex(r"[^\s/\\\x00-\x1f][^/\\\x00-\x1f]{0,20}", fullmatch=True)),
        "description": draw(st.text(_LETTERS, max_size=40)),
        "model": draw(st.one_of(_WORDS, st.just({"random_weights": {"layers": 2, "seed": 3}}))),
        "engine": draw(
            st.sampled_from(["llama_cpp", "vllm", "sglang", "command"]).map(
                lambda kind: {"kind": kind, "args": fixed} | ({"command": "x {port}"} if kind == "command" else {})
            )
        ),
        "parameters": parameters,
        "workload": {
            "scenarios": draw(
                st.lists(st.sampled_from(["D(1,2)", "N(3,1)/(4,1)", "U(1,9)/(1,5)"]), min_size=1, unique=True)
            ),
            "concurrency": draw(st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True)),
            "request_params": draw(st.dictionaries(_WORDS, _VALUES, max_size=2)),
            "warmup_ratio": draw(st.floats(0, 0.99)),
        },
        "objective": draw(st.sampled_from(["minimize_latency", "maximize requests_per_s", "minimize ttft_p99"])),
        "limits": draw(
            st.lists(st.sampled_from(["ttft <= 0.5", "tpot_p99 < 1e-3", "requests_per_s >= 2"]), unique=True)
        ),
        "strategy": {
            "sampler": draw(st.sampled_from([s for s in SAMPLERS if s != "grid"])),
            "seed": draw(st.integers()),
        },
        "budget": {"trials": draw(st.one_of(st.none(), st.integers(1, 99))), "baseline": draw(st.booleans())},
        "deploy": {"gpus": draw(st.one_of(st.none(), st.lists(st.integers(0, 7), max_size=2)))},
    }
    return Task.parse(data)


@pytest.mark.parametrize("name", ["task.yaml", "task.json"])
@given(task=tasks())
@settings(max_examples=60)
def test_a_task_survives_being_written(name: str, task: Task) -> None:
    with tempfile.TemporaryDirectory() as folder:
        again = Task.load(task.save(Path(folder) / name))
    assert again == task
    # Equality alone would let 1 become True.
    assert again.model_dump_json() == task.model_dump_json()


def test_on_and_off_stay_words_in_yaml(task_data: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    text = yaml.safe_dump({**task_data, "parameters": {"flash_attn": "VALUES", "cont_batching": {"type": "bool"}}})
    file.write_text(text.replace("VALUES", "[on, off, auto]") + "rules: [flash_attn == 'on' or flash_attn == 'auto']\n")
    assert {p["flash_attn"] for p in load_task(file).space.grid()} == {"on", "auto"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"engine": {"kind": "llama_cpp", "raw_args": ["a\x00"]}}, r"engine\.raw_args\[0\]"),
        ({"parameters": {"threads": ["\ud800"]}}, r"parameters\.threads\[0\]"),
        ({"engine": {"kind": "llama_cpp", "env": {"A=B": "x"}}}, r"engine\.env"),
        ({"parameters": {"x": {"type": "float", "low": -1.7e308, "high": 1.7e308, "flag": "--x"}}}, r"parameters\.x"),
    ],
)
def test_what_no_program_or_database_takes_is_refused(
    task_data: dict[str, Any], changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(TaskError, match=f"^{field}: "):
        Task.parse({**task_data, **changes})
