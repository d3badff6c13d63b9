"""The part of a space around a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_nb.task.neighbourhood import neighbourhood
from autotune_nb.task.parameters import Bool, Choice, Float, Int


@pytest.mark.parametrize(
    ("parameter", "value", "around"),
    [
        (Choice(values=[1, 2, 4, 8]), 4, Choice(values=[2, 4, 8])),
        (Choice(values=[8, 1, 4, 2]), 1, Choice(values=[1, 2])),
        (Choice(values=["auto", 16, 32, 64]), 64, Choice(values=[32, 64])),
        (Choice(values=["auto", 16, 32]), "auto", Choice(values=["auto", 16, 32])),
        (Choice(values=[1, 2]), None, Choice(values=[1, 2])),
        (Choice(values=[1, 2]), 7, Choice(values=[1, 2])),
        (Bool(), True, Bool()),
        (Int(low=0, high=80, step=5), 20, Int(low=10, high=30, step=5)),
        (Int(low=1, high=9), 1, Int(low=1, high=2)),
        (Int(low=1, high=256, log=True), 16, Int(low=8, high=32, log=True)),
        (Float(low=0, high=1), 0.5, Float(low=0.375, high=0.625)),
        (Float(low=0, high=1, step=0.1), 0.9, Float(low=0.8, high=1, step=0.1)),
    ],
)
def test_a_parameter_keeps_what_is_around_a_value(parameter: Any, value: Any, around: Any) -> None:
    found = neighbourhood({"a": parameter}, {} if value is None else {"a": value})["a"]
    assert found == around
    if value is not None and parameter.contains(value):
        assert found.contains(value)
