"""Restrictions: the values of a parameter that remain after edits, compared with a naive implementation."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value
from autotune_nb.task.restriction import Restriction

PARAMETERS: st.SearchStrategy[Choice | Bool | Int | Float] = st.one_of(
    st.just(Bool()),
    st.lists(
        st.sampled_from([1, 1.0, True, "1", None, {"k": 1}, [1], 0, False, "x", 2.5]),
        min_size=1,
        max_size=6,
        unique_by=lambda value: json.dumps(value, sort_keys=True),
    ).map(lambda values: Choice(values=values)),
    st.tuples(st.integers(-9, 9), st.integers(0, 30), st.integers(1, 4)).map(
        lambda t: Int(low=t[0], high=t[0] + t[1], step=t[2])
    ),
    st.tuples(st.integers(1, 9), st.integers(0, 60)).map(lambda t: Int(low=t[0], high=t[0] + t[1], log=True)),
    st.tuples(st.integers(-9, 9), st.integers(0, 12), st.sampled_from([0.1, 0.25, 0.3])).map(
        lambda t: Float(low=t[0] / 10, high=t[0] / 10 + t[1] / 10, step=t[2])
    ),
    st.tuples(st.floats(0.001, 5), st.floats(0, 9)).map(lambda t: Float(low=t[0], high=t[0] + t[1], log=True)),
)
ENDS = st.one_of(st.none(), st.floats(-12, 80).map(lambda end: round(end, 6)), st.integers(-12, 80))


def every(parameter: Choice | Bool | Int | Float) -> list[Value] | None:
    """Every value of a parameter that has an end of them."""
    if isinstance(parameter, Int):
        return list(range(parameter.low, parameter.high + 1, parameter.step))
    values = parameter.grid()
    return None if values is None else list(values)


@given(PARAMETERS, ENDS, ENDS, st.data())
def test_what_is_drawn_is_exactly_what_is_left(
    parameter: Choice | Bool | Int | Float, low: float | None, high: float | None, data: st.DataObject
) -> None:
    values = every(parameter)
    one = Restriction("x", parameter)
    banned = data.draw(st.lists(st.sampled_from(values), max_size=3)) if values else []
    one = one.with_banned(banned)
    if isinstance(parameter, Int | Float):
        one = one.with_range(low, high)

    def left(value: Any) -> bool:
        if any(type(value) is type(b) and value == b for b in banned):
            return False
        ranged = isinstance(parameter, Int | Float)
        return not ranged or ((low is None or value >= low) and (high is None or value <= high))

    if values is not None:
        wanted = [value for value in values if left(value)]
        assert [value for value in values if one.permits(value)] == wanted
        assert one.any_left == bool(wanted)
    if not one.any_left:
        return
    rng = random.Random(0)
    for _ in range(30):
        value = one.random(rng)
        assert parameter.contains(value)
        assert left(value)
        assert one.permits(value)


@given(PARAMETERS, st.data())
def test_a_pin_leaves_its_value_and_no_other(parameter: Choice | Bool | Int | Float, data: st.DataObject) -> None:
    value = parameter.random(data.draw(st.randoms(use_true_random=False)))
    one = Restriction("x", parameter).with_banned([value]).with_range(None, None).with_only([value])
    assert one.any_left
    drawn = one.random(random.Random(0))
    assert (type(drawn), drawn) == (type(value), value)
    others = every(parameter) or [parameter.random(random.Random(n)) for n in range(9)]
    assert all((type(v), v) == (type(value), value) for v in others if one.permits(v))
    assert not one.with_banned([value]).any_left


def test_values_that_only_look_alike_are_told_apart() -> None:
    choice = Choice(values=[1, 1.0, True, "1", None])
    for value in choice.values:
        pinned = Restriction("x", choice).with_only([value])
        assert [type(v) for v in choice.values if pinned.permits(v)] == [type(value)]
        banned = Restriction("x", choice).with_banned([value])
        assert [type(v) for v in choice.values if not banned.permits(v)] == [type(value)]


def test_a_number_is_the_same_whole_or_not_where_the_parameter_is_a_number() -> None:
    ratio = Float(low=0, high=1)
    assert Restriction("x", ratio).with_only([1]).permits(1.0)
    assert not Restriction("x", Float(low=0, high=1, step=0.5)).with_banned([1]).permits(1.0)


def test_a_value_beside_its_step_is_the_one_on_it() -> None:
    stepped = Float(low=0.1, high=0.9, step=0.1)
    pinned = Restriction("x", stepped).with_only([0.1 + 0.2])
    assert pinned.permits(0.3)
    assert pinned.random(random.Random(0)) == 0.3
    assert not Restriction("x", stepped).with_banned([0.1 + 0.2]).permits(0.3)


def test_what_is_asked_for_by_name_replaces_what_was_said_before() -> None:
    one = Restriction("x", Int(low=1, high=100)).with_banned([7, 8]).with_range(50, None).with_only([7])
    assert one.permits(7)
    assert not one.permits(60)
    again = one.with_range(None, 20)
    assert [v for v in range(1, 101) if again.permits(v)] == [v for v in range(1, 21) if v != 8]
    assert again.with_range(5, None).text == "x narrowed from 5 to 20, without 8"


def test_a_point_without_the_parameter_is_not_held_against_it() -> None:
    one = Restriction("x", Bool()).with_only([True])
    assert one.allows({"y": 3})
    assert one.allows({"x": True})
    assert not one.allows({"x": False})
    assert one.names == ("x",)


def test_a_range_of_billions_is_never_listed() -> None:
    one = Restriction("kv", Int(low=10**9, high=80 * 10**9, step=4)).with_banned([10**9]).with_range(None, 2 * 10**9)
    rng = random.Random(0)
    values = {one.random(rng) for _ in range(50)}
    assert len(values) > 40
    assert all(isinstance(v, int) and 10**9 < v <= 2 * 10**9 and v % 4 == 0 for v in values)
    assert one.any_left


def test_a_logarithmic_range_is_still_drawn_by_its_logarithm() -> None:
    one = Restriction("n", Int(low=1, high=4096, log=True)).with_range(16, None)
    drawn = [one.random(random.Random(n)) for n in range(400)]
    assert all(isinstance(v, int) and 16 <= v <= 4096 for v in drawn)
    middle = sum(1 for v in drawn if isinstance(v, int) and v < math.sqrt(16 * 4096))
    assert 140 < middle < 260


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (Restriction("a", Int(low=1, high=9)).with_range(2, 5), "a narrowed from 2 to 5"),
        (Restriction("a", Int(low=1, high=9)).with_banned([3, 4, 3]), "a without 3, 4"),
        (Restriction("a", Choice(values=["x", None, {"k": 1}])).with_only([{"k": 1}]), 'a pinned to {"k": 1}'),
        (Restriction("a", Choice(values=["x", None])).with_only(["x", None]), "a only x, null"),
        (Restriction("a", Int(low=1, high=9**9)).with_range(None, 123456789), "a narrowed to 123456789"),
        (Restriction("a", Float(low=0, high=1)).with_range(0.125, None), "a narrowed from 0.125"),
    ],
)
def test_it_is_told_in_words(one: Restriction, text: str) -> None:
    assert one.text == text
    assert not one.empty


def test_one_that_restricts_nothing_is_empty() -> None:
    assert Restriction("a", Bool()).empty
    assert not Restriction("a", Bool()).with_banned([True]).empty
