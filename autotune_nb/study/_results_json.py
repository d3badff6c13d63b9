"""A whole study as one JSON value, as ``results.json`` and ``--json`` have it, and its trials out of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune_nb.study._trial_json import common_fields
from autotune_nb.study.fingerprint import fingerprint_key
from autotune_nb.study.steering import Edit
from autotune_nb.task.file import task_data
from autotune_nb.task.task import Task
from autotune_nb.trial.score import Score
from autotune_nb.trial.trial import Trial, best_trial


def to_results(
    folder: Path,
    task: Task,
    trials: Sequence[Trial],
    begun: Mapping[str, int],
    edits: Sequence[Edit],
    *,
    state: str,
    elapsed_s: float,
    command: str | None,
) -> dict[str, Any]:
    """The study's results; ``begun`` says which trial an edit's configuration became, ``command`` is the best one's."""
    best = best_trial(trials, task.goal)
    # Trials share their fingerprints, each of which is a long text.
    prints = {id(t.fingerprint): t.fingerprint for t in trials}
    names = {identity: fingerprint_key(one) for identity, one in prints.items()}
    return {
        "study": str(folder),
        "task": task_data(task),
        "state": state,
        "trials": [{**t.to_dict(), "fingerprint": names[id(t.fingerprint)]} for t in trials],
        "fingerprints": {names[identity]: dict(one) for identity, one in prints.items() if one},
        "edits": [{**edit.to_dict(), **({"trial": begun[edit.id]} if edit.id in begun else {})} for edit in edits],
        "best": {
            "number": best.number,
            "params": dict(best.params),
            "values": dict(best.score.values) if best.score else {},
            "command": command,
        }
        if best is not None
        else None,
        "elapsed_s": round(elapsed_s, 3),
    }


def trial_from_results(data: Mapping[str, Any], fingerprints: Mapping[str, Mapping[str, Any]]) -> Trial:
    """A trial out of ``results.json``, equal to the one in the study's database."""
    kept = common_fields(data)
    level = next((m.level for m in kept["measurements"] if str(m.level) == data["level"]), None)
    return Trial(
        **kept,
        number=data["number"],
        params=data["params"],
        score=Score(data["values"], data["limits"], level) if data["values"] else None,
        baseline=data["baseline"],
        fingerprint=fingerprints.get(data["fingerprint"], {}),
        attempts=data["attempts"],
    )
