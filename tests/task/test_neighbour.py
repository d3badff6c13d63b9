"""The neighbours of a configuration."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.task.neighbour import neighbour
from autotune_nb.task.parameters import Choice, Int, Value
from autotune_nb.task.space import SearchSpace, point_key
from autotune_nb.task.task import Task
from tests.conftest import MINIMAL
from tests.strategies import MIXED_SPACE


def test_it_is_one_step_away_allowed_and_untried() -> None:
    space = SearchSpace.of({"a": Choice(values=[1, 2, 4]), "b": Int(low=1, high=4096, log=True)}, ["a < 4"])
    point: dict[str, Value] = {"a": 2, "b": 100}
    assert neighbour(space, point, set()) == {"a": 1, "b": 100}
    tried = {point_key({"a": 1, "b": 100})}
    assert neighbour(space, point, tried) == {"a": 2, "b": 200}
    assert neighbour(space, {"a": 2, "b": 4096}, tried | {point_key({"a": 1, "b": 4096})}) == {"a": 2, "b": 2048}
    whole = SearchSpace.of({"a": Choice(values=[1])}, [])
    assert neighbour(whole, {"a": 1}, set()) is None


@given(st.data())
def test_it_differs_in_one_parameter(data: st.DataObject) -> None:
    space = Task.parse({**MINIMAL, **MIXED_SPACE}).space
    point = space.random_point(data.draw(st.randoms(use_true_random=False)))
    found = neighbour(space, point, {point_key(point)})
    if found is not None:
        space.check(found)
        assert sum(1 for name in point if found[name] != point[name]) == 1
