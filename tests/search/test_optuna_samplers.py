"""What Optuna's samplers learn from the trials of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from autotune_nb.errors import TaskError
from autotune_nb.search import Observation, create_strategy
from autotune_nb.search.optuna_samplers import OptunaStrategy, optuna_sampler
from autotune_nb.task.space import Point
from tests.search.test_strategies import complete, out_of_memory, points, problem_of, space_of, study


class BlindToFailures(OptunaStrategy):
    """Shows the sampler complete trials only."""

    def propose(self, observations: Sequence[Observation], *others: Any, **named: Any) -> Any:
        # As lost in the surroundings, so that they are still not proposed again.
        hidden = [o if o.values is not None else replace(o, own=False) for o in observations]
        return super().propose(hidden, *others, **named)


def beside_a_cliff(number: int, point: Point) -> Observation:
    """Better towards the configurations that do not fit, which are 63 of 192."""
    a, b, c = (int(point[name]) for name in "abc")  # type: ignore[call-overload]
    return out_of_memory(number, point) if a + b > 8 else complete(number, point, 10 + 5 * a + 4 * b + c)


def test_tpe_tries_fewer_configurations_that_cannot_run_than_if_it_does_not_see_them() -> None:
    problem = problem_of(space_of(a=list(range(8)), b=list(range(8)), c=[1, 2, 3]))

    def failures(strategy: type[OptunaStrategy]) -> int:
        found = [study(strategy("tpe", problem, seed, num_trials=40), beside_a_cliff, 40) for seed in range(2)]
        return sum(one.values is None for trials in found for one in trials)

    # 29 against 43 of 80.
    assert failures(OptunaStrategy) <= 0.75 * failures(BlindToFailures)


@pytest.mark.parametrize("name", ["tpe", "nsgaii"])
def test_a_sampler_sees_relative_limits_failures_as_infeasible_and_the_baseline(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[FrozenTrial]] = []
    cls = {"tpe": optuna.samplers.TPESampler, "nsgaii": optuna.samplers.NSGAIISampler}[name]

    def sample(_self: Any, study: optuna.Study, _trial: FrozenTrial, _space: Any) -> dict[str, Any]:
        seen.append([trial for trial in study.get_trials() if trial.state.is_finished()])
        return {}

    monkeypatch.setattr(cls, "sample_relative", sample)
    problem = problem_of(space_of(a=[1, 2, 3, 4], b=[1, 2]), default={"a": 3, "b": 2})
    found = [
        replace(complete(0, {}, 50.0), baseline=True),
        complete(1, {"a": 1, "b": 1}, 90.0, excess=0.5),
        out_of_memory(2, {"a": 4, "b": 1}),
        Observation(3, {"a": 4, "b": 2}, failure="infrastructure (deploy)", started=False),
    ]
    proposal = create_strategy(name, problem, 1).propose(found)[0]
    assert proposal.params not in ({"a": 1, "b": 1}, {"a": 4, "b": 1}, {"a": 4, "b": 2}, {"a": 3, "b": 2})
    trials = seen[-1]
    assert [trial.params for trial in trials] == [{"a": 3, "b": 2}, {"a": 1, "b": 1}, {"a": 4, "b": 1}]
    # As bad as the worst, for samplers that fit values.
    assert [trial.value for trial in trials] == [50.0, 90.0, 50.0]
    limit = "ttft_p99_s <= 0.5"
    assert [trial.constraints[limit] for trial in trials] == [-0.5, 0.5, 0.0]
    assert [trial.constraints["ran"] for trial in trials] == [0.0, 0.0, 1.5]


def test_every_point_is_proposed_once_and_the_measured_default_last() -> None:
    problem = problem_of(space_of(a=[1, 2, 3], b=[1, 2]), default={"a": 3, "b": 2})
    found = [replace(complete(0, {}, 50.0), baseline=True)]
    strategy = create_strategy("tpe", problem, 1)
    while proposals := strategy.propose(found):
        found.append(complete(len(found), proposals[0].params, 40.0))
    assert len(set(points(found[1:]))) == 6
    assert found[-1].params == {"a": 3, "b": 2}


def test_options_reach_a_sampler_and_what_it_does_not_accept_is_refused() -> None:
    assert optuna_sampler("nsgaii", 0, {"population_size": 7})._population_size == 7  # type: ignore[attr-defined]
    problem = problem_of(space_of(a=[1, 2]))
    for name, options in (("tpe", {"population": 7}), ("random", {"population": 7}), ("auto", {"multivariate": True})):
        with pytest.raises(TaskError, match=next(iter(options))) as caught:
            create_strategy(name, problem, options=options)
        assert caught.value.field == "strategy.options"


@pytest.mark.parametrize("name", ["auto", "random", "tpe"])
def test_a_negative_seed_is_one_too(name: str) -> None:
    problem = problem_of(space_of(a=list(range(9)), b=list(range(9))))
    assert len(study(create_strategy(name, problem, -3), lambda n, p: complete(n, p, 1.0 + n), 7)) == 7


def test_samplers_that_ignore_constraints_see_the_worst_value_in_their_place() -> None:
    # Not sampled from: CMA-ES needs a package that may be missing.
    strategy = OptunaStrategy("cmaes", problem_of(space_of(a=[1, 2, 3])), 0)
    found = [
        complete(0, {"a": 1}, 50.0),
        complete(1, {"a": 2}, 90.0, excess=0.5),
        out_of_memory(2, {"a": 3}),
    ]
    assert strategy._shown(found) == [({"a": n}, [50.0], {}) for n in (1, 2, 3)]
