"""Parameters: accepted values, grids, and canonical values."""

from __future__ import annotations

import datetime
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from autotune_nb.task.parameters import Bool, Choice, Float, Int, Parameter, parameter_name

parse: Any = TypeAdapter(Parameter).validate_python


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([1, 2], Choice(values=[1, 2])),
        ({"values": ["a"]}, Choice(values=["a"])),
        ({"low": 1, "high": 4}, Int(low=1, high=4)),
        ({"low": 1, "high": 4.0}, Float(low=1, high=4)),
        ({"low": 1, "high": 4, "step": 0.5}, Float(low=1, high=4, step=0.5)),
        ({"type": "float", "low": 1, "high": 4}, Float(low=1, high=4)),
        ({"type": "bool"}, Bool()),
    ],
)
def test_a_short_form_is_what_its_keys_say(data: Any, expected: Any) -> None:
    assert parse(data) == expected


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"low": 5, "high": 2}, "low 5 is above high 2"),
        ({"low": 0, "high": 2, "log": True}, "log needs low above 0"),
        ({"low": 1, "high": 8, "log": True, "step": 2}, "log and step exclude each other"),
        ({"low": 0.1, "high": 0.8, "log": True, "step": 0.1}, "log and step exclude each other"),
        ({"low": 1, "high": 8, "step": 0}, "greater than or equal to 1"),
        ({"low": 0.0, "high": 1.0, "step": 0.0}, "greater than 0"),
        ({"low": 0.0, "high": 1.0, "step": 1e-9}, "over a million values"),
        ({"low": 0, "high": 10**30}, "less than or equal to"),
        ({"type": "float", "low": float("nan"), "high": 1}, "finite"),
        ([], "at least 1 item"),
        ([1, 1], "1 is listed twice"),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], "is listed twice"),
        ([float("inf")], "inf cannot be written as JSON"),
        ([[float("nan")]], "cannot be written as JSON"),
        ([{"day": datetime.date(2024, 1, 1)}], "cannot be written as JSON"),
        ({"values": [1], "flag": "no-dash"}, "should match pattern"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(data: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        parse(data)


def test_values_that_python_finds_equal_stay_apart() -> None:
    choice = Choice(values=[1, 1.0, True, "1", None])
    assert [type(value) for value in choice.grid()] == [int, float, bool, str, type(None)]
    assert Choice(values=[1]).contains(1)
    assert not Choice(values=[1]).contains(True)
    assert not Choice(values=[1]).contains("1")
    codes = Choice(values=[*choice.values, [1], "[1]"]).codes
    assert list(codes) == ["1", "1.0", "true", '"1"', "null", "[1]", '"[1]"']
    assert [repr(code) for code in codes.values()] == ["1", "'1.0'", "'true'", "'1'", "None", "'[1]'", "'\"[1]\"'"]


@pytest.mark.parametrize("name", ["--max-num-seqs", "max-num-seqs", " max_num_seqs "])
def test_a_flags_spelling_is_normalised(name: str) -> None:
    assert parameter_name(name) == "max_num_seqs"


@pytest.mark.parametrize("name", [True, 1, None])
def test_a_name_that_yaml_read_as_something_else_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="put it in quotes"):
        parameter_name(name)


def test_a_logarithmic_grid_doubles_and_ends_with_high() -> None:
    assert list(Int(low=3, high=20, log=True).grid()) == [3, 6, 12, 20]
    assert list(Int(low=8, high=8, log=True).grid()) == [8]


def test_a_range_of_billions_costs_no_memory() -> None:
    grid = Int(low=0, high=80 * 10**9).grid()
    assert len(grid) == 80 * 10**9 + 1
    assert grid[-1] == 80 * 10**9


def test_stepped_floats_are_what_a_person_would_write() -> None:
    assert Float(low=0.1, high=1.0, step=0.1).grid() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert Float(low=0.7, high=0.95, step=0.05).grid() == [0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    assert Float(low=0.1, high=1.0, step=0.1).canonical(0.7999999999999999) == 0.8
    assert Float(low=1e-12, high=5e-12, step=1e-12).grid() == [1e-12, 2e-12, 3e-12, 4e-12, 5e-12]


def test_a_float_without_a_step_has_no_end_of_values_unless_it_is_one_value() -> None:
    assert Float(low=0.1, high=0.9).grid() is None
    assert Float(low=0.5, high=0.5).grid() == [0.5]


def _hundredths(low: int, span: int, step: int) -> Float:
    return Float(low=low / 100, high=(low + span) / 100, step=step / 100)


@given(st.builds(_hundredths, st.integers(-300, 300), st.integers(0, 400), st.integers(1, 150)), st.floats(-9, 9))
def test_canonical_is_idempotent_and_always_lands_in_the_grid(parameter: Float, value: float) -> None:
    grid = parameter.grid()
    assert grid is not None
    once = parameter.canonical(value)
    assert once in grid
    assert parameter.canonical(once) == once
    assert all(parameter.low <= number <= parameter.high for number in grid)
    assert all(len(repr(abs(number)).split(".")[1]) <= 2 for number in grid)


_INTS = st.tuples(st.integers(1, 99), st.integers(0, 200), st.integers(1, 9)).map(
    lambda t: Int(low=t[0], high=t[0] + t[1], step=t[2])
)
_LOG_INTS = st.tuples(st.integers(1, 99), st.integers(0, 999)).map(lambda t: Int(low=t[0], high=t[0] + t[1], log=True))
_FLOATS = st.builds(_hundredths, st.integers(-300, 300), st.integers(0, 400), st.integers(1, 150))
_LOG_FLOATS = st.tuples(st.floats(0.01, 9), st.floats(0, 99)).map(lambda t: Float(low=t[0], high=t[0] + t[1], log=True))


@given(st.one_of(_INTS, _LOG_INTS, _FLOATS, _LOG_FLOATS, st.just(Bool()), st.just(Choice(values=[None, "x", [1]]))))
def test_grid_and_random_values_are_contained(parameter: Any) -> None:
    rng = random.Random(1)
    assert all(parameter.contains(value) for value in parameter.grid() or [])
    assert all(parameter.contains(parameter.random(rng)) for _ in range(20))


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        (Int(low=1, high=9, step=2), 2),
        (Int(low=1, high=9), 10),
        (Int(low=1, high=9), True),
        (Int(low=1, high=9), 2.0),
        (Float(low=0, high=1, step=0.25), 0.3),
        (Float(low=0, high=1), 1.5),
        (Float(low=0, high=1), "0.5"),
        (Bool(), 1),
    ],
)
def test_what_is_off_the_range_step_or_type_is_not_contained(parameter: Any, value: Any) -> None:
    assert not parameter.contains(value)
