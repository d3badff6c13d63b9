"""Creates strategies by name."""

from __future__ import annotations

from collections.abc import Callable

from autotune_nb.errors import UnknownNameError
from autotune_nb.search.auto import AutoStrategy
from autotune_nb.search.base import SearchProblem, Strategy
from autotune_nb.search.random_search import RandomSearch

STRATEGIES: dict[str, Callable[[SearchProblem, int], Strategy]] = {"auto": AutoStrategy, "random": RandomSearch}


def create_strategy(name: str, problem: SearchProblem, seed: int = 0) -> Strategy:
    """Return a strategy. Raises UnknownNameError for an unknown name."""
    if name not in STRATEGIES:
        raise UnknownNameError("strategy", name, STRATEGIES, field="strategy")
    return STRATEGIES[name](problem, seed)
