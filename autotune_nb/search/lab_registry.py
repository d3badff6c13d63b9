"""The strategies that the lab knows by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from autotune_nb.search.lab_problem import LabProblem
from autotune_nb.search.lab_proposals import Proposed
from autotune_nb.search.lab_strategies import LabStrategy, RandomOrder

#: Creates a strategy for a problem and a seed. The results of random search are computed, not simulated.
STRATEGIES: dict[str, Callable[[LabProblem, int], LabStrategy]] = {
    "random": RandomOrder,
    "tpe": partial(Proposed, "tpe"),
    "auto": partial(Proposed, "auto", cut=True),
    #: As with budget.cut: false.
    "auto-whole": partial(Proposed, "auto"),
}
#: What the lab compares if no strategies are named.
DEFAULT = ("random", "tpe", "auto")
