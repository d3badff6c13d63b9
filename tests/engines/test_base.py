"""Flags and engines: the command line of a configuration, and the values that are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.engines.base import Engine, Flag, render
from autotune_nb.engines.command import command_engine
from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import Bool, Choice, Float, Int

ENGINE = Engine(
    name="toy",
    program=("toy",),
    model_flag="--model",
    served_name_flag="--alias",
    fixed={"fit": "off"},
    parallel_sizes=("tp_size", "pp_size"),
    compile_flags=("tp_size", "eager", "config"),
    flags=(
        Flag("threads", "int", "", low=1, high=8, minimum=1, maximum=64, aliases=("t",)),
        Flag("tokens", "int", "", minimum=1, sizes=True, other_values=("auto", -1), former=("max_tokens",)),
        Flag("block", "int", "", values=(16, 32), other_values=(1,), multiple=16),
        Flag("names", "list", "", style="repeat"),
        Flag("ratio", "float", "", low=0.1, high=0.9, minimum=0),
        Flag("eager", "bool", "", style="switch"),
        Flag("cache", "bool", "", style="negatable"),
        Flag("flash", "choice", "", values=("on", "off", "auto"), other_values=("enabled", "1")),
        Flag("dtype", "choice", "", values=("auto", "fp8", "float16")),
        Flag("open", "str", "", values=("a", "b")),
        Flag("config", "json", "", style="json"),
        Flag("fit", "choice", "", values=("on", "off")),
        Flag("layers", "int", "", low=0, high=9, other_values=("auto", "all")),
        Flag("tp_size", "int", "", default=1, aliases=("tp",)),
        Flag("pp_size", "int", ""),
        Flag("odd", "str", "", spelling="-odd"),
    ),
)


@pytest.mark.parametrize(
    ("params", "arguments"),
    [
        ({"threads": 4}, ["--threads", "4"]),
        ({"t": 4}, ["--threads", "4"]),
        ({"threads": None}, []),
        ({"ratio": 0.8}, ["--ratio", "0.8"]),
        ({"eager": True}, ["--eager"]),
        ({"eager": False}, []),
        ({"cache": True}, ["--cache"]),
        ({"cache": False}, ["--no-cache"]),
        ({"cache": None}, []),
        ({"flash": True}, ["--flash", "on"]),
        ({"flash": False}, ["--flash", "off"]),
        ({"flash": "auto"}, ["--flash", "auto"]),
        ({"config": {"b": [1, True], "a": "x y"}}, ["--config", '{"a":"x y","b":[1,true]}']),
        ({"config": [1]}, ["--config", "[1]"]),
        ({"odd": "x"}, ["-odd", "x"]),
        ({"config": '{"b": 1, "a": "x"}'}, ["--config", '{"a":"x","b":1}']),
        ({"config": "3"}, ["--config", "3"]),
        ({"config.a": "x"}, ["--config.a", "x"]),
        ({"config.a-b.c_d": True}, ["--config.a-b.c_d", "true"]),
        ({"new_config.a": {"b": [1]}}, ["--new-config.a", '{"b":[1]}']),
        ({"tokens": "16k"}, ["--tokens", "16k"]),
        ({"tokens": -1}, ["--tokens", "-1"]),
        ({"max_tokens": 5}, ["--max-tokens", "5"]),
        ({"names": ["a", "b"]}, ["--names", "a", "--names", "b"]),
        ({"names": "a"}, ["--names", "a"]),
        ({"not_in_catalog": [1, "b"]}, ["--not-in-catalog", "1", "b"]),
        ({"not_in_catalog": False}, []),
        ({"not_in_catalog": 3}, ["--not-in-catalog", "3"]),
        ({"not_in_catalog": True}, ["--not-in-catalog"]),
        ({"not_in_catalog": {"a": 1}}, ["--not-in-catalog", '{"a":1}']),
        ({"ratio": 0.5, "threads": 2}, ["--ratio", "0.5", "--threads", "2"]),
    ],
)
def test_a_configuration_becomes_flags(params: dict[str, Any], arguments: list[str]) -> None:
    assert ENGINE.arguments(params) == arguments


@pytest.mark.parametrize(
    ("parameter", "value", "arguments"),
    [
        (Choice(values=[1], flag="--other"), 1, ["--other", "1"]),
        (Bool(flag="--other"), True, ["--other"]),
        (Bool(flag="--other", style="negatable"), False, ["--no-other"]),
        (Bool(flag="-o", style="negatable"), False, ["--no-o"]),
        (Bool(style="value"), True, ["--threads", "true"]),
        (Choice(values=[[1]], style="json"), [1], ["--threads", "[1]"]),
        (Choice(values=["x"], style="json"), "x", ["--threads", '"x"']),
        (Choice(values=['{"a": 1}'], style="json"), '{"a": 1}', ["--threads", '{"a":1}']),
        (Choice(values=[[1, 2]], flag="--other"), [1, 2], ["--other", "1", "2"]),
        (Choice(values=[[1, 2]], flag="--other", style="comma"), [1, 2], ["--other", "1,2"]),
        (Choice(values=[[1, 2]], flag="--other", style="repeat"), [1, 2], ["--other", "1", "--other", "2"]),
    ],
)
def test_a_parameter_may_set_its_flag_and_style(parameter: Any, value: Any, arguments: list[str]) -> None:
    assert ENGINE.arguments({"threads": value}, {"threads": parameter}) == arguments


@given(st.recursive(st.one_of(st.integers(), st.text(), st.booleans()), lambda c: st.dictionaries(st.text(), c)))
def test_json_is_one_argument_that_parses_to_the_same_value(value: Any) -> None:
    flag, text = render("--config", "json", value)
    assert flag == "--config"
    assert json.loads(text) == value


def test_a_command_line_is_program_model_fixed_flags_configuration_and_raw_args() -> None:
    argv = ENGINE.argv(
        program=["/bin/toy"],
        model="m",
        served_name="name",
        host="127.0.0.1",
        port=81,
        params={"threads": 2},
        args={"ratio": 0.5},
        raw_args=["--raw", "x"],
    )
    assert argv == [
        *("/bin/toy", "--model", "m", "--alias", "name", "--host", "127.0.0.1", "--port", "81"),
        *("--fit", "off", "--ratio", "0.5", "--threads", "2", "--raw", "x"),
    ]


def test_a_tasks_flags_override_the_engines_own_and_tuned_ones_override_both() -> None:
    def argv(params: dict[str, Any], args: dict[str, Any]) -> list[str]:
        return ENGINE.argv(program=["toy"], model="m", served_name=None, host="h", port=1, params=params, args=args)[7:]

    assert argv({}, {}) == ["--fit", "off"]
    assert argv({}, {"fit": "on"}) == ["--fit", "on"]
    assert argv({"fit": "on"}, {}) == ["--fit", "on"]
    assert argv({}, {"fit": None}) == []


@pytest.mark.parametrize(
    ("args", "params", "words"),
    [
        ({"config": {"a": 1, "b": 2}}, {"config.a": 3}, ["--config", '{"a":3,"b":2}']),
        ({"config": '{"a": {"x": 1}}'}, {"config.a.y": 2}, ["--config", '{"a":{"x":1,"y":2}}']),
        ({"config.a": 1}, {"config": {"b": 2}}, ["--config", '{"a":1,"b":2}']),
        ({"config": {"a": 1}}, {"config.a": None}, ["--config", '{"a":1}']),
        ({"config": 3}, {"config.a": 1}, ["--config", "3", "--config.a", "1"]),
    ],
)
def test_dotted_names_extend_the_json_flag(args: dict[str, Any], params: dict[str, Any], words: list[str]) -> None:
    argv = ENGINE.argv(program=["toy"], model="m", served_name=None, host="h", port=1, params=params, args=args)
    assert argv[9:] == words


def test_serve_gets_the_model_as_a_positional_argument() -> None:
    argv = ENGINE.argv(program=["vllm", "serve"], model="m", served_name=None, host="h", port=1, params={})
    assert argv[:3] == ["vllm", "serve", "m"]
    assert "--model" not in argv


def test_gpus_are_the_product_of_the_parallel_sizes() -> None:
    assert ENGINE.gpus({}) == 1
    assert ENGINE.gpus({"tp": 4, "pp_size": 2, "threads": 9}) == 8
    assert ENGINE.gpus({"tp_size": None}) == 1


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"tp_size": 2, "threads": 1}, {"threads": 8, "tp": 2}, True),
        ({"tp_size": 1, "eager": None}, {}, True),
        ({"tp_size": 2}, {"tp_size": 4}, False),
        ({"eager": True}, {"eager": False}, False),
        ({"config": {"a": [1]}}, {"config": {"a": [2]}}, False),
        ({"config.a": 1}, {"config.a": 2}, False),
    ],
)
def test_configurations_that_compile_the_same_have_the_same_key(
    one: dict[str, Any], other: dict[str, Any], equal: bool
) -> None:
    assert (ENGINE.compile_key(one) == ENGINE.compile_key(other)) is equal
    assert hash(ENGINE.compile_key(one)) is not None


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("threads", Int(low=1, high=8)),
        ("--threads", Choice(values=[1, None])),
        ("t", Choice(values=[4])),
        ("ratio", Float(low=0.1, high=0.9)),
        ("ratio", Choice(values=[0, 0.5])),
        ("eager", Bool()),
        ("flash", Choice(values=["on", None, "enabled", 1, "1", "${FLASH}"])),
        ("flash", Choice(values=["brand-new"], flag="--flash")),
        ("open", Choice(values=["brand-new"])),
        ("flash", Choice(values=[True, False])),
        ("flash", Bool()),
        ("config", Choice(values=[{"a": 1}])),
        ("layers", Choice(values=["auto", "all", 3])),
        ("not_in_catalog", Choice(values=[1], flag="--not-in-catalog")),
        ("not_in_catalog", Choice(values=[[1, 2], {"a": 1}, "x"])),
        ("config.a.b", Choice(values=["x", 1, None])),
        ("config", Choice(values=['{"a": 1}', "3", 3, "${CONFIG}"])),
        ("threads", Choice(values=["4", 4.0])),
        ("tokens", Choice(values=["16k", "1K", "25.6k", "8G", "auto", -1, 32768])),
        ("tokens", Int(low=16, high=32)),
        ("block", Choice(values=[1, 16, 32])),
        ("block", Int(low=16, high=64, step=16)),
        ("names", Choice(values=[["a", "b"], "a"])),
    ],
)
def test_a_parameter_that_the_engine_accepts_passes(name: str, parameter: Any) -> None:
    ENGINE.check(name, parameter, field="parameters.x")


@pytest.mark.parametrize(
    ("name", "parameter", "message"),
    [
        ("threads", Choice(values=[1, 1.5]), r"--threads: 1\.5 is not a whole number"),
        ("threads", Choice(values=["many"]), "--threads: 'many' is not a whole number"),
        ("threads", Choice(values=[True]), "--threads: True is not a whole number"),
        ("threads", Choice(values=[0]), "--threads: 0 is below 1"),
        ("threads", Int(low=0, high=4), "--threads: 0 is below 1"),
        ("threads", Float(low=1, high=4), "--threads accepts whole numbers only; use type int"),
        ("threads", Bool(), "--threads is int, not a boolean"),
        ("threads", Choice(values=[[1]]), "--threads: "),
        ("threads", Choice(values=["4.5"]), "--threads: '4.5' is not a whole number"),
        ("threads", Choice(values=["nan", "inf"]), "--threads: 'nan' is not a whole number; 'inf' is not a whole"),
        ("threads", Choice(values=["8k"]), "--threads: '8k' is not a whole number; write 8000"),
        ("threads", Choice(values=[99]), "--threads: 99 is above 64"),
        ("threads", Int(low=1, high=99), "--threads: 99 is above 64"),
        ("tokens", Choice(values=["1.5K"]), "--tokens: '1.5K' is not a whole number"),
        ("tokens", Choice(values=[0]), "--tokens: 0 is below 1"),
        ("tokens", Choice(values=[-2]), "--tokens: -2 is below 1"),
        ("block", Choice(values=[17]), "--block: 17 is not a multiple of 16"),
        ("block", Int(low=16, high=128, log=True), "--block accepts multiples of 16; list its values"),
        ("config", Choice(values=["{'a': 1}"]), r'--config: "\{\'a\': 1\}" is not JSON'),
        ("ratio", Choice(values=["x"]), "--ratio: 'x' is not a number"),
        ("ratio", Float(low=-1, high=1), "--ratio: -1.0 is below 0"),
        ("eager", Choice(values=["yes"]), "--eager: 'yes' is not a boolean"),
        ("eager", Int(low=0, high=1), "--eager: 0 is not a boolean"),
        ("flash", Int(low=1, high=8), "--flash does not accept a range of numbers"),
        ("flash", Choice(values=[{"a": 1}]), r"--flash: \{'a': 1\} is a list or an object"),
        ("layers", Choice(values=["some"]), "--layers: 'some' is not a whole number"),
        (
            "flash",
            Choice(values=["on", "offf"]),
            r"--flash: unknown value 'offf'; did you mean 'off'\?; .*add flag: --flash",
        ),
        ("flash", Choice(values=["enable"]), r"--flash: unknown value 'enable'; did you mean 'enabled'\?"),
        ("flash", Choice(values=[2]), "--flash: unknown value 2; known are 1, auto, enabled, off, on"),
        (
            "dtype",
            Choice(values=["fp9", "auto", "flot16"]),
            r"--dtype: unknown value 'fp9'.*; unknown value 'flot16'; did",
        ),
        ("dtype", Choice(values=[True]), "--dtype: unknown value True; known are auto, float16, fp8"),
        ("dtype", Choice(values=["FP8"]), "--dtype: unknown value 'FP8'"),
    ],
)
def test_a_parameter_that_the_engine_does_not_accept_is_refused(name: str, parameter: Any, message: str) -> None:
    with pytest.raises(TaskError, match=rf"^parameters\.x: {message}"):
        ENGINE.check(name, parameter, field="parameters.x")


def test_a_command_template_has_placeholders_and_accepts_any_flag() -> None:
    engine = command_engine("python -m my.server --port {port} --bind={host}:{port} 'two words' {model}")
    engine.check("anything", Choice(values=[1]), field="parameters.anything")
    argv = engine.argv(
        program=engine.program,
        model="a model {port}",
        served_name="n",
        host="::1",
        port=81,
        params={"max_batch": 4, "eager": True, "config": {"a": 1}},
        args={"seed": 3, "max_batch": 9},
        raw_args=["-x"],
    )
    assert argv == [
        *("python", "-m", "my.server", "--port", "81", "--bind=::1:81", "two words", "a model {port}"),
        *("--seed", "3", "--max-batch", "4", "--eager", "--config", '{"a":1}', "-x"),
    ]


def test_a_command_given_as_a_list_is_not_split() -> None:
    assert command_engine(["run me", "--port={port}"]).program == ("run me", "--port={port}")
