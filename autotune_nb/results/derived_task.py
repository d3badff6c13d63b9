"""The task of results that have none: derived from their parameters and levels, with a placeholder as its engine."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotune_nb.errors import Failure, FailureKind, MeasurementError
from autotune_nb.results._result_folders import Source
from autotune_nb.task.external_results import IMPORTED_COMMAND
from autotune_nb.task.task import Task
from autotune_nb.task.workload import BATCH_TASKS
from autotune_nb.trial.load import levels_to_score
from autotune_nb.trial.score import score
from autotune_nb.trial.trial import Trial, TrialState

_MAX_CHOICES = 50


def default_objective(found: Source) -> str:
    """Return the objective of a task without one: the output's throughput, or the input's where there is no output."""
    if found.kind.endswith("-to-text"):
        return "maximize output_tokens_per_s"
    figures = {name for trial in found.trials for m in trial.measurements for name in m.figures}
    chosen = next((one for one in ("input_tokens_per_s", "requests_per_s") if one in figures), "output_tokens_per_s")
    if chosen != "output_tokens_per_s":
        found.notes.append(f"{found.kind} has no output tokens: the objective is maximize {chosen}, unless --objective")
    return f"maximize {chosen}"


def derived_task(source: str, found: Source, objective: str | Sequence[str], limits: Sequence[str]) -> Task:
    """Return a task with the parameters and the workload of results; ``source`` is the name of their file or folder."""
    values: dict[str, list[Any]] = {}
    for trial in found.trials:
        for name, value in trial.params.items():
            values.setdefault(name, []).append(value)
    set_by_all = [t.params.keys() for t in found.trials if not t.baseline]
    parameters = {
        name: _parameter(seen if all(name in own for own in set_by_all) else [*seen, None])
        for name, seen in values.items()
    }
    levels = list(dict.fromkeys(m.level for trial in found.trials for m in trial.measurements))
    by_batch = any(level.batch_size > 1 for level in levels)
    goals = [objective] if isinstance(objective, str) else list(objective)
    title = re.sub(r"[/\\\x00-\x1f]", "_", Path(source).stem.strip())[:60] or "imported"
    return Task.parse(
        {
            "name": title,
            "description": f"imported from {Path(source).name}",
            "model": found.model,
            "engine": {"kind": "command", "command": IMPORTED_COMMAND},
            "parameters": parameters,
            "workload": {
                "task": BATCH_TASKS[0] if by_batch else found.kind,
                "scenarios": list(dict.fromkeys(level.scenario for level in levels)) or ["dataset"],
                "concurrency": sorted({level.concurrency for level in levels}) or [1],
                "batch_sizes": sorted({level.batch_size for level in levels}) or [1],
                "rate": sorted({level.rate for level in levels if level.rate}),
            },
            "benchmark": {"kind": "aiperf"} if any(level.rate for level in levels) else {},
            "objective": goals[0],
            "objectives": goals if len(goals) > 1 else [],
            "limits": list(limits),
            "budget": {"trials": len(found.trials), "baseline": any(t.baseline for t in found.trials)},
            "deploy": {"gpus_per_trial": found.gpus},
        }
    )


def _parameter(values: Sequence[Any]) -> dict[str, Any]:
    """Return a choice of the values, or for very many numbers their range."""
    # 1, 1.0 and True are equal in Python, but different flags.
    distinct = list({json.dumps(value, sort_keys=True): value for value in values}.values())
    if len(distinct) > _MAX_CHOICES and all(isinstance(v, int | float) and not isinstance(v, bool) for v in distinct):
        whole = all(isinstance(value, int) for value in distinct)
        return {"type": "int" if whole else "float", "low": min(distinct), "high": max(distinct)}
    return {"type": "choice", "values": distinct}


def scored_trial(trial: Trial, task: Task) -> Trial:
    """Return a complete trial with its score; as failed where it has no score."""
    if trial.state is not TrialState.COMPLETE:
        return trial
    try:
        scored = score(levels_to_score(trial.measurements, task.goal), task.goal)
    except MeasurementError as error:
        return trial.with_(state=TrialState.FAILED, failure=error.failure)
    wrong = next((name for name, value in scored.values.items() if not math.isfinite(value)), None)
    if wrong is not None:
        failure = Failure(FailureKind.MEASUREMENT, "benchmark", f"{wrong} is not a finite number")
        return trial.with_(state=TrialState.FAILED, failure=failure)
    return trial.with_(score=scored)
