"""The table of parameters: rows to add, remove, rename and turn into another kind."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_nb.engines.installed import with_schema
from autotune_nb.engines.registry import engine_named
from autotune_nb.widgets._layout import WidgetStyles
from autotune_nb.widgets._parameter_row import ParameterRow
from autotune_nb.widgets._parameters import ParameterTable
from tests.engines.recorded_flags import recorded

LLAMA = engine_named("llama_cpp")


def table(parameters: dict[str, Any], engine: Any = LLAMA) -> ParameterTable:
    return ParameterTable(WidgetStyles(), parameters, engine, lambda: None)


def row_of(data: dict[str, Any], name: str = "x") -> ParameterRow:
    return table({name: data}).rows[0]


DATA: dict[str, dict[str, Any]] = {
    "a": {"type": "choice", "values": [1, "on", None, [1, 2], {"k": "v w"}], "flag": "--a-b", "style": "json"},
    "b": {"type": "bool", "flag": "-b"},
    "c": {"type": "int", "low": 1, "high": 9, "step": 2},
    "d": {"type": "float", "low": 0.5, "high": 2.0, "log": True, "style": "value"},
}


def test_rows_hold_what_the_task_has_untouched_and_touched() -> None:
    made = table(DATA)
    assert made.data == DATA
    for row in made.rows:
        for field in row.all_fields:
            field.read_widget()
    assert {name: {k: v for k, v in data.items() if v is not False} for name, data in made.data.items()} == DATA


@pytest.mark.parametrize(
    ("data", "kind", "becomes"),
    [
        ({"type": "int", "low": 1, "high": 4}, "choice", {"values": [1, 2, 3, 4]}),
        ({"type": "int", "low": 1, "high": 64, "log": True}, "choice", {"values": [1, 2, 4, 8, 16, 32, 64]}),
        ({"type": "int", "low": 1, "high": 9999}, "choice", {"values": [1, 9999]}),
        ({"type": "float", "low": 0.0, "high": 1.0}, "choice", {"values": [0.0, 1.0]}),
        ({"type": "int", "low": 5, "high": 1}, "choice", {}),
        ({"type": "int"}, "choice", {}),
        ({"type": "bool"}, "choice", {"values": [False, True]}),
        ({"type": "choice", "values": [4, 1, 2]}, "int", {"low": 1, "high": 4}),
        ({"type": "choice", "values": ["a", True]}, "int", {}),
        ({"type": "choice", "values": ["a"]}, "bool", {}),
        ({"type": "int", "low": 1, "high": 9, "step": 2}, "float", {"low": 1, "high": 9, "step": 2}),
        ({"type": "float", "low": 1.0, "high": 9.5, "log": True}, "int", {"low": 1, "high": 9.5, "log": True}),
    ],
)
def test_another_kind_keeps_what_makes_sense(data: dict[str, Any], kind: str, becomes: dict[str, Any]) -> None:
    row = row_of(data)
    row.type.value = kind
    assert row.data == {"type": kind, **becomes}
    row.type.value = data["type"]
    assert row.data == data


def test_a_kind_without_values_takes_the_catalogs() -> None:
    row = row_of({"type": "bool"}, "batch_size")
    row.type.value = "int"
    assert row.data == {"type": "int", "low": 32, "high": 8192, "log": True}


def test_the_catalog_is_shown_and_follows_the_name() -> None:
    made = table({"batch_size": {"type": "choice", "values": [1]}})
    (row,) = made.rows
    assert "--batch-size: logical batch of prompt tokens" in row._help.value
    assert "default 2048" in row._help.value
    row.name.widget.value = "nothing_known"
    assert row._help.value == ""
    row.name.widget.value = "np"
    assert "--parallel" in row._help.value
    made.engine(engine_named("vllm"))
    assert row._help.value == ""


def test_adding_takes_first_values() -> None:
    made = table({"threads": {"type": "choice", "values": [1]}})
    assert "threads" not in made.new_name.options
    assert "batch_size" in made.new_name.options
    for typed in ("--batch-size", "cont_batching", "flash_attn", "tensor_split", "own-flag", ""):
        made.new_name.value = typed
        made.add()
        assert made.new_name.value == ""
    assert made.data == {
        "threads": {"type": "choice", "values": [1]},
        "batch_size": {"type": "choice", "values": [256, 512, 1024, 2048]},
        "cont_batching": {"type": "bool"},
        "flash_attn": {"type": "choice", "values": ["on", "off"]},
        "tensor_split": {"type": "choice"},
        "own_flag": {"type": "choice"},
    }
    assert [error.message for _, error in made.problems] == ["a parameter needs a name"]


def test_a_duplicate_name_is_reported_at_the_second_row() -> None:
    made = table({"a": {"type": "bool"}, "b": {"type": "bool"}})
    made.rows[1].name.widget.value = "a"
    ((index, error),) = made.problems
    assert index == 1
    assert error.message == "there are two parameters 'a'"
    made._remove(made.rows[0])
    assert made.problems == []
    assert made.data == {"a": {"type": "bool"}}


@pytest.mark.parametrize(
    ("field", "row"),
    [
        ("parameters.a", 0),
        ("parameters.a.low", 0),
        ("parameters.ab.values[1]", 1),
        ("parameters.c_d", 2),
        ("parameters.abc", None),
        ("parameters", None),
    ],
)
def test_an_error_finds_its_row(field: str, row: int | None) -> None:
    made = table({"a": {"type": "bool"}, "ab": {"type": "bool"}, "c-d": {"type": "bool"}})
    assert made.row_of(field) == row


def test_errors_are_shown_at_the_row_and_only_there() -> None:
    made = table({"a": {"type": "bool"}, "b": {"type": "bool"}})
    made.show_errors({1: ["<wrong>"]}, ())
    assert made.rows[0]._error not in made.rows[0].box.children
    assert made.rows[1]._error in made.rows[1].box.children
    assert "&lt;wrong&gt;" in made.rows[1]._error.value
    made.show_errors({}, ["all of them"])
    assert made.rows[1]._error not in made.rows[1].box.children
    assert "all of them" in made.error.value


def test_a_flag_is_described_before_it_is_added() -> None:
    of = table({}, with_schema(engine_named("vllm"), recorded("vllm", "0.30.0")))
    # The catalog's flags are offered first, then every other one of the installed version.
    assert of.new_name.options[0] == "tensor_parallel_size"
    assert {"max_num_seqs", "enable_sleep_mode"} <= set(of.new_name.options)
    assert not {"max_num_active_seqs", "port"} & set(of.new_name.options)
    of.new_name.value = "scheduling_policy"
    assert "choice: fcfs, priority; default fcfs" in of.about.value
    of.new_name.value = "max_num_active_seqs"
    assert "vllm 0.30.0 has no flag --max-num-active-seqs" in of.about.value
    of.add()
    assert of.about.value == ""
    of.add("max_num_seqs")
    assert "--max-num-seqs" in of.rows[1].fields["values"].widget.tooltip
