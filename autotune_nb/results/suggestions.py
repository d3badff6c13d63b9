"""Suggested configurations as a DataFrame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotune_nb.trial.score import Objective

if TYPE_CHECKING:
    import pandas as pd

    from autotune_nb.search import Proposal


def suggestions_frame(proposals: Sequence[Proposal], parameters: Sequence[str], objective: Objective) -> pd.DataFrame:
    """Return a table with one row per configuration, the first to try first, indexed by rank.

    The columns are the predicted value of the objective's figure and its 90 % interval (``FIGURE_low``,
    ``FIGURE_high``), the expected gain over the best in percent of its value, a column per parameter (``param:NAME``
    if NAME is another column), the figure of each limit and its interval, the probability that every limit is kept and
    that the trial runs, its predicted seconds, and the reason. What is not predicted is NaN.
    """
    import pandas as pd

    limits = {limit.figure: place for place, limit in enumerate(objective.limits) if limit.figure != objective.figure}
    first = [*_interval(objective.figure), "expected_gain_percent"]
    last = [column for name in limits for column in _interval(name)]
    last += [*(["p_limits"] if objective.limits else []), "p_runs", "seconds"]
    taken = {*first, *last, "rank", "reason"}
    column = {name: f"param:{name}" if name in taken else name for name in parameters}
    rows = []
    for rank, one in enumerate(proposals, 1):
        known = one.value is not None
        row: dict[str, Any] = {"rank": rank, "reason": one.reason, "p_runs": one.p_start}
        row |= {column[name]: value for name, value in one.params.items()}
        row["expected_gain_percent"] = math.nan if one.gain is None else round(100 * one.gain, 2)
        row["p_limits"] = one.p_limits if known else math.nan
        row["seconds"] = math.nan if one.seconds is None else one.seconds
        predicted = {objective.figure: (one.value, *one.interval)} if known and one.interval else {}
        predicted |= {name: one.limits[place] for name, place in limits.items() if one.limits}
        for name in (objective.figure, *limits):
            row |= zip(_interval(name), predicted.get(name, (math.nan,) * 3), strict=True)
        rows.append(row)
    frame = pd.DataFrame(rows, columns=["rank", *first, *column.values(), *last, "reason"]).set_index("rank")
    frame = frame.astype(dict.fromkeys([*first, *last], float))
    # More digits than a prediction has would only make it hard to read.
    for name in [*first, *last]:
        frame[name] = frame[name].map(lambda value: float(f"{value:.4g}"))
    return frame


def _interval(figure: str) -> tuple[str, str, str]:
    return figure, f"{figure}_low", f"{figure}_high"
