"""The figures that a task can name only with another section, such as a price."""

from __future__ import annotations

from collections.abc import Iterator

from autotune_nb.errors import TaskError
from autotune_nb.task.budget import Budget, Price
from autotune_nb.task.workload import Workload
from autotune_nb.trial.measurement import USD_PER_MILLION_TOKENS
from autotune_nb.trial.score import Objective

_PRICE = "price: {usd_per_gpu_hour: 2.5}"
_GOODPUT = "workload.goodput: {ttft_s: 0.5, tpot_s: 0.05}"


def require_price(budget: Budget, price: Price) -> None:
    """Raise TaskError for a budget in dollars without a price."""
    if budget.usd is not None and not price.is_set:
        raise TaskError(f"a budget in dollars needs a price, such as {_PRICE}", field="budget.usd")


def require_figures(goal: Objective, price: Price, workload: Workload, *, replayed: bool) -> None:
    """Raise TaskError for a figure that no level of a task can have; a recorded table may have every figure."""
    for field, figure in () if replayed else _named(goal):
        if figure == USD_PER_MILLION_TOKENS and not price.is_set:
            raise TaskError(f"{figure} needs a price, such as {_PRICE}", field=field)
        if figure.startswith("goodput") and not workload.goodput:
            raise TaskError(f"{figure} needs bounds of a request, such as {_GOODPUT}", field=field)


def _named(goal: Objective) -> Iterator[tuple[str, str]]:
    """Yield the fields of a task that name a figure, each with the figure."""
    for i, one in enumerate(goal.every):
        yield f"objectives[{i}]" if goal.others else "objective", one.figure
    for i, limit in enumerate(goal.limits):
        yield f"limits[{i}]", limit.figure
