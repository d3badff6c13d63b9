"""A study as JSON, the content of ``results.json`` and ``--json``, and its trials read from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune_nb.study._stored_study import LastRun, StoredStudy
from autotune_nb.study._trial_json import common_fields, require_numbers
from autotune_nb.study.fingerprint import fingerprint_key
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.task.budget import Confirm
from autotune_nb.task.file import task_data
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.configuration import pareto_front
from autotune_nb.trial.cost import cost_of
from autotune_nb.trial.limiting_factor import limiting_factor
from autotune_nb.trial.score import Objective, Score
from autotune_nb.trial.trial import Trial
from autotune_nb.verdict import chosen_configuration, study_verdict


def to_results(
    folder: Path,
    task: Task,
    trials: Sequence[Trial],
    trial_numbers_by_edit: Mapping[str, int],
    edits: Sequence[Edit],
    *,
    state: str,
    elapsed_s: float,
    end_reason: str,
    command: Callable[[Trial], str | None],
) -> dict[str, Any]:
    """Return the study's results.

    ``trial_numbers_by_edit`` has the number of the trial of an enqueued configuration, by the id of its edit;
    ``command`` returns the command line of the best trial.
    """
    # Hashed once each: trials share their fingerprints, which are long.
    fingerprints = {id(t.fingerprint): t.fingerprint for t in trials}
    keys = {identity: fingerprint_key(one) for identity, one in fingerprints.items()}
    return {
        "study": str(folder),
        "task": {
            **task_data(task, expanded=True),
            **({"expanded_presets": [one.written for one in task.expanded_presets]} if task.expanded_presets else {}),
        },
        "state": state,
        "trials": [{**t.to_dict(), "fingerprint": keys[id(t.fingerprint)], **_limited_by(t)} for t in trials],
        "fingerprints": {keys[identity]: dict(one) for identity, one in fingerprints.items() if one},
        "edits": [_edit_data(edit, trial_numbers_by_edit.get(edit.id)) for edit in edits],
        "best": best_data(trials, task.goal, command, task.confirmation),
        "verdict": study_verdict(trials, task.goal, task.confirmation).to_dict(),
        **front_data(trials, task.goal),
        "elapsed_s": round(elapsed_s, 3),
        **({"cost": cost} if (cost := cost_of(trials, task.price).to_dict()) else {}),
        "end_reason": end_reason,
    }


def best_data(
    trials: Sequence[Trial],
    objective: Objective,
    command: Callable[[Trial], str | None],
    rules: Confirm | None = None,
) -> dict[str, Any] | None:
    """Return the best configuration with its command line, or None; ``values`` are means over its starts.

    With several objectives it is the knee of the Pareto front.
    """
    best = chosen_configuration(trials, objective, rules)
    if best is None:
        return None
    return {
        "number": best.trial.number,
        "params": dict(best.params),
        "values": best.figures,
        "command": command(best.trial),
    }


def front_data(trials: Sequence[Trial], objective: Objective) -> dict[str, Any]:
    """Return the Pareto front of several objectives under ``front``, by the first one; empty with one objective."""
    if not objective.others:
        return {}
    front = pareto_front(trials, objective)
    return {"front": [{"number": one.trial.number, "params": dict(one.params), "values": one.figures} for one in front]}


def _limited_by(trial: Trial) -> dict[str, str]:
    return {"limited_by": text} if (text := limiting_factor(trial)) else {}


def _edit_data(edit: Edit, trial: int | None) -> dict[str, Any]:
    return edit.to_dict() if trial is None else {**edit.to_dict(), "trial": trial}


def trial_from_results(data: Mapping[str, Any], fingerprints: Mapping[str, Mapping[str, Any]]) -> Trial:
    """Return a trial read from ``results.json``, equal to the one in the study's database."""
    common = common_fields(data)
    level = next((m.level for m in common["measurements"] if str(m.level) == data["level"]), None)
    return Trial(
        **common,
        number=data["number"],
        params=data["params"],
        score=Score(data["values"], data["limits"], level) if data["values"] else None,
        baseline=data["baseline"],
        fingerprint=fingerprints.get(data["fingerprint"], {}),
        attempts=data["attempts"],
        reason=data.get("reason", ""),
        confirmation=(data["confirmation"][0], data["confirmation"][1]) if data.get("confirmation") else None,
        worker=data.get("worker", ""),
    )


def read_results(results: Mapping[str, Any], task: Task, space: SearchSpace) -> StoredStudy:
    """Return the study of a ``results.json``.

    Raises LookupError, TypeError, ValueError or AttributeError if it is damaged.
    """
    trials = tuple(trial_from_results(one, results["fingerprints"]) for one in results["trials"])
    for trial in trials:
        require_numbers(trial)
    edits = results["edits"]
    return StoredStudy(
        trials=trials,
        steering=Steering(task, space, [Edit.from_dict(one) for one in edits]),
        trial_numbers_by_edit={edit["id"]: edit["trial"] for edit in edits if "trial" in edit},
        elapsed_s=float(results["elapsed_s"]),
        # Earlier versions wrote none.
        end_reason=str(results.get("end_reason", "")),
        last_run=LastRun.from_dict(results),
    )
