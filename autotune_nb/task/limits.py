"""The limits of a task, of which some bound the levels of one scenario only."""

from __future__ import annotations

from dataclasses import replace

from autotune_nb.errors import TaskError
from autotune_nb.task.scenario import canonical_scenario
from autotune_nb.task.workload import Workload
from autotune_nb.trial.measurement import Level
from autotune_nb.trial.score import Limit


def of_workload(limit: Limit, workload: Workload, level: Level | None, *, field: str) -> Limit:
    """Return a limit with its scenario as the workload writes it.

    ``level`` is the one at which the objective is read, None for the best. Raises TaskError for a scenario whose levels
    the task does not read.
    """
    if not limit.scenario:
        return limit
    try:
        scenario = canonical_scenario(limit.scenario)
    except ValueError as error:
        raise TaskError(str(error), field=field) from None
    if scenario not in workload.scenarios:
        known = "; ".join(workload.scenarios)
        raise TaskError(f"no level has the scenario {scenario}; those of the workload are {known}", field=field)
    if level is not None and level.scenario != scenario:
        raise TaskError(
            f"it bounds levels of {scenario}, and objective.at reads {level} only; omit one of the two", field=field
        )
    return replace(limit, scenario=scenario)
