"""The lab: runs search strategies on recorded tables in simulated time and compares them with random search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autotune_nb.errors import UnknownNameError
from autotune_nb.search import lab_random
from autotune_nb.search.lab_problem import Floats, LabProblem
from autotune_nb.search.lab_registry import STRATEGIES
from autotune_nb.search.lab_study import MIN_TRIALS, WITHIN, SimulatedStudy
from autotune_nb.search.lab_workers import simulated_studies

QUARTILES = (0.25, 0.5, 0.75)
_POINTS = 60


@dataclass(frozen=True)
class StrategyResult:
    """The result of a strategy on one table: medians over the studies, None where most did not find the best.

    ``regret`` has rows of seconds and the three quartiles, ``regret_by_trial`` rows of a number of trials and the
    quartiles, ``found_by_trial`` the share of studies that had found one of the best after so many trials. Random
    search has its exact expectations in place of medians.
    """

    trials: float | None
    seconds: float | None
    time_ratio: float | None
    failed_share: float
    cpu_s: float
    regret: tuple[tuple[float, ...], ...]
    regret_by_trial: tuple[tuple[float, ...], ...] = ()
    found_by_trial: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        return {
            "trials": self.trials,
            "seconds": self.seconds,
            "time_ratio": self.time_ratio,
            "failed_share": self.failed_share,
            "cpu_s": self.cpu_s,
            "regret": [list(row) for row in self.regret],
        }


@dataclass(frozen=True)
class TableResult:
    """The results of all strategies on one table."""

    table: str
    best: float
    num_configurations: int
    num_failed: int
    num_good: int
    strategies: Mapping[str, StrategyResult]
    best_params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LabResult:
    """The results of a lab; ``time_ratio`` is each strategy's median over the tables."""

    tables: tuple[TableResult, ...]
    objective: str
    studies: int
    noise: float = 0.0

    @property
    def time_ratio(self) -> dict[str, float | None]:
        names = list(dict.fromkeys(name for table in self.tables for name in table.strategies))
        return {name: _median([table.strategies[name].time_ratio for table in self.tables]) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Return the results as a JSON object."""
        return {
            "tables": [
                {
                    "table": one.table,
                    "best": one.best,
                    "strategies": {name: result.to_dict() for name, result in one.strategies.items()},
                }
                for one in self.tables
            ],
            "time_ratio": self.time_ratio,
        }


def compare(
    problems: Sequence[LabProblem],
    strategies: Sequence[str],
    *,
    seeds: int = 30,
    trials: int | None = None,
    noise: float = 0.0,
    progress: Callable[[str], None] = lambda _line: None,
) -> LabResult:
    """Run ``seeds`` studies of each strategy on each problem.

    Without ``trials`` a study ends once it has found one of the best configurations, but not before 40 trials. With
    ``noise``, the standard deviation of the figures' logarithm, it has found one once it names one that truly is.
    Raises UnknownNameError for an unknown strategy.
    """
    for name in strategies:
        if name not in STRATEGIES:
            raise UnknownNameError("strategy", name, STRATEGIES, field="strategies")
    tables = []
    for problem in problems:
        results = {}
        for name in strategies:
            progress(f"{name} on {problem.name}: {seeds} studies")
            if name == "random":
                results[name] = _exact_random(problem, trials, noise)
            else:
                studies = simulated_studies(problem, name, range(seeds), trials=trials, noise=noise)
                results[name] = _summary(problem, studies, noise)
        good = problem.good(WITHIN)
        best = int(np.flatnonzero(problem.regret <= 0)[0])
        tables.append(
            TableResult(
                problem.name, problem.best, len(problem), int(problem.failed.sum()), int(good.sum()), results,
                dict(problem.params[best]),
            )
        )  # fmt: skip
    return LabResult(tuple(tables), problems[0].objective if problems else "", seeds, noise)


def _summary(problem: LabProblem, studies: Sequence[SimulatedStudy], noise: float) -> StrategyResult:
    seconds = _median([study.found[1] if study.found else None for study in studies])
    longest = max(len(study.seconds) for study in studies)
    # A study that has ended keeps its regret.
    by_trial = np.array([[*one.regret, *([one.regret[-1]] * (longest - len(one.regret)))] for one in studies])
    grid = np.linspace(0.0, max(float(study.seconds[-1]) for study in studies), _POINTS)
    by_time = np.array(
        [
            np.concatenate(([problem.worst_regret], one.regret))[np.searchsorted(one.seconds, grid, side="right")]
            for one in studies
        ]
    )
    found = np.array([one.found[0] if one.found else math.inf for one in studies])
    exact_s = lab_random.expected_seconds(problem, 2 * WITHIN if noise else WITHIN)
    return StrategyResult(
        _median([float(study.found[0]) if study.found else None for study in studies]),
        seconds,
        None if seconds is None else seconds / exact_s,
        sum(study.failed for study in studies) / sum(study.num_counted for study in studies),
        float(np.median([study.cpu_s for study in studies])),
        _rows(grid, np.quantile(by_time, QUARTILES, axis=0).T),
        _rows(np.arange(1, longest + 1), np.quantile(by_trial, QUARTILES, axis=0).T),
        tuple(float((found <= n).mean()) for n in range(1, longest + 1)),
    )


def _exact_random(problem: LabProblem, trials: int | None, noise: float) -> StrategyResult:
    within = 2 * WITHIN if noise else WITHIN
    count = min(trials or len(problem), len(problem))
    numbers = np.unique(np.linspace(0, count, min(count, _POINTS) + 1).round().astype(int))
    by_time = lab_random.regret_quantiles(problem, numbers.tolist(), QUARTILES)
    shown = list(range(1, min(len(problem), max(trials or 0, 2 * MIN_TRIALS)) + 1))
    good, n = int(problem.good(within).sum()), len(problem)
    return StrategyResult(
        lab_random.expected_trials(problem, within),
        lab_random.expected_seconds(problem, within),
        1.0,
        lab_random.failed_share(problem, within),
        0.0,
        _rows(numbers * float(problem.whole_s.mean()), by_time),
        _rows(np.array(shown), lab_random.regret_quantiles(problem, shown, QUARTILES)),
        tuple(lab_random.found_share(n, good, drawn) for drawn in shown),
    )


def _rows(first: Any, quartiles: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(
        (round(float(at), 6), *(round(float(q), 6) for q in row)) for at, row in zip(first, quartiles, strict=True)
    )


def _median(values: Sequence[float | None]) -> float | None:
    """Return the median, with None as the largest value."""
    middle = float(np.median([math.inf if value is None else value for value in values]))
    return middle if math.isfinite(middle) else None
