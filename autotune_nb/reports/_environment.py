"""The environment of a study's trials: properties that all trials share, and those that differ with their trials."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune_nb.trial.formatting import numbers_text
from autotune_nb.trial.trial import Trial

#: The most values of a property that are shown, the most frequent first.
_MAX_VALUES = 6
#: Properties that an old version stored here; they differ by trial and are part of its command.
_OF_TRIAL = ("args",)
#: The prefix for the machine that ran the study, if the engine ran on another one.
_DRIVER = "driver"


@dataclass(frozen=True)
class Environment:
    """The properties of an environment: ``rows`` are names, each with one text per value.

    ``remote`` is True if the engine ran on another machine than the study, whose properties start with ``driver``.
    """

    rows: tuple[tuple[str, tuple[str, ...]], ...]
    remote: bool


def environment_of(trials: Sequence[Trial]) -> Environment | None:
    """Return the environment in which the trials were measured, or None if it is unknown."""
    # Thousands of trials share a few fingerprints, each of which is long.
    shared: dict[int, list[Trial]] = {}
    for trial in trials:
        if trial.fingerprint:
            shared.setdefault(id(trial.fingerprint), []).append(trial)
    known = [(own, dict(_flat(_readable(own[0].fingerprint)))) for own in shared.values()]
    if not known:
        return None
    names = dict.fromkeys(name for _, rows in known for name in rows)
    rows = [(name, _values(name, known)) for name in sorted(names, key=_is_driver)]
    return Environment(tuple(rows), remote=any(map(_is_driver, names)))


def _values(name: str, known: Sequence[tuple[Sequence[Trial], Mapping[str, str]]]) -> tuple[str, ...]:
    """Return one text if all trials have the same value, otherwise each value with its trials."""
    found: dict[str, list[Trial]] = {}
    for own, rows in known:
        if name in rows:
            found.setdefault(rows[name], []).extend(own)
    # A failed trial may have ended before its environment was known.
    lacking = any(name not in rows and any(trial.failure is None for trial in own) for own, rows in known)
    if len(found) == 1 and not lacking:
        return tuple(found)
    for same in found.values():
        same.sort(key=lambda trial: trial.number)
    ranked = sorted(found.items(), key=lambda item: (-len(item[1]), item[1][0].number))
    values = [f"{value} ({numbers_text(own, 4)})" for value, own in ranked[:_MAX_VALUES]]
    left = len(ranked) - _MAX_VALUES
    return (*values, *([f"and {left:,} other values"] if left > 0 else ()))


def _readable(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a fingerprint with its GPUs in words, also if there are none."""
    data = {name: dict(one) if name == _DRIVER else one for name, one in fingerprint.items() if name not in _OF_TRIAL}
    for machine in (data, data.get(_DRIVER, {})):
        if machine.get("gpus") == []:
            # On a local machine only nvidia-smi was queried; a pod's GPUs are known from its spec.
            machine["gpus"] = "no GPU" if "node" in machine else "no GPU (nvidia-smi lists none)"
    if _DRIVER not in data:
        data.setdefault("gpus", data.pop("num_gpus", "unknown"))
    return data


def _is_driver(name: str) -> bool:
    return name.startswith(f"{_DRIVER}.")


def _flat(data: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(data, dict):
        return [row for key, value in data.items() for row in _flat(value, f"{name}.{key}" if name else str(key))]
    if isinstance(data, list) and not any(isinstance(one, dict | list) for one in data):
        return [(name, ", ".join(map(str, data)))] if data else []
    # Unknown properties are omitted.
    if data is None or data == "":
        return []
    if name.endswith("bytes") and isinstance(data, int):
        return [(name, f"{data:,} ({data / 1e9:.1f} GB)" if data >= 1e9 else f"{data:,}")]
    return [(name, data if isinstance(data, str) else json.dumps(data, ensure_ascii=False))]
