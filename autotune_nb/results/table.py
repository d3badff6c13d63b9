"""DataFrames of trials and measurements, and the verdict in a sentence or two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotune_nb.results.front import front_text
from autotune_nb.trial.configuration import configuration_key, configurations, default_configuration, pareto_front
from autotune_nb.trial.drift import drift_text
from autotune_nb.trial.formatting import params_text, value_text
from autotune_nb.trial.score import Objective, Score
from autotune_nb.trial.trial import Trial, TrialState

if TYPE_CHECKING:
    import pandas as pd


def trials_frame(trials: Sequence[Trial], objective: Objective) -> pd.DataFrame:
    """Return a table with one row per trial, indexed by number.

    The columns are the state, the figure of each objective, whether every limit is kept, a column per parameter
    (``param:NAME`` if NAME is another column), the level at which the figures were read, the violation of each limit
    (at most 0 if it is not shown to be broken), seconds of wall time, whether it is the baseline, the failure, why a
    trial was cut, and which limits are undecided. With several objectives, ``pareto`` is whether its configuration is
    on the Pareto front.
    """
    import pandas as pd

    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    limits = list(dict.fromkeys(str(limit) for limit in objective.limits))
    own = {"number", "state", "baseline", "level", "feasible", "seconds", "failure", "cut", "undecided"}
    own |= set(objective.figures)
    # A column of its own only with several objectives.
    pareto = ["pareto"] if objective.others else []
    own |= set(pareto)
    front = {configuration_key(one.trial) for one in pareto_front(trials, objective)} if pareto else set()
    column = {name: f"param:{name}" if name in own else name for name in names}
    rows = []
    for trial in trials:
        row: dict[str, Any] = {"number": trial.number, "state": str(trial.state), "baseline": trial.baseline}
        row |= {column[name]: trial.params.get(name) for name in names}
        row |= {name: trial.score.values.get(name) if trial.score else None for name in objective.figures}
        row["pareto"] = trial.feasible and configuration_key(trial) in front
        row["level"] = str(trial.score.level) if trial.score and trial.score.level else None
        for limit in limits:
            row[limit] = trial.score.limits.get(limit) if trial.score else None
        row["feasible"] = trial.score.feasible if trial.score and trial.state.scored else None
        row["seconds"] = round(sum(trial.seconds.values()), 1)
        row["failure"] = str(trial.failure) if trial.failure else None
        row["cut"] = trial.cut_reason or None
        row["undecided"] = "; ".join(f"{name}: {why}" for name, why in trial.undecided.items()) or None
        rows.append(row)
    columns = ["number", "state", *objective.figures, "feasible", *pareto, *column.values(), "level"]
    # Columns of their own only where a trial was cut, or a limit is undecided.
    notes = [name for name in ("cut", "undecided") if any(row[name] for row in rows)]
    columns += [*limits, "seconds", "baseline", "failure", *notes]
    frame = pd.DataFrame(rows, columns=columns).set_index("number")
    frame = frame.astype(dict.fromkeys(objective.figures, float))
    # Unknown is not False, but the column must still work as a mask.
    frame["feasible"] = frame["feasible"].astype("boolean")
    for name in column.values():
        # Integers stay integers despite the baseline, which sets no parameter.
        if pd.api.types.is_float_dtype(frame[name]) and _all_whole(trials, name.removeprefix("param:")):
            frame[name] = frame[name].astype("Int64")
    return frame


def _all_whole(trials: Sequence[Trial], name: str) -> bool:
    values = [trial.params[name] for trial in trials if trial.params.get(name) is not None]
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def levels_frame(trials: Sequence[Trial]) -> pd.DataFrame:
    """Return a table with one row per trial and load level: a column per parameter (``param:NAME``) and per figure."""
    import pandas as pd

    rows = []
    for trial in trials:
        params = {f"param:{name}": value for name, value in trial.params.items()}
        for measured in trial.measurements:
            row = measured.to_dict()
            for name in ("problems", "beyond", "notes"):
                row.pop(name, None)
            rows.append({"number": trial.number, "state": str(trial.state), **params, **row})
    return pd.DataFrame(rows)


def _at_another_level(best: Score, default: Trial, objective: Objective) -> str:
    """Return the level of the default's score and its value at the level of the best; empty if the levels are equal."""
    assert default.score is not None
    if default.score.level is None or best.level is None or default.score.level == best.level:
        return ""
    there = [
        m.figures[objective.figure]
        for m in default.measurements
        if m.level == best.level and objective.figure in m.figures
    ]
    same = f"; under {best.level} it has {value_text(there[0], objective.figure)}" if there else ""
    return f", its best, under {default.score.level}{same}"


def _nothing_better(trials: Sequence[Trial]) -> str:
    others = [trial for trial in trials if not trial.baseline]
    complete = sum(1 for trial in others if trial.state is TrialState.COMPLETE)
    cut = sum(1 for trial in others if trial.state is TrialState.CUT)
    failed = sum(1 for trial in others if trial.state is TrialState.FAILED)
    if complete or cut:
        counts = [f"{_others(complete)} completed"] if complete else []
        counts += [f"{cut if complete else _others(cut)} cut"] if cut else []
        counts += [f"{failed} failed"] if failed else []
        return f"No other configuration is better ({', '.join(counts)})."
    if failed:
        return f"It is the only one that could be measured: {_others(failed)} failed."
    return "No other configuration was tried."


def _others(count: int) -> str:
    return f"{count} other{'s' * (count != 1)}"


def verdict(trials: Sequence[Trial], best: Trial | None, objective: Objective) -> str:
    """Return a sentence or two on the best configuration, compared with the engine's default if that was measured.

    If recorded measurements were replayed, it begins with REPLAYED and the name of their table. If the default drifted,
    the trials that cannot be compared come before any ratio.
    """
    replayed = next((t.fingerprint["replayed"] for t in trials if "replayed" in t.fingerprint), None)
    text = " ".join(filter(None, (drift_text(trials), _verdict(trials, best, objective))))
    found = configurations(trials).get(configuration_key(best)) if best is not None else None
    open_limits = found.undecided if found is not None else {}
    if open_limits:
        text += f" Undecided: {'; '.join(f'{name} ({why})' for name, why in open_limits.items())}."
    return text if replayed is None else f"REPLAYED from {replayed}: {text}"


def _verdict(trials: Sequence[Trial], best: Trial | None, objective: Objective) -> str:
    if best is None or best.score is None:
        scored = [t for t in trials if t.state.scored]
        if scored:
            return f"None of the {len(scored)} measured trials keeps every limit."
        failed = [t for t in trials if t.failure is not None]
        return f"No trial completed.{f' Trial {failed[-1].number}: {failed[-1].failure}.' if failed else ''}"
    found = configurations(trials)[configuration_key(best)]
    value, of_starts = found.value, found.starts_text
    where = f", under {best.score.level}" if best.score.level else ""
    where += f", {of_starts}" if of_starts else ""
    if objective.others:
        return front_text(trials, best, objective)
    text = f"Best is trial {best.number} with {value_text(value, objective.figure)} ({objective.figure}){where}"
    default = default_configuration(trials)
    if best.baseline:
        return f"{text}: the engine's default configuration. {_nothing_better(trials)}"
    if default is None:
        lost = any(t.baseline and t.state is TrialState.FAILED for t in trials)
        alone = " The engine's default failed, so there is nothing to compare it with." if lost else ""
        return f"{text}: {params_text(best)}.{alone}"
    against = value_text(default.value, objective.figure)
    of_starts = default.starts_text
    against += f", {of_starts}" if of_starts else ""
    level = _at_another_level(best.score, default.trial, objective)
    if not default.feasible:
        broken = ", ".join(name for name, violation in default.limits.items() if violation > 0) or "a limit"
        return f"{text}: {params_text(best)}. The engine's default ({against}{level}) breaks {broken}."
    times = f"{value / default.value:.2f} times" if default.value else "against 0:"
    return f"{text}: {params_text(best)}. That is {times} the engine's default ({against}{level})."
