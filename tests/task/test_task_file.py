"""Task files: errors in one line that name the field, and tasks that are written and read back unchanged."""

from __future__ import annotations

import datetime
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given

from autotune_nb.errors import TaskError
from autotune_nb.task.file import TaskLoader, load_task, parse_task, problems
from autotune_nb.task.file import task_data as task_data_of
from autotune_nb.task.task import Task
from tests.strategies import tasks

NAN = float("nan")
DAY = datetime.date(2024, 1, 1)


@pytest.mark.parametrize(
    ("change", "begins"),
    [
        ({"objectiv": 1}, "objectiv: unknown field; did you mean 'objective' or 'objectives'?"),
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
        ({"engine": {"kind": "vllm", "args": {"int": NAN}}}, "engine.args.int: nan is not a finite number"),
        (
            {"engine": {"kind": "vllm", "env": {"A": 1}}},
            'engine.env.A: input should be a valid string, not 1; put it in quotes, as "1"',
        ),
        ({"parameters": {}}, "parameters: there is nothing to tune"),
        ({"parameters": [1]}, "parameters: "),
        ({"parameters": {True: [1]}}, "parameters: a name must be text, not True; put it in quotes"),
        ({"parameters": {"a b": [1]}}, "parameters.a b: "),
        ({"parameters": {"x": 4}}, "parameters.x: "),
        ({"parameters": {"x": None}}, "parameters.x: "),
        ({"parameters": {"x": {}}}, "parameters.x: has neither a range nor values: write {low: 1, high: 64}"),
        ({"parameters": {"x": {"min": 1, "max": 4}}}, "parameters.x: 'min' is 'low' here: write {low: 1, high: 64}"),
        ({"parameters": {"x": {"type": "choice", "choices": [1]}}}, "parameters.x: 'choices' is 'values' here: "),
        ({"parameters": {"x": []}}, "parameters.x.values: "),
        ({"parameters": {"x": [1, DAY]}}, "parameters.x.values[1]: "),
        ({"parameters": {"x": [[NAN]]}}, "parameters.x[0][0]: nan is not a finite number"),
        ({"parameters": {"x": {"type": "integer", "low": 1, "high": 2}}}, "parameters.x.type: "),
        ({"budget": 10}, "budget: is a section with fields such as trials"),
        ({"parameters": {"x": {"low": 5, "high": 2}}}, "parameters.x: low 5 is above high 2"),
        ({"parameters": {"x": {"low": 5}}}, "parameters.x.high: field required"),
        ({"parameters": {"x": {"type": "choice"}}}, "parameters.x.values: write the values to search, such as [1, 2"),
        ({"parameters": {"x": {"low": 1, "hihg": 2}}}, "parameters.x.hihg: unknown field; did you mean 'high'?"),
        ({"parameters": {"int": {"low": 1, "high": 2, "step": 0}}}, "parameters.int.step: "),
        ({"rules": "threads < 2"}, "rules: "),
        ({"rules": [5]}, "rules[0]: input should be a valid string, not 5"),
        ({"rules": ["threads > 0", "thread < 2"]}, "rules[1]: unknown parameter 'thread'; did you mean 'threads'?"),
        ({"rules": ["threads = 2"]}, "rules[0]: 'threads = 2' is not an expression"),
        ({"rules": ["threads > 9"]}, "rules: no point keeps 'threads > 9'"),
        ({"workload": {}}, "workload.scenarios: field required"),
        (
            {"workload": {"scenarios": "D(1,2)", "concurrency": 8}},
            "workload.scenarios: input should be a valid list, not 'D(1,2)'; write [\"D(1,2)\"] (also wrong: "
            "workload.concurrency: input should be a valid list, not 8; write [8])",
        ),
        ({"workload": {"scenarios": ["D(1,2)", "D(1, 2)"]}}, "workload.scenarios: a value is listed twice"),
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
            {"objective": "maximise output_tokens_per_s"},
            "objective: 'maximise output_tokens_per_s' is no objective; did you mean 'maximize output_tokens_per_s'?",
        ),
        ({"parameters": {"threads": 2}}, "parameters.threads: 2 is one value; list the values to search, such as [2"),
        (
            {"objective": "maximize output_token_per_s"},
            "objective.figure: unknown figure 'output_token_per_s'; did you mean",
        ),
        ({"objective": {"direction": "max", "figure": "ttft"}}, "objective.direction: "),
        ({"objective": {"direction": "minimize", "figure": "ttft", "at": "wurst"}}, "objective.at: "),
        ({"objective": {"direction": "minimize", "figure": "ttft", "at": 9}}, "objective.at: does not match any level"),
        (
            {"objective": {"direction": "minimize", "figure": "ttft", "at": {"concurency": 1}}},
            "objective.at.concurency: unknown field; did you mean 'concurrency'?",
        ),
        (
            {"objective": {"direction": "minimize", "figure": "ttft", "at": {"concurrency": 0}}},
            "objective.at.concurrency: ",
        ),
        ({"limits": ["ttft_p98 <= 1"]}, "limits[0]: unknown figure 'ttft_p98'; did you mean 'ttft_p99_s'"),
        ({"limits": ["ttft <= 1", "ttft is low"]}, "limits[1]: 'ttft is low' is not a limit"),
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
        (
            {"benchmark": {"executible": "x"}},
            "benchmark.executible: unknown field; did you mean 'executable' or 'executor'?",
        ),
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
    first = problems({**task_data, **change})[0]
    assert first.field == caught.value.field
    assert caught.value.message.split(" (also ")[0] == first.message.split(" (also ")[0]


def test_several_errors_are_named(task_data: dict[str, Any]) -> None:
    with pytest.raises(TaskError, match=r"^name: .* \(also wrong: budget.trials: .*; deadlines.ready_s: .*\)$"):
        Task.parse({**task_data, "name": 5, "deadlines": {"ready_s": -1}, "budget": {"trials": 0}})


@pytest.mark.parametrize("data", [None, [], "x"])
def test_data_that_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(TaskError, match="a task is an object of fields"):
        Task.parse(data)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.yaml", b"a: [", "t.yaml is not valid YAML at line 1, column 5"),
        ("t.yaml", b"a: b: c", "t.yaml is not valid YAML at line 1, column 5"),
        ("t.yaml", b"\x00", "t.yaml is not valid YAML"),
        ("t.yaml", b"\xff\xfe", "cannot be read"),
        ("t.yaml", b"a: 2024-13-45", "t.yaml cannot be read"),
        ("t.yaml", b"a: !!python/object/apply:os.abort []", "t.yaml is not valid YAML at line 1"),
        ("t.yaml", b"[" * 5000, "t.yaml cannot be read"),
        ("t.yaml", b"a: *text", "column 4: found undefined alias; a text that begins with * needs quotes"),
        ("t.yaml", b"a: !!bool maybe", "t.yaml cannot be read: a value does not match its !! tag"),
        ("t.yaml", b"a: !!timestamp soon", "t.yaml cannot be read: a value does not match its !! tag"),
        ("t.yaml", b"%x\na: 1", "expected '<document start>', but found '<scalar>'"),
        ("t.yaml", b"- 1", "t.yaml contains list, not the fields of a task"),
        ("t.yaml", b"", "t.yaml contains NoneType, not the fields of a task"),
        ("t.json", b"{", "t.json is not valid JSON"),
        ("t.json", b"[" * 100_000, "t.json cannot be read"),
    ],
)
def test_a_file_that_is_no_task_says_so_in_one_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError) as caught:
        Task.load(tmp_path / name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_folder_of_a_study_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text("{}")
    with pytest.raises(TaskError, match=r"Is a directory; it is the folder of a study, whose task is .*task\.json"):
        Task.load(tmp_path)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="there is no task file"):
        Task.load(tmp_path / "none.yaml")
    with pytest.raises(TaskError, match="cannot be read"):
        Task.load(tmp_path)
    with pytest.raises(TaskError, match=r"there is no task file 'no-such-task'"):
        Task.load("no-such-task")


@pytest.mark.parametrize(("wrong", "shown"), [(5, "5$"), (None, "None$"), ({"name": "x"}, "a dict; use Task.parse")])
def test_a_wrong_type_of_path_is_an_error_that_names_the_expected_type(wrong: Any, shown: str) -> None:
    with pytest.raises(TaskError, match=f"^expected the path of a task file or the name of a task .*, not {shown}"):
        Task.load(wrong)


def test_a_bare_name_is_a_task_that_comes_with_the_package() -> None:
    assert Task.load("quickstart").name == "quickstart"


def test_json_and_yaml_of_the_same_task_are_equal(task_data: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(task_data))
    assert Task.load(tmp_path / "t.json") == Task.parse(task_data)


@pytest.mark.parametrize("name", ["task.yaml", "task.json"])
@given(task=tasks())
def test_a_task_survives_being_written(name: str, task: Task) -> None:
    with tempfile.TemporaryDirectory() as folder:
        again = Task.load(task.save(Path(folder) / name))
    assert again == task
    # Equality alone would let 1 become True.
    assert again.model_dump_json() == task.model_dump_json()


@pytest.mark.parametrize("text", ["1e100", "0E0", "-2e+3"])
def test_a_text_that_looks_like_a_number_stays_a_text_when_it_is_written(
    task_data: dict[str, Any], tmp_path: Path, text: str
) -> None:
    task = Task.parse({**task_data, "description": text})
    assert Task.load(task.save(tmp_path / "task.yaml")) == task


def test_numbers_with_an_exponent_are_numbers_in_yaml() -> None:
    assert yaml.load("[1e-3, 1.e3, -2E+4, 1e5x]", TaskLoader) == [0.001, 1000.0, -20000.0, "1e5x"]


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


def test_every_error_is_told_with_its_field(task_data: dict[str, Any]) -> None:
    wrong = {
        **task_data,
        "name": 5,
        "enigne": "vllm",
        "parameters": {"threads": {"low": 5, "high": 2}, "batch_size": [1], "x": {"type": "integer"}},
        "rules": ["threads < 2", "thread < 2", "batch_size ="],
        "limits": ["ttft <= 1", "ttft is low", "wurst <= 2"],
        "objective": {"direction": "minimize", "figure": "ttft", "at": 9},
        "budget": {"trials": 0, "patience": "x"},
        "strategy": "grid",
    }
    assert [error.field for error in problems(wrong)] == [
        "enigne",
        "name",
        "parameters.threads",
        "parameters.x.type",
        "budget.trials",
        "budget.patience",
        "limits[1]",
        "limits[2]",
        "objective.at",
        "rules[1]",
        "rules[2]",
    ]


def test_every_error_is_told_of_the_prototypes_files_and_of_strange_text(task_data: dict[str, Any]) -> None:
    for data in ([], None):
        assert [str(error)[:28] for error in problems(data)] == ["a task is an object of field"]  # type: ignore[arg-type]
    told = problems({**task_data, "name": "a\x00b", "description": "\ud800", "budget": {"trials": 0}})
    assert [error.field for error in told] == ["name", "description", "budget.trials"]


def test_a_grid_without_end_is_told_for_each_parameter(task_data: dict[str, Any]) -> None:
    endless = {"type": "float", "low": 0.1, "high": 1}
    told = problems({**task_data, "strategy": "grid", "parameters": {"a": endless, "b": [1], "c": endless}})
    assert [error.field for error in told] == ["parameters.a.step", "parameters.c.step"]


@given(task=tasks())
def test_a_valid_task_has_no_problems(task: Task) -> None:
    assert problems(task_data_of(task)) == []


ALIASES = "a0: &a0 [1, 2]\n" + "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))
SELF_REFERENCE = "an alias makes this list or mapping contain itself"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("t.yaml", ALIASES, "its aliases stand for more than 1,000,000 values"),
        ("t.yaml", "parameters: &p {batch_size: [1, *p]}", f"at line 1, column 13: {SELF_REFERENCE}"),
        ("t.yaml", "engine: &e {<<: *e, kind: vllm}", f"at line 1, column 9: {SELF_REFERENCE}"),
        ("t.yaml", "name: a\nmodel: m\nname: b", "at line 3, column 1: the key name is given twice, first at line 1"),
        ("t.yaml", "parameters:\n  x: [1]\n  x: [2]", "at line 3, column 3: the key x is given twice, first at line 2"),
        ("t.json", '{"parameters": {"x": [1], "x": [2]}}', "the key x is given twice in the same object"),
        ("t.yaml", "budget: {trials: " + "9" * 5000 + "}", "a number has thousands of digits: an integer has at most"),
        ("t.json", "[" * 100_000, "nested too deep"),
    ],
)
def test_a_file_that_no_task_can_be_read_from_is_refused_at_once(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(TaskError) as caught:
        load_task(file)
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_mapping_may_override_what_it_merges() -> None:
    text = "x: &x {a: 1, b: 2}\ny: &y {<<: *x, b: 3}\nz: {<<: *y, a: 4}\n"
    read = yaml.load(text, TaskLoader)
    assert read == {"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}, "z": {"a": 4, "b": 3}}


def test_plain_data_that_contains_itself_is_refused(task_data: dict[str, Any]) -> None:
    task_data["parameters"]["x"] = [task_data]
    with pytest.raises(TaskError, match="nested too deep, or contain themselves"):
        parse_task(task_data)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"parameters": {"x": [1, 10**400]}}, "parameters.x[1]: an integer of about 400 digits is too large"),
        ({"budget": {"trials": 2**63}}, f"budget.trials: {2**63} is too large: an integer has at most 64 bits"),
        ({"deadlines": {"ready_s": float("inf")}}, "deadlines.ready_s: inf is not a finite number"),
        ({"strategy": {"sampler": "tpe", "options": {"x": NAN}}}, "strategy.options.x: nan is not a finite number"),
        ({"budget": {"minutes": "1e400"}}, "budget.minutes: input should be a finite number"),
        ({"parameters": {"x": [1, 16**5000]}}, "parameters.x[1]: an integer of about 6020 digits is too large"),
        ({"deploy": {"parallel": 10**9}}, "deploy.parallel: input should be less than or equal to 10000"),
    ],
)
def test_a_number_that_no_storage_or_machine_takes_is_refused(
    task_data: dict[str, Any], change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(TaskError) as caught:
        parse_task({**task_data, **change})
    assert str(caught.value).startswith(problem)
