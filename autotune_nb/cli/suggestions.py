"""Suggested configurations as text and as JSON, for the command ``show``."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

from autotune_nb.cli.output import print_stderr
from autotune_nb.trial.formatting import interval_text
from autotune_nb.trial.trial import configuration_text

if TYPE_CHECKING:
    from autotune_nb.handle import StudyHandle


def suggestions_of(study: StudyHandle, n: int) -> dict[str, Any]:
    """Return the next ``n`` configurations and what is skipped, as JSON, and print the notes on stderr."""
    from autotune_nb.runner.suggestions import SuggestionWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SuggestionWarning)
        frame = study.suggestions(n)
    for warning in caught:
        print_stderr(f"note: {warning.message}")
    rows = json.loads(frame.reset_index().to_json(orient="records"))
    return {"suggestions": rows, "skipped": study.skipped()}


def suggestions_text(found: dict[str, Any], study: StudyHandle) -> str:
    """Return suggested configurations as text, three lines each, and a line for each skipped region."""
    lines = ["", "next configurations, the first one first:" if found["suggestions"] else "no suggestions"]
    for row in found["suggestions"]:
        lines += _lines(row, study)
    lines += [f"skipped: {text}" for text in found["skipped"]]
    return "\n".join(lines)


def _lines(row: dict[str, Any], study: StudyHandle) -> list[str]:
    figure, parameters = study.task.goal.figure, study.steering.full_space.parameters
    params = {name: row.get(f"param:{name}", row.get(name)) for name in parameters}
    parts = []
    for name in dict.fromkeys((figure, *(limit.figure for limit in study.task.goal.limits))):
        if row[name] is not None:
            parts.append(f"{name} {interval_text(row[name], row[f'{name}_low'], row[f'{name}_high'], name)}")
    gain, kept = row["expected_gain_percent"], row.get("p_limits")
    if gain is not None:
        parts.append(f"expected gain {gain:.1f}%" if gain >= 0.05 else "expected gain below 0.1%")
    parts += [f"keeps the limits with a probability of {kept:.0%}"] if kept is not None else []
    parts += [f"runs with a probability of {row['p_runs']:.0%}"] if row["p_runs"] < _CERTAIN else []
    lines = [row["reason"], *([f"predicted: {'; '.join(parts)}"] if parts else [])]
    return [f"{row['rank']:>4}  {configuration_text(params)}", *(f"      {line}" for line in lines)]


#: From this probability on, it is not worth a word that a configuration may fail.
_CERTAIN = 0.995
