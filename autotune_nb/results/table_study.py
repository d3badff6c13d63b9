"""A table of trials as a study without a folder: ``run.trials``, or measurements in long form, as a frame or a CSV."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.errors import StudyError
from autotune_nb.recorded.file import read_frame
from autotune_nb.recorded.long_table import read_long_table
from autotune_nb.results._fitting import with_plain_types
from autotune_nb.results._result_folders import Source
from autotune_nb.results.derived_task import default_objective, derived_task, scored_trial
from autotune_nb.results.table import NOT_PARAMETERS
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import FIGURES, QUALITY, STEADY
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

_LIMIT = re.compile(r"\w+ [<>]= \S.*")
#: Columns of a table of trials under their names in the long form.
_LONG = {"number": "config_id", "state": "status", "failure": "reason", "level": "level"}
_PARAM = "param:"


@dataclass(frozen=True)
class TableStudy:
    """The trials of a table, with the task that is derived from them."""

    task: Task
    space: SearchSpace
    trials: tuple[Trial, ...]


def read_table_study(
    table: pd.DataFrame | Path,
    *,
    objective: str | Sequence[str] | None = None,
    limits: Sequence[str] = (),
) -> TableStudy:
    """Read a table of trials.

    ``objective`` and ``limits`` are written as in a task. Default: those of ``run.trials``, whose columns have them;
    for measurements in long form ``maximize output_tokens_per_s`` without limits. Trials that have not ended are left
    out. Raises StudyError if it is no such table, TaskError for an invalid objective or limit.
    """
    name = str(table) if isinstance(table, Path) else "the DataFrame"
    frame = read_frame(table) if isinstance(table, Path) else table
    frame = frame.reset_index() if frame.index.name == "number" else frame
    columns = list(map(str, frame.columns))
    of_trials = {"number", "state"} <= set(columns)
    if not of_trials and not {"config_id", "status"} <= set(columns):
        raise StudyError(
            f"{name} is no table of trials: expected the columns of run.trials (number, state, …) or those that "
            f"autotune-nb export --as csv writes (config_id, status, level, …), "
            f"not {', '.join(columns[:8]) or 'a table without columns'}"
        )
    if repeated := [one for one, count in Counter(columns).items() if count > 1]:
        raise StudyError(f"{name} has several columns {', '.join(repeated[:8])}; keep one of each")
    scores: Mapping[str, Mapping[str, Any]] = {}
    limits_of_table: Sequence[str] = ()
    if of_trials:
        frame = frame[frame["state"].map(str).isin(("complete", "cut", "failed"))]
        rows = frame.to_dict("records")
        scores = {str(row["number"]): {str(name): cell for name, cell in row.items()} for row in rows}
        frame = _long(frame, columns)
        if objective is None:
            objective = [f"{_direction(one)} {one}" for one in _objectives(columns)] or None
        limits_of_table = [one for one in columns if _LIMIT.fullmatch(one)]
    found = Source(with_plain_types(read_long_table(frame, source=name)), [])
    if not found.trials:
        raise StudyError(f"{name} has no trial that ended")
    goal = objective or default_objective(found)
    # The figures of the table's own limits need not be among its columns, which have how far they are broken.
    task = derived_task(name, found, goal, limits)
    names = list(dict.fromkeys(map(str, frame["config_id"])))
    trials = [
        _with_limits(scored_trial(trial, task), scores.get(own, {}), limits_of_table if not limits else ()).with_(
            number=_number(own, trial.number)
        )
        for own, trial in zip(names, found.trials, strict=True)
    ]
    return TableStudy(task, space_for(task, engine_for(task)), tuple(trials))


def _objectives(columns: Sequence[str]) -> list[str]:
    """Return the figures of the objectives, with which the columns of ``run.trials`` begin after their role."""
    first = [name for name in columns if name not in ("number", "state", "role")]
    end = next((i for i, name in enumerate(first) if name not in FIGURES or name in QUALITY), len(first))
    return first[:end]


def _direction(figure: str) -> str:
    return "minimize" if (re.search(r"_s$", figure) and "per_s" not in figure) or "usd" in figure else "maximize"


def _long(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the cells of ``run.trials`` under the names of the long form, without what is computed from them."""
    names = {}
    for name in columns:
        if name in _LONG or name in FIGURES or name in STEADY:
            names[name] = _LONG.get(name, name)
        elif name not in NOT_PARAMETERS and not _LIMIT.fullmatch(name):
            names[name] = name if name.startswith(_PARAM) else f"{_PARAM}{name}"
    return frame[list(names)].rename(columns=names)


def _with_limits(trial: Trial, row: Mapping[str, Any], limits: Sequence[str]) -> Trial:
    """Return the trial with its row's limits in its score."""
    if trial.score is None or not limits:
        return trial
    broken = {name: float(row[name]) for name in limits if _is_known(row.get(name))}
    return trial.with_(score=replace(trial.score, limits=broken))


def _is_known(cell: Any) -> bool:
    return cell not in (None, "") and cell == cell


def _number(name: str, other: int) -> int:
    return int(name) if name.isdecimal() and len(name) < 10 else other
