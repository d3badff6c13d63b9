"""What a study stores in Optuna's user attributes: edits, fingerprints, and what is known of its runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from autotune_nb.study._stored_study import LastRun
from autotune_nb.study.fingerprint import fingerprint_key
from autotune_nb.study.steering import Edit, EditKind
from autotune_nb.study.worker import RunCommand

if TYPE_CHECKING:
    import optuna

_EDIT, _FINGERPRINT, _ELAPSED = "edit:", "fingerprint:", "elapsed_s"
_END_REASON, _RUN, _COMMAND, _TRIAL_COMMAND = "end_reason", "run", "command", "command:"


def read_edits(attributes: Mapping[str, Any]) -> list[Edit]:
    """Return the edits of the study, made by any process; those of a kind that a later version added are skipped."""
    stored = (value for key, value in attributes.items() if key.startswith(_EDIT))
    return [Edit.from_dict(value) for value in stored if value["kind"] in list(EditKind)]


def write_edit(study: optuna.Study, edit: Edit) -> None:
    """Store an edit under its own key, so that two processes never overwrite each other's."""
    study.set_user_attr(_EDIT + edit.id, edit.to_dict())


def read_fingerprints(attributes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the fingerprints by their keys."""
    return {k.removeprefix(_FINGERPRINT): v for k, v in attributes.items() if k.startswith(_FINGERPRINT)}


def write_fingerprint(study: optuna.Study, fingerprint: Mapping[str, Any]) -> None:
    """Store a fingerprint under its key, which trials refer to."""
    study.set_user_attr(_FINGERPRINT + fingerprint_key(fingerprint), dict(fingerprint))


def read_elapsed(attributes: Mapping[str, Any]) -> float:
    """Return the total duration of the study's runs in seconds. Raises ValueError if the stored value is invalid."""
    elapsed_s = attributes.get(_ELAPSED, 0.0)
    if not (isinstance(elapsed_s, int | float) and 0 <= elapsed_s < math.inf):
        raise ValueError(f"{_ELAPSED} is {elapsed_s!r}; expected seconds")
    return float(elapsed_s)


def write_elapsed(study: optuna.Study, seconds: float) -> None:
    """Store the total duration of all runs in seconds."""
    study.set_user_attr(_ELAPSED, round(seconds, 3))


def read_end_reason(attributes: Mapping[str, Any]) -> str:
    """Return why the last run ended by itself; empty if none did."""
    return str(attributes.get(_END_REASON, ""))


def write_end_reason(study: optuna.Study, reason: str) -> None:
    """Store why a run ended by itself."""
    study.set_user_attr(_END_REASON, reason)


def read_run(attributes: Mapping[str, Any]) -> LastRun | None:
    """Return what the last run stored of itself; None if an earlier version ran it. Raises ValueError or TypeError."""
    stored = attributes.get(_RUN)
    return None if stored is None else LastRun.from_dict(stored)


def write_run(study: optuna.Study, run: LastRun) -> None:
    """Store the state of the last run, and the command line of the best trial as it wrote it."""
    study.set_user_attr(_RUN, run.to_dict())


def read_command(attributes: Mapping[str, Any]) -> RunCommand | None:
    """Return the last command for all workers; None if there was none."""
    stored = attributes.get(_COMMAND)
    return None if stored is None else _command(stored)


def read_trial_commands(attributes: Mapping[str, Any]) -> list[RunCommand]:
    """Return the last command for each trial that got one."""
    return [_command(value) for key, value in attributes.items() if key.startswith(_TRIAL_COMMAND)]


def _command(stored: Mapping[str, Any]) -> RunCommand:
    return RunCommand(str(stored["kind"]), str(stored["by"]), str(stored["id"]), stored.get("trial"))


def write_command(study: optuna.Study, command: RunCommand) -> None:
    """Store a command for all workers; that for a trial replaces no other."""
    key = _COMMAND if command.trial is None else f"{_TRIAL_COMMAND}{command.trial}"
    study.set_user_attr(key, asdict(command))
