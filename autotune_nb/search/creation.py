"""Creates strategies by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.search.auto import AutoStrategy
from autotune_nb.search.base import SearchProblem, Strategy
from autotune_nb.search.random_search import RandomSearch

_OWN: dict[str, Callable[[SearchProblem, int], Strategy]] = {"auto": AutoStrategy, "random": RandomSearch}
#: The names of all strategies: the own ones, and Optuna's samplers.
STRATEGIES = (*_OWN, "tpe", "gp", "cmaes", "qmc", "nsgaii", "nsgaiii")


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check the options of a strategy without creating it.

    Raises UnknownNameError for an unknown name, TaskError for an option that it does not accept, SetupError for a
    missing package.
    """
    if name not in STRATEGIES:
        raise UnknownNameError("strategy", name, STRATEGIES, field="strategy")
    if name not in _OWN:
        from autotune_nb.search.optuna_samplers import optuna_sampler

        optuna_sampler(name, 0, options)
    elif options:
        raise TaskError(f"{name} has no options; {', '.join(options)} given", field="strategy.options")


def create_strategy(
    name: str,
    problem: SearchProblem,
    seed: int = 0,
    *,
    options: Mapping[str, Any] | None = None,
    num_trials: int | None = None,
) -> Strategy:
    """Return a strategy, for a budget of ``num_trials``; ``options`` are those of Optuna's sampler.

    Raises UnknownNameError for an unknown name, TaskError for an option that it does not accept, SetupError for a
    missing package.
    """
    check_options(name, options or {})
    # Negative seeds are allowed, but not by every generator of random numbers.
    seed %= 2**64
    if name in _OWN:
        return _OWN[name](problem, seed)
    # Optuna takes a second to import, which the own strategies do not need.
    from autotune_nb.search.optuna_samplers import OptunaStrategy

    return OptunaStrategy(name, problem, seed, options=options, num_trials=num_trials)
