"""The Pareto front of a study with several objectives, as a table and in a sentence or two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotune_nb.trial.configuration import (
    Configuration,
    best_configuration,
    configuration_key,
    default_configuration,
    pareto_front,
)
from autotune_nb.trial.formatting import params_text, value_text
from autotune_nb.trial.pareto import dominates
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    import pandas as pd


def front_frame(trials: Sequence[Trial], objective: Objective) -> pd.DataFrame:
    """Return one row per configuration of the Pareto front, by the first objective, indexed by the trial's number.

    The columns are the mean of its starts for each objective, whether it is the knee, the number of starts, and a
    column per parameter (``param:NAME`` if NAME is another column). With one objective it has the best one only.
    """
    import pandas as pd

    best = best_configuration(trials, objective)
    front = pareto_front(trials, objective) if objective.others else [best] if best is not None else []
    names = list(dict.fromkeys(name for one in front for name in one.params))
    own = [*objective.figures, "knee", "starts"]
    column = {name: f"param:{name}" if name in (*own, "number") else name for name in names}
    rows: list[dict[str, Any]] = [
        {
            "number": one.trial.number,
            **one.figures,
            "knee": one == best,
            "starts": len(one.complete),
            **{column[name]: one.params.get(name) for name in names},
        }
        for one in front
    ]
    return pd.DataFrame(rows, columns=["number", *own, *column.values()]).set_index("number")


def values_text(one: Configuration, objective: Objective) -> str:
    """Format the values of a configuration, one per objective."""
    return ", ".join(f"{value_text(one.figures[name], name)} ({name})" for name in objective.figures)


def front_text(trials: Sequence[Trial], knee: Trial, objective: Objective) -> str:
    """Return in words how many configurations are on the front, which is its knee, and where the default is."""
    front = pareto_front(trials, objective)
    best = next(one for one in front if configuration_key(one.trial) == configuration_key(knee))
    starts = f"; {best.starts_text}" if best.starts_text else ""
    several = f"{len(front)} configurations are" if len(front) > 1 else "One configuration is"
    names = " and ".join(filter(None, (", ".join(objective.figures[:-1]), objective.figures[-1])))
    text = f"{several} on the Pareto front of {names}. "
    text += f"Its knee is trial {best.trial.number} with {values_text(best, objective)}"
    text += f", under {knee.score.level}{starts}" if knee.score and knee.score.level else starts
    text += f": {params_text(best.trial)}."
    default = default_configuration(trials)
    if default is None or default.trial.number == best.trial.number:
        return text
    text += f" The engine's default ({values_text(default, objective)}) "
    if not default.feasible:
        return f"{text}breaks {', '.join(name for name, by in default.limits.items() if by > 0) or 'a limit'}."
    own = [default.figures[name] for name in objective.figures]
    better = sum(
        1 for one in front if dominates([one.figures[name] for name in objective.figures], own, objective.every)
    )
    if not better:
        return f"{text}is on the front."
    return f"{text}is not: {better} of them {'are' if better > 1 else 'is'} better in every objective, or equal."
