"""What a study ran on, said once: what all trials have in common, and of what differs which trials had what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune_nb.trial.formatting import numbers_text
from autotune_nb.trial.trial import Trial

#: Of more values than these the most frequent are told.
_MAX_VALUES = 6
#: What is a trial's own, and stands in its command; an earlier version kept it here.
_OF_TRIAL = ("args",)
#: The machine that ran the study, where the engine ran elsewhere.
_DRIVER = "driver"


@dataclass(frozen=True)
class SetUp:
    """``rows`` are names and what is known of each, a text for each value; ``driven`` says that the engine ran
    elsewhere than the study, whose machine is ``driver``."""

    rows: tuple[tuple[str, tuple[str, ...]], ...]
    driven: bool


def set_up(trials: Sequence[Trial]) -> SetUp | None:
    """What the trials were measured on; None where nothing is known of it."""
    # Trials share their fingerprints, each of which is long.
    flat = {id(t.fingerprint): dict(_flat(_said(t.fingerprint))) for t in trials if t.fingerprint}
    told = [(t, flat[id(t.fingerprint)]) for t in trials if t.fingerprint]
    if not told:
        return None
    names = dict.fromkeys(name for rows in flat.values() for name in rows)
    rows = [(name, _values(name, told)) for name in sorted(names, key=_is_driver)]
    return SetUp(tuple(rows), driven=any(map(_is_driver, names)))


def _values(name: str, told: Sequence[tuple[Trial, Mapping[str, str]]]) -> tuple[str, ...]:
    """One text where all have the same, otherwise each value with its trials."""
    found: dict[str, list[Trial]] = {}
    for trial, rows in told:
        if name in rows:
            found.setdefault(rows[name], []).append(trial)
    # A trial that failed may have ended before it was known where.
    lacking = any(name not in rows for trial, rows in told if trial.failure is None)
    if len(found) == 1 and not lacking:
        return tuple(found)
    ranked = sorted(found.items(), key=lambda item: -len(item[1]))
    values = [f"{value} ({numbers_text(own, 4)})" for value, own in ranked[:_MAX_VALUES]]
    left = len(ranked) - _MAX_VALUES
    return (*values, *([f"and {left:,} other values"] if left > 0 else ()))


def _said(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """A fingerprint with its GPUs in words: that there were none is an answer, too."""
    # Copies: it is the record itself.
    said = {name: dict(one) if name == _DRIVER else one for name, one in fingerprint.items() if name not in _OF_TRIAL}
    for machine in (said, said.get(_DRIVER, {})):
        if machine.get("gpus") == []:
            # On a machine nobody but NVIDIA's own tool was asked; a pod tells what it was given.
            machine["gpus"] = "no GPU" if "node" in machine else "no GPU (nvidia-smi lists none)"
    if _DRIVER not in said:
        said.setdefault("gpus", "not known")
    return said


def _is_driver(name: str) -> bool:
    return name.startswith(f"{_DRIVER}.")


def _flat(data: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(data, dict):
        return [row for key, value in data.items() for row in _flat(value, f"{name}.{key}" if name else str(key))]
    if isinstance(data, list) and not any(isinstance(one, dict | list) for one in data):
        return [(name, ", ".join(map(str, data)))] if data else []
    # Nothing is said of what is not known.
    if data is None or data == "":
        return []
    return [(name, data if isinstance(data, str) else json.dumps(data, ensure_ascii=False))]
