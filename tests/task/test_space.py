"""The search space: rules as text, allowed points, and the errors if no point is allowed."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.task.parameters import Bool, Choice, Float, Int
from autotune_nb.task.restriction import Restriction
from autotune_nb.task.rule import Rule
from autotune_nb.task.space import SearchSpace, point_key

_PARAMETERS = st.fixed_dictionaries(
    {
        "a": st.tuples(st.integers(1, 5), st.integers(0, 6)).map(lambda t: Int(low=t[0], high=t[0] + t[1])),
        "b": st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True).map(lambda v: Choice(values=v)),
        "c": st.integers(1, 4).map(lambda n: Float(low=0.1, high=0.1 * n, step=0.1)),
        "d": st.just(Bool()),
    }
)
_RULES = st.lists(
    st.sampled_from(["a <= b", "a + b < 12", "not d or a > 2", "c * 10 <= a", "a % 2 == 0", "min(a, b) >= 1"]),
    max_size=2,
)
_CHECKS: dict[str, Any] = {
    "a <= b": lambda p: p["a"] <= p["b"],
    "a + b < 12": lambda p: p["a"] + p["b"] < 12,
    "not d or a > 2": lambda p: not p["d"] or p["a"] > 2,
    "c * 10 <= a": lambda p: p["c"] * 10 <= p["a"],
    "a % 2 == 0": lambda p: p["a"] % 2 == 0,
    "min(a, b) >= 1": lambda p: min(p["a"], p["b"]) >= 1,
}


@given(_PARAMETERS, _RULES)
def test_the_grid_is_exactly_what_brute_force_leaves(parameters: dict[str, Any], rules: list[str]) -> None:
    space = SearchSpace(parameters, tuple(Rule(text, list(parameters)) for text in rules))
    everything = [
        dict(zip(parameters, values, strict=True))
        for values in itertools.product(*(list(p.grid()) for p in parameters.values()))
    ]
    allowed = [point for point in everything if all(_CHECKS[text](point) for text in rules)]
    assert list(space.grid()) == allowed
    assert space.num_allowed == len(allowed)
    assert space.grid_size == len(everything)
    for point in allowed:
        assert space.broken_rule(point) is None
        assert space.canonical(point) == point
        assert space.check(point) == point


@given(_PARAMETERS, _RULES, st.integers(0, 9), st.data())
def test_a_random_point_is_allowed_and_never_excluded(
    parameters: dict[str, Any], rules: list[str], seed: int, data: st.DataObject
) -> None:
    space = SearchSpace(parameters, tuple(Rule(text, list(parameters)) for text in rules))
    keys = sorted(point_key(point) for point in space.grid())
    exclude = set(data.draw(st.lists(st.sampled_from(keys))) if keys else [])
    point = space.random_point(random.Random(seed), exclude=exclude)
    if point is None:
        assert set(keys) == exclude
    else:
        assert point_key(point) in set(keys) - exclude


def test_the_last_point_left_is_found_and_then_none() -> None:
    space = SearchSpace({"a": Int(low=1, high=400), "b": Int(low=1, high=400)}, (Rule("a * b == 160000", ["a", "b"]),))
    rng = random.Random(0)
    assert space.random_point(rng) == {"a": 400, "b": 400}
    assert space.random_point(rng, exclude={point_key({"b": 400, "a": 400})}) is None


def test_a_point_is_told_apart_by_type_and_not_by_order() -> None:
    assert point_key({"a": 1, "b": 2}) == point_key({"b": 2, "a": 1})
    assert len({point_key({"a": value}) for value in (1, 1.0, True, "1", None)}) == 5


def test_canonical_has_the_parameters_order_and_floats_on_their_steps() -> None:
    space = SearchSpace({"x": Float(low=0.1, high=1, step=0.1), "n": Int(low=1, high=9)})
    point = space.canonical({"n": 3, "x": 0.7999999999999999})
    assert list(point.items()) == [("x", 0.8), ("n", 3)]
    assert space.canonical(point) == point


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"threads": 2, "batch": 64, "bach": 1}, "point: unknown parameter 'bach'; did you mean 'batch'?"),
        ({"threads": 2}, "point.batch: is missing: a configuration must set every parameter"),
        ({"threads": 3, "batch": 64}, "point.threads: 3 is not in the space"),
        ({"threads": "2", "batch": 64}, "point.threads: '2' is a text, which is not the same as 2 without quotes"),
        ({"threads": "two", "batch": 64}, "point.threads: 'two' is not in the space"),
        ({"threads": 8, "batch": 32}, "point: breaks the rule 'threads * 8 <= batch'"),
    ],
)
def test_a_point_outside_says_what_is_wrong(point: dict[str, Any], message: str) -> None:
    space = SearchSpace.of({"threads": Choice(values=[2, 8]), "batch": Int(low=32, high=64)}, ["threads * 8 <= batch"])
    with pytest.raises(TaskError) as caught:
        space.check(point)
    assert str(caught.value) == message


def test_sizes_that_have_no_end_are_none() -> None:
    assert SearchSpace({"x": Float(low=0, high=1)}).grid_size is None
    assert SearchSpace({"x": Float(low=0, high=1)}).num_points is None
    assert SearchSpace({"x": Int(low=1, high=64, log=True)}).num_allowed == 7
    with pytest.raises(TaskError, match=r"^parameters\.x\.step: a grid needs a step"):
        next(SearchSpace({"x": Float(low=0, high=1)}).grid())


def test_a_logarithmic_range_has_every_whole_number_as_a_point() -> None:
    space = SearchSpace.of({"x": Int(low=1, high=12, log=True)}, ["x != 5"])
    assert space.num_points == 11
    seen: set[str] = set()
    while (point := space.random_point(random.Random(len(seen)), exclude=seen)) is not None:
        seen.add(point_key(point))
    assert len(seen) == 11


@pytest.mark.parametrize("text", ["'%2000000000d' % a == 'x'", "('%' + '9999999' + 'd') % a == 'x'", "'x' * 999 == a"])
def test_a_rule_that_computes_with_texts_is_refused(text: str) -> None:
    with pytest.raises(TaskError, match="texts can only be compared"):
        Rule(text, ["a"])


def test_a_rule_without_end_is_refused() -> None:
    with pytest.raises(TaskError, match="at most 2000"):
        Rule("a > 0" + " and a > 0" * 20000, ["a"])


def test_a_space_of_billions_is_walked_without_being_built() -> None:
    space = SearchSpace.of({"kv": Int(low=10**9, high=80 * 10**9), "on": Bool()}, ["kv > 0"])
    assert space.num_allowed is None
    assert list(itertools.islice(space.grid(), 3)) == [
        {"kv": 10**9, "on": False},
        {"kv": 10**9, "on": True},
        {"kv": 10**9 + 1, "on": False},
    ]


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(TaskError, match=r"^parameters: there is nothing to tune"):
        SearchSpace.of({}, [])


def test_a_rule_is_not_held_against_a_parameter_left_at_the_engines_default() -> None:
    rule = Rule("a <= b", ["a", "b"])
    assert rule.allows({"a": 9, "b": None})
    assert rule.allows({"a": 9})
    assert not rule.allows({"a": 9, "b": 1})


def test_rules_know_words_membership_and_conditions() -> None:
    names = ["k", "v", "fa"]
    rule = Rule("v not in ('q8_0', 'q4_0') or fa != 'off'", names)
    assert rule.allows({"v": "q8_0", "fa": "on"})
    assert not rule.allows({"v": "q8_0", "fa": "off"})
    assert Rule("k == v if fa == 'on' else k != v", names).allows({"k": 1, "v": 2, "fa": "off"})


def test_an_unknown_name_in_a_rule_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        Rule("threads <= batch_sise", ["threads", "batch_size"], field="rules[3]")
    assert str(caught.value).startswith("rules[3]: unknown parameter 'batch_sise'; did you mean 'batch_size'?")
    with pytest.raises(UnknownNameError, match=r"unknown function 'eval'.*known are abs, max, min"):
        Rule("eval(a) == 1", ["a"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "a <=",
        "a = 1",
        "import os",
        "a; b",
        "a\nb",
        "a\0",
        "1",
        "1 < 2",
        "True",
        "a + 1",
        "max(a, 1)",
        "'a'",
        "[a]",
        "a.real == 1",
        "a.__class__ == 1",
        "__import__('os') == a",
        "().__class__.__bases__ == a",
        "[x for x in (1,)] == a",
        "{a: 1} == a",
        "{a} == a",
        "(lambda: a)() == 1",
        "(b := a) == 1",
        "f'{a}' == 'x'",
        "a[0] == 1",
        "max(a, key=a) == 1",
        "max(*a) == 1",
        "max == a",
        "open('x') == a",
        "await a",
        "(yield a)",
        "(" * 500 + "a" + ")" * 500,
        "-" * 100_000 + "a > 1",
        "not " * 20_000 + "a",
    ],
)
def test_anything_but_a_condition_over_parameters_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(TaskError) as caught:
        Rule(text, ["a"], field="rules[0]")
    assert str(caught.value).startswith("rules[0]: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a ** 9999999999 > 1", "a < 'x'", "1(a) == 2", "1 / (a - 2) > 0"])
def test_a_rule_that_cannot_be_evaluated_says_at_which_point(text: str) -> None:
    with pytest.raises(TaskError, match=r"^rules: the rule .* cannot be evaluated at a=2: ") as caught:
        Rule(text, ["a"]).allows({"a": 2})
    assert "\n" not in str(caught.value)


def test_a_rule_that_fails_at_some_points_only_is_told_when_the_space_is_built() -> None:
    with pytest.raises(TaskError, match=r"^rules\[0\]: .* cannot be evaluated at a=2"):
        SearchSpace.of({"a": Choice(values=[1, 2, 3, 4])}, ["1 / (a - 2) < 9"])


def test_values_are_never_evaluated_as_code() -> None:
    text = "__import__('os').abort()"
    assert Rule("a == b", ["a", "b"]).allows({"a": text, "b": text})
    assert Rule("a != 'x'", ["a"]).allows({"a": text})


def test_rules_that_nobody_satisfies_name_the_culprit() -> None:
    parameters = {"a": Int(low=1, high=4), "b": Int(low=1, high=4)}
    with pytest.raises(TaskError, match=r"^rules: no point keeps 'a > 9', a rule of the task: loosen a rule"):
        SearchSpace.of(parameters, ["b >= 1", "a > 9"])
    with pytest.raises(TaskError, match="no point keeps all of the rules together"):
        SearchSpace.of(parameters, ["a < b", "b < a"])
    with pytest.raises(TaskError, match=r"no point keeps '2 \* x - 1 > 1', a rule of the task: loosen"):
        SearchSpace.of({"x": Float(low=0, high=1)}, ["2 * x - 1 > 1"])


TEN = {name: Int(low=1, high=10) for name in "abcdefgh"}
LARGE = {"a": Int(low=1, high=10**6), "b": Float(low=0, high=1), "c": Choice(values=["on", "off"])}


@pytest.mark.parametrize(
    ("parameters", "rules", "values"),
    [
        (TEN, ["a == 3 and b == 7", "c == 1", "d == 2", "e == a + b - 1", "f < 2 and g > 9"], {"e": 9, "g": 10}),
        (TEN, ["a < b", "b < c", "c < d", "d < e", "e < f", "f < g", "g < h - 2"], {"a": 1, "g": 7, "h": 10}),
        (LARGE, ["a == 77777 and c == 'on'", "b == 0.25"], {"a": 77777, "b": 0.25, "c": "on"}),
    ],
)
def test_a_point_that_random_draws_miss_is_found(
    parameters: dict[str, Any], rules: list[str], values: dict[str, Any]
) -> None:
    space = SearchSpace.of(parameters, rules)
    point = space.random_point(random.Random(1))
    assert point is not None
    assert point.items() >= values.items()
    assert point.keys() == parameters.keys()
    assert not space.note


def test_a_point_that_random_draws_miss_is_found_once() -> None:
    space = SearchSpace.of(TEN, [*(f"{name} == 3" for name in "abcdefg"), "h < 3"])
    points = []
    for _ in range(2):
        point = space.random_point(random.Random(1), exclude={point_key(point) for point in points})
        assert point is not None
        points.append(point)
    assert {point["h"] for point in points} == {1, 2}
    assert space.random_point(random.Random(1), exclude={point_key(point) for point in points}) is None


def test_rules_of_a_large_space_are_refused_only_if_it_is_certain_that_no_point_keeps_them() -> None:
    ascending = [f"{low} < {high}" for low, high in itertools.pairwise("abcdefgh")]
    with pytest.raises(TaskError, match="no point keeps all of the rules together"):
        SearchSpace.of(TEN, [*ascending, "a > 3"])
    space = SearchSpace.of({"x": Float(low=0, high=1), "y": Float(low=0, high=1)}, ["x * x + y * y == 0.4321"])
    assert "none of 20,000 random points keeps all of the rules" in space.note


# What edits leave


def restricted(space: SearchSpace, **changes: Any) -> SearchSpace:
    """The space after what each parameter's restriction is turned into."""
    return space.restricted({n: change(Restriction(n, space.parameters[n])) for n, change in changes.items()})


@given(_PARAMETERS, _RULES, st.data())
def test_what_is_left_is_counted_and_walked_as_brute_force_does(
    parameters: dict[str, Any], rules: list[str], data: st.DataObject
) -> None:
    whole = SearchSpace(parameters, tuple(Rule(text, list(parameters)) for text in rules))
    banned = {name: data.draw(st.lists(st.sampled_from(list(p.grid())), max_size=2)) for name, p in parameters.items()}
    low = data.draw(st.integers(0, 8))
    space = restricted(
        whole,
        a=lambda r: r.with_banned(banned["a"]).with_range(low, None),
        b=lambda r: r.with_banned(banned["b"]),
        c=lambda r: r.with_banned(banned["c"]),
        d=lambda r: r.with_only([True]),
    )
    left = [
        point
        for point in whole.grid()
        if point["a"] >= low and point["d"] is True and all(point[n] not in banned[n] for n in ("a", "b", "c"))
    ]
    assert list(space.grid()) == left
    assert space.num_allowed == space.num_points == len(left)
    assert space.may_have_points() == space.may_have_points(of_grid=True) == bool(left)
    rng = random.Random(0)
    seen: set[str] = set()
    while (point := space.random_point(rng, exclude=seen)) is not None:
        assert space.broken_rule(point) is None
        seen.add(point_key(point))
    assert seen == {point_key(point) for point in left}


def test_a_restriction_leaves_the_space_it_is_made_of_as_it_was() -> None:
    whole = SearchSpace({"n": Int(low=1, high=16, log=True), "x": Float(low=0, high=1)})
    space = restricted(whole, n=lambda r: r.with_range(3, 9), x=lambda r: r.with_only([0.5, 1]))
    assert (space.num_points, whole.num_points) == (14, None)
    assert [p["n"] for p in space.grid()] == [4, 4, 8, 8]
    assert whole.restrictions == {}
    assert whole.broken_rule({"n": 1, "x": 0.1}) is None


def test_a_value_beside_its_step_is_checked_as_the_one_on_it() -> None:
    whole = SearchSpace.of({"x": Float(low=0.1, high=0.9, step=0.1)}, ["x <= 0.3"])
    assert whole.check({"x": 0.1 + 0.2}) == {"x": 0.3}
    space = restricted(whole, x=lambda r: r.with_only([0.3]))
    assert space.check({"x": 0.1 + 0.2}) == {"x": 0.3}


def test_what_was_left_out_names_what_leaves_it_out() -> None:
    space = restricted(SearchSpace({"n": Int(low=1, high=9)}), n=lambda r: r.with_banned([3]).with_range(2, None))
    with pytest.raises(TaskError) as caught:
        space.check({"n": 3})
    assert str(caught.value) == "point.n: excluded by the study's edits: n narrowed from 2, without 3; free it first"
    assert space.check({"n": 4}) == {"n": 4}


def test_where_nothing_is_left_of_a_parameter_nothing_is_drawn() -> None:
    space = restricted(
        SearchSpace({"n": Choice(values=[1, 2]), "x": Float(low=0, high=1)}), n=lambda r: r.with_banned([1, 2])
    )
    rng = random.Random(0)
    assert space.random_point(rng) is None
    assert not space.may_have_points()
    assert space.num_points == space.grid_size == 0
    assert space.projected({"n": 1, "x": 0.5}, rng) == {"n": 1, "x": 0.5}


def test_a_projection_draws_only_what_is_lost() -> None:
    space = restricted(SearchSpace({"n": Int(low=1, high=9), "on": Bool()}), n=lambda r: r.with_range(8, None))
    rng = random.Random(0)
    assert space.projected({"n": 9, "on": True}, rng) == {"n": 9, "on": True}
    assert {space.projected({"n": 1, "on": True}, rng)["n"] for _ in range(30)} == {8, 9}
    assert all(space.projected({"n": 1, "on": False}, rng)["on"] is False for _ in range(5))
