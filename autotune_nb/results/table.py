"""DataFrames of trials and of measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotune_nb.trial.configuration import best_configuration, configuration_key, pareto_front
from autotune_nb.trial.limiting_factor import limiting_factor
from autotune_nb.trial.load import cliff_text
from autotune_nb.trial.measurement import QUALITY
from autotune_nb.trial.quality import quality_of
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    import pandas as pd


#: What the table of trials has of the steady state of the level at which the figures were read.
LEVEL_COUNTS = ("scored_requests", "unscored_requests", "steady_s", "output_tokens_per_s_error")
#: The columns of a table of trials besides figures, limits and parameters.
NOT_PARAMETERS = frozenset(
    {
        *LEVEL_COUNTS,
        *("number", "state", "role", "limits", "level", "seconds", "failure", "cut", "undecided", "notes"),
        *("limited_by", "round", "feasible", "pareto", "baseline", "worker"),
    }
)


def trials_frame(trials: Sequence[Trial], objective: Objective) -> pd.DataFrame:
    """Return a table with one row per trial, indexed by number.

    The columns are the state, the role ("default", "best", with several objectives "front" and "knee"), the figure of
    each objective, how far the answers agree with the default's if they were compared, whether the limits are "kept",
    "broken" or "undecided", a column per parameter (``param:NAME`` if NAME is another column), the level at which the
    figures were read with its requests that count and that do not, its steady seconds and the standard error of its
    throughput, by how much each limit is broken in the unit of its figure (at most 0 if it is not shown to be broken),
    seconds of wall time, the failure, why a trial was cut, which limits are undecided, what is doubtful in its levels
    and its answers, what limited it according to its engine's metrics, of a confirmation's starts the round (0:
    before the search), and the worker of a shared study. The last columns, ``feasible``, ``pareto`` and ``baseline``,
    are masks to select rows.
    """
    import pandas as pd

    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    # Limits on the answers are checked beside those of the task.
    checked = (name for trial in trials if trial.score for name in trial.score.limits)
    limits = list(dict.fromkeys((*(str(limit) for limit in objective.limits), *checked)))
    measured = {trial.number: one for trial in trials if (one := trial.scored_measurement) is not None}
    steady = [name for name in LEVEL_COUNTS if any(name in one.steady for one in measured.values())]
    own = set(NOT_PARAMETERS)
    own |= set(objective.figures)
    answers = {trial.number: figures for trial in trials if (figures := quality_of(trial))}
    quality = [name for name in QUALITY if any(name in one for one in answers.values()) and name not in own]
    own |= set(quality)
    # A column of its own only with several objectives.
    pareto = ["pareto"] if objective.others else []
    best = best_configuration(trials, objective)
    best_key = None if best is None else configuration_key(best.trial)
    front = {configuration_key(one.trial) for one in pareto_front(trials, objective)} if pareto else set()
    column = {name: f"param:{name}" if name in own else name for name in names}
    rows = []
    for trial in trials:
        row: dict[str, Any] = {"number": trial.number, "state": str(trial.state), "baseline": trial.baseline}
        on_front = trial.feasible and configuration_key(trial) in front
        is_best = trial.feasible and configuration_key(trial) == best_key
        row["role"] = _role(trial, is_best=is_best, on_front=on_front, several=bool(pareto))
        row |= {column[name]: trial.params.get(name) for name in names}
        row |= {name: trial.score.values.get(name) if trial.score else None for name in objective.figures}
        row |= {name: answers.get(trial.number, {}).get(name) for name in quality}
        row["pareto"] = on_front
        row["level"] = str(trial.score.level) if trial.score and trial.score.level else None
        row |= {name: measured[trial.number].steady.get(name) for name in steady if trial.number in measured}
        for limit in limits:
            row[limit] = trial.score.limits.get(limit) if trial.score else None
        row["limits"] = _limits_word(trial)
        row["feasible"] = trial.score.feasible if trial.score and trial.state.scored else None
        row["seconds"] = round(sum(trial.seconds.values()), 1)
        row["failure"] = str(trial.failure) if trial.failure else None
        row["cut"] = trial.cut_reason or None
        row["round"] = trial.confirmation[0] if trial.confirmation is not None else None
        row["undecided"] = "; ".join(f"{name}: {why}" for name, why in trial.undecided.items()) or None
        doubts = [trial.answers, *(f"{one.level}: {note}" for one in trial.measurements for note in one.notes)]
        row["notes"] = "; ".join(filter(None, [*doubts, cliff_text(trial.measurements, objective.limits)])) or None
        row["limited_by"] = limiting_factor(trial) or None
        row["worker"] = trial.worker or None
        rows.append(row)
    columns = ["number", "state", "role", *objective.figures, *quality, "limits", *column.values(), "level", *steady]
    # Columns of their own only where one of them says something.
    notes = [name for name in ("cut", "undecided", "notes", "limited_by", "worker") if any(row[name] for row in rows)]
    confirming = ["round"] if any(trial.confirmation is not None for trial in trials) else []
    columns += [*limits, "seconds", "failure", *notes, *confirming, "feasible", *pareto, "baseline"]
    frame = pd.DataFrame(rows, columns=columns).set_index("number").astype(dict.fromkeys(confirming, "Int64"))
    frame = frame.astype(dict.fromkeys((*objective.figures, *quality, *steady), float))
    frame = frame.astype({name: "Int64" for name in steady if name.endswith("requests")})
    # Unknown is not False, but the column must still work as a mask.
    frame["feasible"] = frame["feasible"].astype("boolean")
    for name in column.values():
        # Integers stay integers despite the baseline, which sets no parameter.
        if pd.api.types.is_float_dtype(frame[name]) and _all_whole(trials, name.removeprefix("param:")):
            frame[name] = frame[name].astype("Int64")
    return frame


def _role(trial: Trial, *, is_best: bool, on_front: bool, several: bool) -> str:
    words = ["default"] if trial.baseline else []
    words += ["knee" if several else "best"] if is_best else ["front"] if on_front else []
    return ", ".join(words)


def _limits_word(trial: Trial) -> str:
    """Return whether a trial keeps its limits; empty without a score or without limits."""
    if trial.score is None or not trial.state.scored or not trial.score.limits:
        return ""
    if not trial.score.feasible:
        return "broken"
    return "undecided" if trial.undecided else "kept"


def _all_whole(trials: Sequence[Trial], name: str) -> bool:
    values = [trial.params[name] for trial in trials if trial.params.get(name) is not None]
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def levels_frame(trials: Sequence[Trial]) -> pd.DataFrame:
    """Return a table with one row per trial and load level: a column per parameter (``param:NAME``) and per figure.

    ``scored_level`` is whether the trial's values were read at the level, ``round`` that of a start of the
    confirmation.
    """
    import pandas as pd

    rows = []
    confirming = any(trial.confirmation is not None for trial in trials)
    for trial in trials:
        params = {f"param:{name}": value for name, value in trial.params.items()}
        for measured in trial.measurements:
            row = measured.to_dict()
            for name in ("problems", "beyond", "notes"):
                row.pop(name, None)
            if trial.score is not None:
                row["scored_level"] = measured.level == trial.score.level
            if confirming:
                row["round"] = trial.confirmation[0] if trial.confirmation is not None else None
            rows.append({"number": trial.number, "state": str(trial.state), **params, **row})
    frame = pd.DataFrame(rows)
    return frame.astype({"round": "Int64"}) if confirming and rows else frame
