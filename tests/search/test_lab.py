"""The lab: random search's exact expectation, simulated studies, and the comparison of strategies."""

from __future__ import annotations

import itertools
import json
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.errors import SetupError, UnknownNameError
from autotune_nb.search import lab_random, lab_workers
from autotune_nb.search.lab import compare
from autotune_nb.search.lab_problem import LabProblem
from autotune_nb.search.lab_proposals import Proposed
from autotune_nb.search.lab_registry import STRATEGIES
from autotune_nb.search.lab_strategies import Outcome, RandomOrder, WholeTrials
from autotune_nb.search.lab_study import simulate
from tests.search.tables import grid, problem, row


class InOrder(WholeTrials):
    """Tries given configurations in order; ``levels`` are those it runs of each."""

    def __init__(self, problem: LabProblem, order: list[int], levels: tuple[int, ...] = (0, 1)) -> None:
        super().__init__(problem)
        self._order, self._levels = iter(order), levels
        self.told: list[Outcome] = []

    def ask(self) -> int | None:
        return next(self._order, None)

    def next_level(self, outcome: Outcome) -> int | None:
        return next((level for level in self._levels if not outcome.ran[level]), None)

    def tell(self, outcome: Outcome) -> None:
        super().tell(outcome)
        self.told.append(outcome)


@given(st.lists(st.sampled_from([None, 10.0, 50.0, 99.0, 100.0]), min_size=2, max_size=6).filter(any))
def test_the_expectation_of_random_search_is_the_mean_over_all_orders(rates: list[float | None]) -> None:
    found = problem(*(row(n, () if rate is None else (1, rate)) for n, rate in enumerate(rates)))
    seconds, trials, failed = [], [], []
    for order in itertools.permutations(range(len(rates))):
        study = simulate(found, InOrder(found, list(order)), seed=0)
        assert study.found is not None
        trials.append(study.found[0])
        seconds.append(study.found[1])
        failed.append(study.failed)
    assert lab_random.expected_trials(found, 0.02) == pytest.approx(statistics.fmean(trials))
    assert lab_random.expected_seconds(found, 0.02) == pytest.approx(statistics.fmean(seconds))
    assert lab_random.failed_share(found, 0.02) == pytest.approx(sum(failed) / sum(trials))


def test_the_quantiles_of_random_search_are_exact() -> None:
    found = problem(*(row(n, (1, 100 - 10 * n)) for n in range(5)))
    quartiles = (0.25, 0.5, 0.75)
    for drawn in (1, 2, 4):
        best = [min(found.regret[list(chosen)]) for chosen in itertools.combinations(range(5), drawn)]
        exact = np.quantile(best, quartiles, method="inverted_cdf")
        assert lab_random.regret_quantiles(found, [drawn], quartiles)[0] == pytest.approx(exact)
    good = [0 in chosen for chosen in itertools.combinations(range(5), 2)]
    assert lab_random.found_share(5, 1, 2) == pytest.approx(statistics.fmean(good))
    assert lab_random.found_share(5, 1, 5) == 1


def test_the_clock_stops_when_one_of_the_best_is_complete_at_every_level() -> None:
    found = problem(row(0, (1, 50)), row(1, ()), row(2, (1, 99)), row(3, (1, 100)))
    study = simulate(found, InOrder(found, [1, 0, 2, 3]), seed=0)
    # A failed start, two trials: 101 + (100 + 20) + (102 + 24); 99 is within 2 % of 100.
    assert study.found == (3, 347)
    assert study.failed == 1
    assert study.regret.tolist() == pytest.approx([0.5, 0.5, 0.01, 0])
    cut = simulate(found, InOrder(found, [2, 3], levels=(1,)), seed=0)
    assert cut.found is None
    assert cut.seconds.tolist() == [102 + 12, 102 + 12 + 103 + 13]

    # The remaining level may be run by another trial of the same configuration.
    class Twice(InOrder):
        def next_level(self, outcome: Outcome) -> int | None:
            left = [1] if not self.told else [0]
            return next((level for level in left if not outcome.ran[level]), None)

    assert simulate(found, Twice(found, [3, 3]), seed=0).found == (2, 2 * 103 + 2 * 13)


def test_noise_changes_what_is_told_and_counts_the_true_value_of_the_named_one() -> None:
    found = problem(row(0, (1, 94)), row(1, (1, 95)), row(2, (1, 100)), limits=["ttft_p99_s <= 1"])
    shown = [InOrder(found, [0, 1, 2]) for _ in range(200)]
    studies = [simulate(found, one, seed=seed, noise=0.03) for seed, one in enumerate(shown)]
    logs = [np.log(one.told[0].values[1] / 94) for one in shown]
    assert np.std(logs) == pytest.approx(0.03, rel=0.2)
    assert np.std([np.log(one.told[0].excess[1, 0] + 1) for one in shown]) == pytest.approx(0.03, rel=0.2)
    # With a difference of 5 % and noise of 3 %, the best is not always named.
    named = [one.named() == 2 for one in shown]
    assert 0.5 < statistics.fmean(named) < 1
    assert [study.found is not None for study in studies] == named
    assert all(study.regret[-1] == found.regret[one.named()] for one, study in zip(shown, studies, strict=True))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_tries_everything_once_and_repeats_itself_with_its_seed(name: str) -> None:
    found = grid(4, failing=1)

    def tried(seed: int) -> list[int]:
        strategy, order = STRATEGIES[name](found, seed), []
        while (index := strategy.ask()) is not None:
            order.append(index)
            failed = bool(found.failed[index])
            ran = np.ones(2, dtype=bool)
            strategy.tell(Outcome(index, found.values[index], found.excess[index], ran, 1.0, failed))
        return order

    first = tried(0)
    assert sorted(first) == list(range(16))
    assert tried(0) == first
    assert tried(1) != first


def test_the_engines_default_is_tried_first_and_whole() -> None:
    found = grid(4)
    first, other = Proposed("auto", replace(found, default=5), 0, cut=True), Proposed("auto", found, 0, cut=True)
    assert first.ask() == 5
    # At the level that decides it is worse than the best: its other level runs all the same.
    outcome = Outcome(5, found.values[5], found.excess[5], np.array([False, True]))
    first.best_gain = other.best_gain = 1e9
    assert (first.next_level(outcome), other.next_level(outcome)) == (0, None)


def test_auto_needs_less_time_than_random_and_least_if_trials_are_cut() -> None:
    found = grid(8, failing=2)
    median = {
        name: statistics.median(
            (study.found or (0, 1e9))[1]
            for study in (simulate(found, STRATEGIES[name](found, seed), seed=seed) for seed in range(5))
        )
        for name in ("auto", "auto-whole")
    }
    assert median["auto"] < median["auto-whole"] < 0.5 * lab_random.expected_seconds(found, 0.02)


def test_the_comparison_has_the_documented_form_and_tpe_learns() -> None:
    found = grid(8, failing=2)
    result = compare([found, grid(3)], ["random", "tpe"], seeds=4)
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data.keys() == {"tables", "time_ratio"}
    assert [one.keys() for one in data["tables"]] == 2 * [{"table", "best", "strategies"}]
    assert data["tables"][0]["best"] == 100 + 70 + 45
    for one in data["tables"]:
        for name, strategy in one["strategies"].items():
            assert strategy.keys() == {
                "trials", "seconds", "time_ratio", "failed_share", "cpu_s", "regret",
            }  # fmt: skip
            assert strategy["time_ratio"] == 1 or name != "random"
            times = [row[0] for row in strategy["regret"]]
            assert times == sorted(times)
            assert times[0] == 0
            assert all(low <= middle <= high for _, low, middle, high in strategy["regret"])
            assert strategy["regret"][-1][2] <= 0.02
    ratios = [one["strategies"]["tpe"]["time_ratio"] for one in data["tables"]]
    assert data["time_ratio"] == {"random": 1, "tpe": pytest.approx(statistics.fmean(ratios))}
    assert ratios[0] < 0.8
    # 12 of 64 configurations fail, which TPE learns.
    tpe = data["tables"][0]["strategies"]["tpe"]
    assert tpe["failed_share"] < data["tables"][0]["strategies"]["random"]["failed_share"]
    assert tpe["cpu_s"] > 0


def test_a_budget_of_trials_bounds_every_study_and_what_is_not_found_is_null() -> None:
    result = compare([grid(8)], ["tpe"], seeds=4, trials=2)
    tpe = result.tables[0].strategies["tpe"]
    assert (tpe.trials, tpe.seconds, tpe.time_ratio) == (None, None, None)
    assert len(tpe.regret_by_trial) == 2
    assert result.time_ratio == {"tpe": None}


def test_processes_return_what_one_process_would(monkeypatch: pytest.MonkeyPatch) -> None:
    found = grid(6)
    here = [simulate(found, STRATEGIES["tpe"](found, seed), seed=seed, trials=9) for seed in range(3)]
    monkeypatch.setattr(lab_workers, "_FEW_TRIALS", 0)
    monkeypatch.setattr(lab_workers, "_num_cores", lambda: 2)
    there = lab_workers.simulated_studies(found, "tpe", range(3), trials=9, noise=0.0)
    assert [one.found for one in there] == [one.found for one in here]
    assert [one.seconds.tolist() for one in there] == [one.seconds.tolist() for one in here]
    with pytest.raises(SetupError, match="a process of the lab failed on nothing: KeyError: 'nothing'"):
        lab_workers.simulated_studies(found, "nothing", range(3), trials=None, noise=0.0)


def test_an_unknown_strategy_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="strategies: unknown strategy 'tpee'; did you mean 'tpe'"):
        compare([grid(3)], ["tpee"])


def test_random_order_of_a_seed_is_a_permutation() -> None:
    found = grid(3)
    assert simulate(found, RandomOrder(found, 1), seed=1).found is not None


@pytest.mark.parametrize(("trials", "shown"), [(None, 80), (90, 90)])
def test_random_searchs_expectation_is_shown_for_as_many_trials_as_other_strategies_may_need(
    trials: int | None, shown: int
) -> None:
    found = problem(*(row(n, (1, 100 - 0.5 * n)) for n in range(100)))
    random = compare([found], ["random"], trials=trials).tables[0].strategies["random"]
    assert len(random.found_by_trial) == len(random.regret_by_trial) == shown
    good = int(found.good(0.02).sum())
    assert random.found_by_trial[-1] == pytest.approx(lab_random.found_share(100, good, shown))
