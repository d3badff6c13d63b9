"""Edits: what is accepted, what is refused, and what they come to."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.study.steering import (
    Edit,
    EditKind,
    Steering,
    ban_edit,
    budget_edit,
    enqueue_edit,
    free_edit,
    narrow_edit,
    pin_edit,
)
from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import configuration_text
from tests.strategies import MIXED_SPACE

#: The same without what a grid cannot have.
GRID: dict[str, Any] = {
    "parameters": {
        "a": {"type": "int", "low": 1, "high": 8, "log": True},
        "b": {"type": "int", "low": 2, "high": 8, "step": 3},
        "f": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.2},
        "c": ["x", None, {"k": 1}],
        "d": {"type": "bool"},
    },
    "rules": ["a <= b", "not d or f < 0.4"],
}


def task_of(**changes: Any) -> Task:
    return Task.parse(
        {
            "name": "test",
            "model": "m",
            "engine": {"kind": "command", "command": "server {port}"},
            "parameters": {"threads": [1, 2, 4], "batch_size": {"type": "int", "low": 32, "high": 512, "log": True}},
            "workload": {"scenarios": ["D(16,8)"], "concurrency": [1]},
            "objective": "maximize output_tokens_per_s",
            "budget": {"baseline": False},
            **changes,
        }
    )


def steering_of(task: Task, *edits: Edit) -> Steering:
    """The task's own, then one edit after the other."""
    steering = Steering(task, task.space)
    for edit in edits:
        steering = steering.with_(edit)
    return steering


def value_of(parameter: Choice | Bool | Int | Float) -> st.SearchStrategy[Value]:
    match parameter:
        case Choice(values=values):
            return st.sampled_from(values)
        case Bool():
            return st.booleans()
        case Int(low=low, high=high, step=step):
            return st.integers(0, (high - low) // step).map(lambda n: low + n * step)
        case Float(low=low, high=high, step=None):
            return st.floats(low, high)
    return st.sampled_from(list(parameter.grid() or []))


@st.composite
def edits(draw: st.DrawFn, space: SearchSpace) -> Edit:
    """An edit that names what is there; whether it leaves anything is another question."""
    name = draw(st.sampled_from(list(space.parameters)))
    parameter = space.parameters[name]
    one = value_of(parameter)
    kind = draw(st.sampled_from(["ban", "ban", "pin", "narrow", "narrow", "values", "free"]))
    if kind == "ban":
        return ban_edit(name, *draw(st.lists(one, min_size=1, max_size=2)))
    if kind == "pin":
        return pin_edit(name, draw(one))
    if kind == "free":
        return free_edit(name)
    if kind == "narrow" and isinstance(parameter, Int | Float):
        spread = parameter.high - parameter.low
        end = st.floats(parameter.low - 0.2 * spread, parameter.high + 0.2 * spread)
        return narrow_edit(name, draw(st.none() | end), draw(st.none() | end))
    return narrow_edit(name, values=draw(st.lists(one, min_size=1, max_size=3)))


class ReferenceSteering:
    """The plainest reading of some edits: what each parameter may still be."""

    def __init__(self, accepted: list[Edit]) -> None:
        self._edits = accepted

    def allows(self, name: str, value: Value) -> bool:
        banned: list[str] = []
        only: list[str] | None = None
        low = high = None
        for edit in (e for e in self._edits if e.parameter == name):
            texts = list(map(_text, edit.values))
            if edit.kind is EditKind.FREE:
                banned, only, low, high = [], None, None, None
            elif edit.kind is EditKind.BAN:
                banned += texts
            elif edit.values:
                # What is named replaces what was said before of the range, and is not banned any more.
                only, low, high = texts, None, None
                banned = [text for text in banned if text not in texts]
            else:
                only = None
                low, high = edit.low if edit.low is not None else low, edit.high if edit.high is not None else high
        if _text(value) in banned or (only is not None and _text(value) not in only):
            return False
        if low is None and high is None:
            return True
        assert isinstance(value, int | float)
        return (low is None or value >= low - 1e-9) and (high is None or value <= high + 1e-9)

    def allows_all(self, point: dict[str, Value]) -> bool:
        return all(self.allows(name, value) for name, value in point.items())


def _text(value: Value) -> str:
    return json.dumps(value, sort_keys=True)


# What edits come to


@given(st.data())
def test_what_is_accepted_holds_and_what_is_refused_names_its_parameter(data: st.DataObject) -> None:
    task = task_of(**data.draw(st.sampled_from([MIXED_SPACE, GRID])))
    steering, accepted = Steering(task, task.space), []
    for edit in data.draw(st.lists(edits(task.space), min_size=1, max_size=6)):
        try:
            after = steering.with_(edit)
        except TaskError as error:
            assert error.field == edit.parameter
            assert "\n" not in str(error)
            continue
        assert after.edits[:-1] == steering.edits
        steering = after
        accepted.append(edit)
    plainly = ReferenceSteering(accepted)
    rng = random.Random(0)
    # What is accepted leaves something.
    point = steering.space.random_point(rng)
    assert point is not None
    for _ in range(20):
        drawn = steering.space.random_point(rng)
        assert drawn is not None
        assert plainly.allows_all(drawn)
        assert steering.space.check(drawn) == drawn == task.space.check(drawn)
        # And it takes nothing away that was not taken.
        other = task.space.random_point(rng)
        assert other is not None
        assert (steering.space.broken_rule(other) is None) == plainly.allows_all(other)
        projected = steering.space.projected(other, rng)
        assert plainly.allows_all(projected)
        assert {n: v for n, v in projected.items() if plainly.allows(n, other[n])} == {
            n: v for n, v in other.items() if plainly.allows(n, v)
        }


@given(st.data())
def test_freeing_every_parameter_gives_the_whole_space_back(data: st.DataObject) -> None:
    task = task_of(**GRID)
    steering = Steering(task, task.space)
    for edit in data.draw(st.lists(edits(task.space), max_size=5)):
        try:
            steering = steering.with_(edit)
        except TaskError:
            continue
    for name in list(steering.restrictions):
        steering = steering.with_(free_edit(name))
    assert steering.restrictions == {}
    assert list(steering.space.grid()) == list(task.space.grid())


@given(st.data())
def test_the_grid_that_is_left_is_the_allowed_rest_in_its_order(data: st.DataObject) -> None:
    task = task_of(**GRID, strategy="grid")
    steering, accepted = Steering(task, task.space), []
    for edit in data.draw(st.lists(edits(task.space), min_size=1, max_size=4)):
        try:
            steering = steering.with_(edit)
            accepted.append(edit)
        except TaskError:
            continue
    plainly = ReferenceSteering(accepted)
    rest = [point for point in task.space.grid() if plainly.allows_all(point)]
    left = list(steering.space.grid())
    # A value that is pinned by name is tried though the grid steps over it.
    named = {e.parameter for e in accepted if e.values and e.kind in (EditKind.PIN, EditKind.NARROW)}
    assert [point for point in left if point in rest] == rest
    assert all(plainly.allows_all(point) and task.space.broken_rule(point) is None for point in left)
    assert left
    if "a" not in named:
        assert left == rest
    assert steering.space.num_allowed == len(left)


@given(st.data())
def test_edits_survive_json(data: st.DataObject) -> None:
    space = task_of(**MIXED_SPACE).space
    point = st.fixed_dictionaries({name: value_of(p) for name, p in space.parameters.items()})
    budgets = st.dictionaries(st.sampled_from(["trials", "minutes", "patience"]), st.none() | st.integers(1, 99))
    edit = data.draw(
        st.one_of(
            edits(space),
            point.map(enqueue_edit),
            budgets.map(lambda changes: budget_edit(task_of(**MIXED_SPACE), **changes)),
        )
    )
    text = json.dumps(edit.to_dict(), allow_nan=False)
    assert json.loads(text) == edit.to_dict()
    again = Edit.from_dict(json.loads(text))
    assert again == edit
    assert again.text == edit.text == edit.to_dict()["text"]
    assert "\n" not in edit.text


def test_the_order_in_which_they_are_read_does_not_count(make_task: Any) -> None:
    task = make_task()
    made = [ban_edit("threads", 1), free_edit("threads"), pin_edit("threads", 2), budget_edit(task, trials=7)]
    made = [replace(edit, at=float(n)) for n, edit in enumerate(made)]
    one, other = Steering(task, task.space, made), Steering(task, task.space, reversed(made))
    assert one.edits == other.edits == tuple(made)
    assert one.restrictions == other.restrictions
    assert one.budget == other.budget


def test_an_edit_counts_after_those_that_were_there_whatever_the_clocks_say(make_task: Any) -> None:
    task = make_task()
    # The other process's clock is an hour ahead.
    free = free_edit("threads")
    steering = Steering(task, task.space, [replace(free, at=free.at + 3600)]).with_(ban_edit("threads", 1))
    assert [edit.kind for edit in steering.edits] == ["free", "ban"]
    assert not steering.restrictions["threads"].permits(1)
    assert Steering(task, task.space, steering.edits).restrictions == steering.restrictions


def test_edits_of_parameters_that_the_space_does_not_have_change_nothing(make_task: Any) -> None:
    task = make_task()
    steering = Steering(task, task.space, [ban_edit("elsewhere", 1), ban_edit("threads", 1)])
    assert set(steering.restrictions) == {"threads"}


def test_the_same_edit_twice_is_one(make_task: Any) -> None:
    task = make_task()
    edit = ban_edit("threads", 1)
    steering = steering_of(task, edit)
    assert steering.with_(edit) is steering


def test_names_are_taken_as_the_engine_writes_them(make_task: Any) -> None:
    steering = steering_of(make_task(), ban_edit("--batch-size", 64), enqueue_edit({"threads": 1, "batch-size": 65}))
    assert set(steering.restrictions) == {"batch_size"}
    assert [point for _, point in steering.queue] == [{"threads": 1, "batch_size": 65}]


def test_conflicting_edits_of_two_processes_are_borne(make_task: Any) -> None:
    # Each was right where it was made.
    task = make_task()
    steering = Steering(task, task.space, [ban_edit("threads", 1), ban_edit("threads", 2)])
    assert steering.space.random_point(random.Random(0)) is None
    assert list(steering.space.grid()) == []
    assert steering.space.num_points == 0
    assert steering.with_(free_edit("threads")).space.random_point(random.Random(0)) is not None


# What is refused


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (ban_edit("thread", 1), "parameter: unknown parameter 'thread'; did you mean 'threads'?"),
        (free_edit("bach_size"), "parameter: unknown parameter 'bach_size'; did you mean 'batch_size'?"),
        (ban_edit("threads", 3), "threads: 3 is not in the space: it is one of 1, 2, 4"),
        (ban_edit("threads", "1"), "threads: '1' is a text, which is not the same as 1 without quotes: it is"),
        (ban_edit("threads", True), "threads: true is not in the space: it is one of 1, 2, 4"),
        (pin_edit("batch_size", 31), "batch_size: 31 is not in the space: it is from 32 to 512"),
        (pin_edit("batch_size", 64.0), "batch_size: 64.0 is not in the space: it is from 32 to 512"),
        (ban_edit("threads"), "threads: give a value: it is one of 1, 2, 4"),
        (ban_edit("threads", 1, 2, 4), "threads: 'ban threads = 1, 2, 4' leaves no value of it"),
        (narrow_edit("threads", 1, 2), "threads: has no range; give the allowed values: it is one of 1, 2, 4"),
        (narrow_edit("batch_size"), "batch_size: give low, high or both: it is from 32 to 512"),
        (narrow_edit("batch_size", 600), "batch_size: 'narrow batch_size from 600' leaves no value of it"),
        (narrow_edit("batch_size", 65, 64), "batch_size: low 65 is above high 64"),
        (narrow_edit("batch_size", float("nan")), "batch_size: nan is not a finite number"),
        (narrow_edit("batch_size", high=float("inf")), "batch_size: inf is not a finite number"),
        (narrow_edit("batch_size", -(10**400)), "batch_size: "),
        (narrow_edit("batch_size", 10**400), "batch_size: "),
        (narrow_edit("batch_size", "64"), "batch_size: '64' is not a number"),  # type: ignore[arg-type]
        (narrow_edit("batch_size", True), "batch_size: True is not a number"),
        (narrow_edit("batch_size", 64, 65, [64]), "batch_size: give a range or values, not both"),
        (ban_edit("ratio", 0.5), "ratio: is continuous and has no values to ban; narrow its range instead"),
        (
            narrow_edit("threads", values=[1]),
            "threads: 'narrow threads to 1' leaves no configuration that satisfies",
        ),
        (enqueue_edit({"threads": 2}), "point.batch_size: is missing"),
        (enqueue_edit({"threads": 2, "batch_size": 64, "ratio": 0.5, "x": 1}), "point: unknown parameter 'x'"),
        (enqueue_edit({"threads": 1, "batch_size": 64, "ratio": 0.5}), "point: breaks the rule 'threads > 1'"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_parameter(edit: Edit, message: str) -> None:
    parameters = {
        "threads": [1, 2, 4],
        "batch_size": {"type": "int", "low": 32, "high": 512, "log": True},
        "ratio": {"type": "float", "low": 0, "high": 1},
    }
    steering = steering_of(task_of(parameters=parameters, rules=["threads > 1"]))
    with pytest.raises(TaskError) as caught:
        steering.with_(edit)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert steering.edits == ()


def test_what_no_json_holds_is_refused_as_a_value_outside_the_space(make_task: Any) -> None:
    steering = steering_of(make_task())
    for strange in (object(), {1, 2}, b"x", {"a": object()}):
        with pytest.raises(TaskError, match=r"^threads: .* is not in the space"):
            steering.with_(ban_edit("threads", strange))  # type: ignore[arg-type]
        with pytest.raises(TaskError, match=r"^point\.threads: .* is not in the space"):
            steering.with_(enqueue_edit({"threads": strange, "batch_size": 64}))  # type: ignore[dict-item]


def test_a_banned_configuration_is_enqueued_only_after_it_is_freed(make_task: Any) -> None:
    steering = steering_of(make_task(), ban_edit("threads", 1))
    with pytest.raises(TaskError) as caught:
        steering.with_(enqueue_edit({"threads": 1, "batch_size": 64}))
    assert str(caught.value) == "point.threads: excluded by the study's edits: threads without 1; free it first"
    steering = steering.with_(free_edit("threads"))
    assert len(steering.with_(enqueue_edit({"threads": 1, "batch_size": 64})).queue) == 1


def test_a_pin_that_a_grid_steps_over_is_tried_all_the_same() -> None:
    task = task_of(parameters={"n": {"type": "int", "low": 1, "high": 8, "log": True}}, strategy="grid")
    assert list(steering_of(task, pin_edit("n", 3)).space.grid()) == [{"n": 3}]
    assert list(steering_of(task, narrow_edit("n", 3)).space.grid()) == [{"n": 4}, {"n": 8}]


def test_a_range_without_a_point_of_the_grid_is_refused_where_the_grid_is_tried() -> None:
    parameters = {"n": {"type": "int", "low": 1, "high": 8, "log": True}}
    with pytest.raises(TaskError, match=r"^n: "):
        steering_of(task_of(parameters=parameters, strategy="grid"), narrow_edit("n", 5, 7))
    assert steering_of(task_of(parameters=parameters), narrow_edit("n", 5, 7)).space.num_points == 3


@pytest.mark.parametrize("rule", ["a * b == 160000", "a + b == 800"])
def test_an_edit_of_a_large_space_with_narrow_rules_is_not_refused_for_want_of_luck(rule: str) -> None:
    sizes = {name: {"type": "int", "low": 1, "high": 400} for name in ("a", "b")}
    task = task_of(parameters=sizes, rules=[rule])
    steering = steering_of(task, narrow_edit("a", 300))
    assert steering.space.random_point(random.Random(0)) is not None
    with pytest.raises(TaskError, match=r"^b: 'ban b = 400' leaves no configuration"):
        steering.with_(ban_edit("b", 400))


def test_the_edges_of_a_huge_range_are_told_with_all_their_digits() -> None:
    task = task_of(parameters={"kv": {"type": "int", "low": 10**9, "high": 80 * 10**9}}, strategy="grid")
    edit = narrow_edit("kv", 79_999_999_999)
    assert edit.text == "narrow kv from 79999999999"
    # And found at once, though the whole range would take hours to walk.
    assert list(steering_of(task, edit).space.grid()) == [{"kv": 79_999_999_999}, {"kv": 80_000_000_000}]
    assert list(steering_of(task, pin_edit("kv", 79_999_999_998)).space.grid()) == [{"kv": 79_999_999_998}]


def test_how_many_are_left_is_known_where_a_pin_gives_an_endless_range_an_end() -> None:
    task = task_of(parameters={"x": {"type": "float", "low": 0, "high": 1}, "n": [1, 2]})
    assert task.space.num_points is None
    assert steering_of(task, pin_edit("x", 0.3)).space.num_points == 2
    # A whole number is one of the range's values too.
    pinned = steering_of(task, pin_edit("x", 1), pin_edit("n", 2)).space
    assert pinned.num_points == 1
    point = pinned.random_point(random.Random(0))
    assert point == {"x": 1.0, "n": 2}
    assert json.dumps(point) == '{"x": 1.0, "n": 2}'


# The budget


def test_a_budget_is_raised_lowered_and_lifted() -> None:
    endless = {"x": {"type": "float", "low": 0, "high": 1}}
    task = task_of(parameters=endless, budget={"trials": 5, "baseline": False, "patience": 3})
    steering = steering_of(task, budget_edit(task, trials=9))
    assert (steering.budget.trials, steering.budget.patience, steering.num_trials) == (9, 3, 9)
    steering = steering.with_(budget_edit(task, trials=2, patience=None))
    assert (steering.budget.trials, steering.budget.patience) == (2, None)
    lifted = steering.with_(budget_edit(task, trials=None, minutes=1.5))
    assert (lifted.budget.trials, lifted.budget.minutes) == (None, 1.5)
    assert lifted.budget.baseline is False
    # Nothing else bounds it: the default of a task that names none is no bound of an edit's.
    assert lifted.num_trials is None


def test_a_budget_gives_way_where_the_task_asks_for_another() -> None:
    task = task_of(budget={"trials": 5, "minutes": 9})
    edits = steering_of(task, budget_edit(task, trials=50, minutes=None)).edits
    same = task_of(budget={"trials": 5, "minutes": 9}, description="changed")
    assert Steering(same, same.space, edits).budget.trials == 50
    other = task_of(budget={"trials": 6, "minutes": 9})
    changed = Steering(other, other.space, edits).budget
    # The minutes are as they were asked for, so their edit holds.
    assert (changed.trials, changed.minutes) == (6, None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"trials": 0}, "budget.trials"),
        ({"trials": -3}, "budget.trials"),
        ({"trials": 2.5}, "budget.trials"),
        ({"trials": "many"}, "budget.trials"),
        ({"trials": True}, "budget.trials"),
        ({"minutes": 0}, "budget.minutes"),
        ({"minutes": float("nan")}, "budget.minutes"),
        ({"minutes": float("inf")}, "budget.minutes"),
        ({"patience": 0}, "budget.patience"),
        ({}, "budget"),
        ({"trails": 3}, "budget"),
        ({"baseline": True}, "budget"),
    ],
)
def test_what_is_no_budget_is_refused(changes: dict[str, Any], field: str) -> None:
    task = task_of()
    steering = steering_of(task)
    with pytest.raises(TaskError) as caught:
        steering.with_(budget_edit(task, **changes))
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_a_misspelt_part_of_the_budget_is_offered() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'trials'"):
        steering_of(task_of()).with_(budget_edit(task_of(), trails=3))


def test_a_number_given_as_text_counts_as_the_number_it_is() -> None:
    task = task_of()
    steering = steering_of(task, budget_edit(task, trials="7", minutes="1.5"))
    assert (steering.budget.trials, steering.budget.minutes, steering.num_trials) == (7, 1.5, 7)


# In words


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (enqueue_edit({"threads": 2, "x": None, "y": "a b"}), "try next threads=2 y=a b"),
        (ban_edit("threads", 1, None), "ban threads = 1, null"),
        (pin_edit("c", {"k": 1}), 'pin c to {"k": 1}'),
        (narrow_edit("n", 1.5, 20000000), "narrow n from 1.5 to 20000000"),
        (narrow_edit("n", values=[1, "x"]), "narrow n to 1, x"),
        (free_edit("n"), "free n"),
        (Edit(EditKind.BUDGET, budget={"trials": 5, "minutes": None}), "budget: trials 5, minutes no limit"),
    ],
)
def test_each_is_told_in_words(edit: Edit, text: str) -> None:
    assert edit.text == text


def test_a_configuration_that_sets_nothing_is_told_as_the_default() -> None:
    assert configuration_text({"a": None, "b": 1}) == "b=1"
    assert configuration_text({"a": None}) == "the engine's default configuration"


@pytest.mark.parametrize(
    ("before", "edit", "told"),
    [
        ([], free_edit("threads"), "there is nothing to free: no edit restricts it"),
        ([pin_edit("threads", 2)], pin_edit("threads", 2), "'pin threads to 2' changes nothing: pinned to 2"),
        ([ban_edit("threads", 2)], ban_edit("threads", 2), "'ban threads = 2' changes nothing: without 2"),
        ([], narrow_edit("batch_size", 1, 9999), "changes nothing: no edit restricts it; it is from 32 to 512"),
    ],
)
def test_what_has_no_effect_is_refused(before: list[Edit], edit: Edit, told: str) -> None:
    with pytest.raises(TaskError, match=re.escape(told)):
        steering_of(task_of(), *before).with_(edit)


def test_the_queue_is_ordered_and_what_is_removed_is_gone_from_it() -> None:
    points = [{"threads": n, "batch_size": 64} for n in (1, 2, 4)]
    first, second, third = (replace(enqueue_edit(point), at=float(n)) for n, point in enumerate(points))
    moved = Edit(EditKind.REORDER, ids=(third.id, first.id), at=3.0)
    steering = steering_of(task_of(), first, second, third, moved)
    assert [point["threads"] for _, point in steering.queue] == [4, 1, 2]
    after = steering.with_(Edit(EditKind.DEQUEUE, ids=(first.id,), params=points[0], at=4.0))
    assert [point["threads"] for _, point in after.pending({third.id})] == [2]
    assert after.edits[-1].text == "do not try threads=1 batch_size=64"


def test_a_note_and_tags_are_changed_each_by_itself() -> None:
    edits = [
        Edit(EditKind.NOTE, noted_trial=7, note="slow disk", at=1.0),
        Edit(EditKind.NOTE, noted_trial=7, tags=("prod", "x"), at=2.0),
        Edit(EditKind.NOTE, noted_trial=8, note="a", at=3.0),
        Edit(EditKind.NOTE, noted_trial=8, note="", at=4.0),
    ]
    steering = steering_of(task_of(), *edits)
    assert set(steering.notes) == {7}
    assert steering.notes[7].text == "slow disk\n\nTags: prod, x"
    assert steering.restrictions == {}
    assert Edit.from_dict(json.loads(json.dumps(edits[1].to_dict()))) == edits[1]
    cleared = steering.with_(Edit(EditKind.NOTE, noted_trial=7, tags=(), at=5.0))
    assert Edit.from_dict(cleared.edits[-1].to_dict()).tags == ()
    assert cleared.notes[7].tags == ()
