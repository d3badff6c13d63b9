"""The Pareto front of a study with several objectives, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotune_nb.trial.configuration import best_configuration, pareto_front
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    import pandas as pd


def front_frame(trials: Sequence[Trial], objective: Objective) -> pd.DataFrame:
    """Return one row per configuration of the Pareto front, by the first objective, indexed by the trial's number.

    The columns are the mean of its starts for each objective, whether it is the knee, the number of starts, the level
    at which they were read if the levels differ, and a column per parameter (``param:NAME`` if NAME is another column).
    With one objective it has the best one only.
    """
    import pandas as pd

    best = best_configuration(trials, objective)
    front = pareto_front(trials, objective) if objective.others else [best] if best is not None else []
    names = list(dict.fromkeys(name for one in front for name in one.params))
    several = len({one.level for one in front}) > 1
    own = [*objective.figures, "knee", "starts", *(["level"] if several else [])]
    column = {name: f"param:{name}" if name in (*own, "number") else name for name in names}
    rows: list[dict[str, Any]] = [
        {
            "number": one.trial.number,
            **one.figures,
            "knee": one == best,
            "starts": len(one.complete),
            **({"level": str(one.level)} if several else {}),
            **{column[name]: one.params.get(name) for name in names},
        }
        for one in front
    ]
    return pd.DataFrame(rows, columns=["number", *own, *column.values()]).set_index("number")
