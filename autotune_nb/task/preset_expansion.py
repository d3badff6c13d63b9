"""Expands presets to the parameters of an engine and the rules between them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.task.parameters import Value
from autotune_nb.task.preset_catalog import DEFAULTS, PRESETS, SIZES, Preset
from autotune_nb.task.section import Section

#: The key of ``parameters`` under which presets are named.
KEY = "preset"
FIELD = f"parameters.{KEY}"
_ON_GPUS = re.compile(r"(.+)-on-(\d{1,4})-gpus?")
_MOST_GPUS = 1024
#: A mixture of more alternatives than this has no rules, which would be too long.
_MOST_MIXTURES = 200


class PresetUse(Section):
    """A preset as a task names it, with its options."""

    name: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(min_length=1, max_length=80)
    draft_model: str | None = Field(None, min_length=1, description="for drafts of a model: its path or a hub's name")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data

    @property
    def written(self) -> str | dict[str, str]:
        """The preset as in a task file."""
        return self.name if self.draft_model is None else {"name": self.name, "draft_model": self.draft_model}


@dataclass(frozen=True)
class Expansion:
    """The values of each parameter, and the rules between them, as in a task file."""

    parameters: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    rules: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the expansion as lines of text."""
        shown = [f"{name}: {', '.join(map(_shown, values))}" for name, values in self.parameters.items()]
        return [*shown, *(f"rule: {rule}" for rule in self.rules)]


def preset_names(engine: str, gpus: int = 8) -> list[str]:
    """Return the names of an engine's presets, those by number of GPUs for so many."""
    names = []
    for preset in PRESETS:
        if preset.supports(engine):
            names += [] if preset.needs_gpus else [preset.name]
            names += [f"{preset.name}-on-{gpus}-gpus"] if preset.sizes and engine in SIZES and gpus > 1 else []
    return names


def preset_named(name: str, engine: str, *, field: str = FIELD) -> tuple[Preset, int]:
    """Return a preset and its number of GPUs, 1 if none is given. Raises TaskError if the engine has none such."""
    key = name.strip().lower().replace("_", "-")
    found = _ON_GPUS.fullmatch(key)
    base, gpus = (found[1], int(found[2])) if found else (key, 1)
    preset = next((one for one in PRESETS if one.name == base), None)
    known = preset_names(engine, gpus if found and gpus > 1 else 8)
    if preset is None or (found and not preset.sizes):
        raise UnknownNameError("preset", name, known, field=field)
    if not preset.supports(engine):
        has = f"; it has {', '.join(known)}" if known else ""
        raise TaskError(f"the preset {base} has no flags of {engine}{has}", field=field)
    if preset.needs_gpus and not found:
        raise TaskError(f"{base} needs the number of GPUs, as in {base}-on-8-gpus", field=field)
    if not 1 <= gpus <= _MOST_GPUS:
        raise TaskError(f"{gpus} GPUs; give 1 to {_MOST_GPUS}, as in {base}-on-8-gpus", field=field)
    return preset, gpus


def expand(uses: Sequence[PresetUse], engine: str, *, field: str = FIELD) -> Expansion:
    """Return the parameters and rules of presets. Raises TaskError for one that does not exist or fit the others.

    Several configurations of one kind are alternatives: each flag gets the values of all, and rules exclude mixtures.
    A mixture with an unset flag, such as no quantization, cannot be excluded by a rule and is searched too.
    """
    by_kind: dict[str, list[tuple[int, str, Expansion]]] = {}
    for place, use in enumerate(uses):
        preset, gpus = preset_named(use.name, engine, field=field)
        one = _expand_one(preset, gpus, use, engine, field)
        by_kind.setdefault(preset.kind, []).append((place, use.name, one))
    expansions: list[tuple[int, str, Expansion]] = []
    for kind, group in by_kind.items():
        if len(group) > 1 and all(len(values) == 1 for *_, one in group for values in one.parameters.values()):
            group = [(group[0][0], kind, _alternatives([one.parameters for *_, one in group]))]
        expansions += group
    first: dict[str, str] = {}
    for _, name, one in sorted(expansions, key=lambda one: one[0]):
        for flag in one.parameters:
            other = first.setdefault(flag, name)
            if other != name:
                raise TaskError(f"both {other} and {name} set {flag}; give one of the two", field=field)
    ordered = [one for *_, one in sorted(expansions, key=lambda one: one[0])]
    parameters = {name: values for one in ordered for name, values in one.parameters.items()}
    return Expansion(parameters, tuple(dict.fromkeys(rule for one in ordered for rule in one.rules)))


def _expand_one(preset: Preset, gpus: int, use: PresetUse, engine: str, field: str) -> Expansion:
    if preset.needs_draft_model and use.draft_model is None:
        raise TaskError(
            f"{preset.name} needs a draft model: write {{name: {preset.name}, draft_model: PATH or a hub's name}}",
            field=field,
        )
    if use.draft_model is not None and not preset.needs_draft_model:
        raise TaskError(f"{preset.name} takes no draft_model", field=field)
    sizes = [SIZES[engine][key][0] for key in preset.sizes] if engine in SIZES and gpus > 1 else []
    powers = [2**i for i in range(gpus.bit_length()) if 2**i <= gpus]
    parameters: dict[str, Sequence[Value]] = dict.fromkeys(sizes, powers)
    for name, values in preset.flags.get(engine, {}).items():
        parameters[name] = [_filled(value, use.draft_model or "") for value in values]
    rules = [f"{' * '.join(sizes)} <= {gpus}"] if len(sizes) > 1 else []
    return Expansion(parameters, (*rules, *preset.rules.get(engine, ())))


def _filled(value: Any, draft_model: str) -> Any:
    """Return a value with the draft model in it."""
    if isinstance(value, dict):
        return {key: _filled(one, draft_model) for key, one in value.items()}
    return draft_model if value == "{draft_model}" else value


def _alternatives(configurations: Sequence[Mapping[str, Sequence[Value]]]) -> Expansion:
    """Return the flags of several configurations, and the rules that exclude mixtures of them."""
    names = list(dict.fromkeys(name for one in configurations for name in one))
    points = [tuple(one[name][0] if name in one else DEFAULTS.get(name) for name in names) for one in configurations]
    values = {name: list(dict.fromkeys(point[i] for point in points)) for i, name in enumerate(names)}
    # A rule allows every point with an unset flag, so those flags need a rule of their own.
    several = tuple(i for i, name in enumerate(names) if len(values[name]) > 1)
    always = tuple(i for i in several if None not in values[names[i]])
    rules = []
    for places in dict.fromkeys((always, several)):
        allowed = list(dict.fromkeys(tuple(point[i] for i in places) for point in points))
        complete = [one for one in allowed if None not in one]
        size = 1
        for i in places:
            size *= len([value for value in values[names[i]] if value is not None])
        if len(places) > 1 and len(complete) < size <= _MOST_MIXTURES:
            chosen = [" and ".join(f"{names[i]} == {v!r}" for i, v in zip(places, p, strict=True)) for p in complete]
            rules.append(" or ".join(f"({one})" for one in chosen))
    return Expansion(values, tuple(rule for rule in rules if rule))


def _shown(value: Value) -> str:
    return "unset" if value is None else str(value)
