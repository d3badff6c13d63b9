"""The figures that a task can name only with another section, such as a price."""

from __future__ import annotations

from collections.abc import Iterator

from autotune_nb.errors import TaskError
from autotune_nb.task.budget import Budget, Price
from autotune_nb.task.slo import Slo
from autotune_nb.task.workload import Workload
from autotune_nb.trial.load import limits_load
from autotune_nb.trial.measurement import MAX_CONCURRENCY, SLO_SCORE, USD_PER_MILLION_TOKENS
from autotune_nb.trial.score import Objective

_PRICE = "price: {usd_per_gpu_hour: 2.5}"
_GOODPUT = "workload.goodput: {ttft_s: 0.5, tpot_s: 0.05}"


def require_price(budget: Budget, price: Price) -> None:
    """Raise TaskError for a budget in dollars without a price."""
    if budget.usd is not None and not price.is_set:
        raise TaskError(f"a budget in dollars needs a price, such as {_PRICE}", field="budget.usd")


def require_figures(goal: Objective, price: Price, workload: Workload, *, replayed: bool) -> None:
    """Raise TaskError for a figure that no level of a task can have; a recorded table may have every figure."""
    _require_load(goal, workload)
    for field, figure in () if replayed else _named(goal):
        if figure == USD_PER_MILLION_TOKENS and not price.is_set:
            raise TaskError(f"{figure} needs a price, such as {_PRICE}", field=field)
        if figure.startswith("goodput") and not workload.goodput:
            raise TaskError(f"{figure} needs bounds of a request, such as {_GOODPUT}", field=field)


def require_score(goal: Objective, slo: Slo) -> None:
    """Raise TaskError for a score without soft limits, or soft limits without a score."""
    if slo.limits and goal.figure != SLO_SCORE:
        raise TaskError(f"soft limits need the objective minimize or maximize {SLO_SCORE}", field="slo.limits")
    for field, figure in () if slo.limits else _named(goal):
        if figure == SLO_SCORE:
            raise TaskError(
                f"{SLO_SCORE} needs soft limits, such as slo: {{figure: e2e_latency, limits: {{ttft_mean_s <= 1: 2}}}}",
                field=field,
            )


def _require_load(goal: Objective, workload: Workload) -> None:
    """Raise TaskError if a highest load is asked for that no limit bounds, or a search for another objective."""
    if goal.figure != MAX_CONCURRENCY:
        if workload.load_search.high is not None:
            raise TaskError(
                f"a load search needs the objective maximize {MAX_CONCURRENCY}", field="workload.load_search"
            )
        return
    if goal.direction == "minimize" or goal.level is not None:
        wrong = "it is maximized, at the best level" if goal.level is None else "it is the level itself: omit at"
        raise TaskError(f"{MAX_CONCURRENCY} is the highest load that keeps every limit: {wrong}", field="objective")
    if not any(map(limits_load, goal.limits)):
        raise TaskError(
            f"{MAX_CONCURRENCY} needs a limit that a heavier load breaks, such as ttft_p90_s <= 0.5", field="limits"
        )


def _named(goal: Objective) -> Iterator[tuple[str, str]]:
    """Yield the fields of a task that name a figure, each with the figure."""
    for i, one in enumerate(goal.every):
        yield f"objectives[{i}]" if goal.others else "objective", one.figure
    for i, limit in enumerate(goal.limits):
        yield f"limits[{i}]", limit.figure
