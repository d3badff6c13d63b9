"""Recorded tables as search problems, and the errors of those in which nothing can be searched."""

from __future__ import annotations

import numpy as np
import pytest

from autotune_nb.errors import AutotuneError
from autotune_nb.trial.trial import Trial
from tests.search.tables import TIME, problem, row


def test_the_objective_is_read_at_the_level_that_decides_and_limits_apply_there() -> None:
    at_4 = problem(row(0, (10, 30), (0.1, 0.9)), row(1, (20, 20), (0.8, 0.4)), limits=[f"{TIME} <= 0.5"])
    assert at_4.value.tolist() == [30, 20]
    assert at_4.feasible.tolist() == [False, True]
    assert at_4.best == 20
    assert at_4.regret.tolist() == [np.inf, 0]
    at_1 = problem(row(0, (10, 30), (0.1, 0.9)), row(1, (20, 20), (0.8, 0.4)), limits=[f"{TIME} <= 0.5"], at="1")
    assert (at_1.best, at_1.feasible.tolist()) == (10, [True, False])


def test_without_a_level_it_is_the_best_that_keeps_every_limit() -> None:
    found = problem(row(0, (10, 30), (0.1, 0.9)), row(1, (8, 5), (0.1, 0.4)), limits=[f"{TIME} <= 0.5"], at=None)
    assert found.value.tolist() == [10, 8]
    low = problem(row(0, (1, 1), (0.3, 0.6)), row(1, (1, 1), (0.2, 0.9)), figure=TIME, maximize=False, at=None)
    assert (low.value.tolist(), low.best) == ([0.3, 0.2], 0.2)
    assert low.regret.tolist() == [pytest.approx(0.5), 0]


def test_lower_bounds_and_levels_by_their_whole_name() -> None:
    found = problem(
        row(0, (10, 30)), row(1, (10, 90)), limits=["output_tokens_per_s >= 50"], at="dataset at concurrency 4"
    )
    assert found.feasible.tolist() == [False, True]
    assert found.excess[0, 1, 0] == pytest.approx(0.4)


def test_a_trial_takes_its_start_and_its_levels_and_a_failed_start_only_the_start() -> None:
    found = problem(row(0, (10, 30)), row(1, ()), row(2, (1, 2)))
    assert found.whole_s.tolist() == [120, 101, 102 + 24]
    assert found.failed.tolist() == [False, True, False]


def test_per_gpu_divides_by_the_gpus_of_the_row() -> None:
    found = problem(row(0, (10, 30)), row(1, (10, 40)), row(2, ()), per_gpu=True, gpus=[1, 2, 0])
    assert found.value.tolist()[:2] == [30, 20]
    assert found.objective == "maximize output_tokens_per_s per GPU"


def test_a_complete_configuration_without_the_figure_counts_as_failed_and_the_default_is_no_candidate() -> None:
    found = problem(
        row(0, (10, 30)),
        row(1, (50, None)),
        row(2, (60,)),
        Trial(3, {}, row(9, (1, 9)).state, row(9, (1, 9)).measurements),
    )
    assert found.failed.tolist() == [False, True, True]
    assert len(found) == 3


@pytest.mark.parametrize(
    ("rows", "options", "error"),
    [
        ([row(0, (1, 2))], {}, r"x\.csv has 1 configurations that set parameters; a comparison needs at least two"),
        ([row(0, (1, 2)), row(1, (3, 4), a=0)], {}, "a comparison needs at least two"),
        ([row(0, ()), row(1, ())], {}, r"all 2 configurations of x\.csv failed"),
        ([row(0, (1, 2)), row(1, (1, 2))], {"at": "9"}, r"at: x\.csv has no level '9'; its levels are"),
        ([row(0, (1, 2)), row(1, (1, 2))], {"figure": "tpot_mean_s"}, r"objective: no configuration of x\.csv has"),
        ([row(0, (1, 2)), row(1, (1, 2))], {"limits": ["tpot <= 1"]}, r"limits: no configuration of x\.csv has tpot_"),
        ([row(0, (1, 2)), row(1, (1, 2))], {"limits": [f"{TIME} <= 0.01"]}, r"keeps ttft_p99_s <= 0\.01 at level 4"),
        ([row(0, (1,)), row(1, (1,)), row(2, (1, None))], {}, r"no complete configuration of x\.csv has output"),
        ([row(0, (1, 2)), row(1, (1, 2))], {"per_gpu": True}, r"x\.csv: gpus of \{'a': 0\} is empty; --per-gpu need"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_searched_is_refused_in_one_line(
    rows: list[Trial], options: dict[str, object], error: str
) -> None:
    with pytest.raises(AutotuneError, match=error) as caught:
        problem(*rows, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
