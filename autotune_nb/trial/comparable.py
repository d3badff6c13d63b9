"""Whether trials can be compared: not if their environment changed, or other work ran beside some of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

from autotune_nb.trial.clocks import slowed_text
from autotune_nb.trial.drift import numbers_text
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.trial import Trial

#: Properties of a fingerprint on which figures depend, with their titles; those in ``driver`` do not count.
_PROPERTIES = {
    "engine_version": "the engine's version",
    "image_id": "the engine's image",
    "model": "the model",
    "cpu": "the CPU",
    "cpu_count": "the number of CPUs",
    "gpus": "the GPUs",
    "benchmark_version": "genai-bench's version",
    "dataset_sha256": "the prompts of the dataset",
}
#: The share of the CPUs that other work uses for a level to count as disturbed; an engine on GPUs needs fewer of them.
_DISTURBED, _DISTURBED_ON_GPUS = 0.25, 0.75
#: The longest value of a property that is quoted.
_MAX_QUOTED = 40


def company_text(trials: Sequence[Trial]) -> str:
    """Return in sentences which trials with a score were measured beside other work or at lower clocks, if any were."""
    scored = [trial for trial in trials if trial.state.scored and trial.measurements]
    shares = {trial.number: share for trial in scored if (share := disturbance(trial))}
    on_gpus = [trial.number for trial in scored if shares_gpus(trial)]
    found = []
    if shares:
        low, high = (f"{share:.0%}" for share in (min(shares.values()), max(shares.values())))
        used = f"{low if low == high else f'{low} to {high}'} of this machine's CPUs"
        found.append(f"Other processes used {used} during {_which(shares, scored)}")
    if on_gpus:
        found.append(f"Other processes computed on the engine's GPUs during {_which(on_gpus, scored)}")
    return " ".join(filter(None, (*found, slowed_text(trials))))


def _which(disturbed: Collection[int], scored: Sequence[Trial]) -> str:
    if len(disturbed) == len(scored):
        return "every trial: the engine may rank configurations differently when it is alone."
    others = [trial.number for trial in scored if trial.number not in disturbed]
    return f"{_trials(disturbed)}: do not compare {'it' if len(disturbed) == 1 else 'them'} with {_trials(others)}."


def _trials(numbers: Collection[int]) -> str:
    return f"trial{'s' * (len(numbers) != 1)} {numbers_text(numbers)}"


def shares_gpus(trial: Trial) -> bool:
    """Whether other processes computed on the engine's GPUs."""
    # Without the engine's CPU time its processes are not known, such as those in a container that a program started.
    conditions = [one.conditions for one in trial.measurements if "other_cpu_share" in one.conditions]
    return any(one.get("gpu_foreign_processes", 0.0) > 0 for one in conditions)


def disturbance(trial: Trial) -> float:
    """Return the share of the CPUs that other work used in the level where it was highest; 0 if that is no matter."""
    return max(map(disturbance_of_level, trial.measurements), default=0.0)


def disturbance_of_level(measured: Measurement) -> float:
    """Return the share of the CPUs that other work used; 0 if that is no matter."""
    share = measured.conditions.get("other_cpu_share", 0.0)
    enough = _DISTURBED_ON_GPUS if "gpu_clock_mean_mhz" in measured.conditions else _DISTURBED
    return share if share >= enough else 0.0


def environment_text(trials: Sequence[Trial]) -> str:
    """Return in a sentence which trials with a score ran in different environments; empty if none did."""
    scored = [t for t in trials if t.state.scored and t.fingerprint]
    groups: dict[Hashable, list[Trial]] = {}
    # Trials share their fingerprints.
    keys = {id(t.fingerprint): _key(t.fingerprint) for t in scored}
    for trial in scored:
        groups.setdefault(keys[id(trial.fingerprint)], []).append(trial)
    if len(groups) < 2:
        return ""
    changed = [text for name, title in _PROPERTIES.items() if (text := _change(name, title, scored))]
    if not changed:
        return ""
    apart = " with ".join(_trials([trial.number for trial in group]) for group in groups.values())
    return f"Not every trial ran in the same environment: {', '.join(changed)} changed. Do not compare {apart}."


def _key(fingerprint: Mapping[str, Any]) -> Hashable:
    return tuple(_value(fingerprint, name) for name in _PROPERTIES)


def _value(fingerprint: Mapping[str, Any], name: str) -> str:
    value = fingerprint.get(name)
    if name == "model" and isinstance(value, Mapping):
        # Its name and folder may change, its files are the same.
        value = value.get("sha256")
    return "" if value in (None, "") else json.dumps(value, sort_keys=True, default=str)


def _change(name: str, title: str, trials: Sequence[Trial]) -> str:
    """Return the name of a property with its values if it changed; a trial without it is no change."""
    values = list(dict.fromkeys(value for t in trials if (value := _value(t.fingerprint, name))))
    if len(values) < 2:
        return ""
    quoted = [value.strip('"') for value in values]
    shown = f" ({', then '.join(quoted)})" if all(len(one) <= _MAX_QUOTED for one in quoted[:3]) else ""
    return f"{title}{shown if len(values) <= 3 else ''}"
