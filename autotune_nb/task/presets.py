"""Reads the presets that a task names under ``parameters.preset``, and merges them with what the task sets itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import parameter_name
from autotune_nb.task.preset_catalog import SIZES
from autotune_nb.task.preset_expansion import FIELD, KEY, Expansion, PresetUse, expand
from autotune_nb.task.sections import ENGINES, engine_name

#: What the JSON Schema of ``parameters`` has besides their names.
PRESET_SCHEMA: dict[str, Any] = {
    "properties": {
        KEY: {
            "description": "names of presets, which set parameters and rules; the task's own have precedence",
            "anyOf": [
                {"type": "string"},
                {"type": "object"},
                {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object"}]}},
            ],
        }
    }
}


def named_presets(given: Any) -> list[PresetUse]:
    """Return the presets that ``parameters.preset`` names: one or a list. Raises TaskError."""
    items = given if isinstance(given, list) else [given]
    uses = []
    for place, item in enumerate(items):
        where = f"{FIELD}[{place}]" if isinstance(given, list) else FIELD
        if not isinstance(item, str) and not (isinstance(item, dict) and "name" in item):
            raise TaskError(
                f"{item!r} names no preset; write a name, such as throughput-on-8-gpus, a list of names, or "
                "{name: speculative-eagle, draft_model: MODEL}",
                field=where,
            )
        try:
            uses.append(PresetUse.model_validate(item))
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            inner = ".".join(str(part) for part in detail["loc"])
            message = "unknown field; a preset has name and draft_model"
            if detail["type"] != "extra_forbidden":
                message = detail["msg"]
            raise TaskError(message, field=f"{where}.{inner}") from None
    if len({use.name for use in uses}) != len(uses):
        raise TaskError("a preset is named twice", field=FIELD)
    return uses


def names_presets(parameters: Any) -> bool:
    """Return whether parameters as written name presets; a flag of this name has values or a range."""
    if not isinstance(parameters, dict) or KEY not in parameters:
        return False
    given = parameters[KEY]
    return not (isinstance(given, dict) and given.keys() & {"type", "values", "low", "high", "flag"})


def merged(
    expansion: Expansion, own: Mapping[str, Any], fixed: Mapping[str, Any], engine: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters of a task and the rules of its presets. What the task sets itself has precedence.

    ``own`` are its parameters and ``fixed`` its ``engine.args``; a rule then uses their names, and the fixed values.
    """
    spelled = {_canonical(name, engine): name for name in own}
    constant = {_canonical(name, engine): value for name, value in fixed.items()}
    parameters: dict[str, Any] = {}
    for name, values in expansion.parameters.items():
        if name in spelled:
            parameters[spelled[name]] = own[spelled[name]]
        elif name not in constant:
            parameters[name] = list(values)
    parameters |= {name: value for name, value in own.items() if name not in parameters}
    rules = []
    for rule in expansion.rules:
        used = set(re.findall(r"[A-Za-z_]\w*", rule))
        replaced = {name: repr(constant[name]) for name in used & constant.keys()}
        replaced |= {name: parameter_name(spelled[name]) for name in used & spelled.keys()}
        text = re.sub(r"[A-Za-z_]\w*", lambda word: replaced.get(word[0], word[0]), rule)  # noqa: B023
        if set(re.findall(r"[A-Za-z_]\w*", text)) & set(map(_name, parameters)):
            rules.append(text)
    return parameters, rules


def _canonical(name: Any, engine: str) -> str:
    """Return the name of a flag as presets have it."""
    plain = _name(name)
    sizes = SIZES.get(engine, {}).values()
    return next((names[0] for names in sizes if plain in names), plain)


def _name(name: Any) -> str:
    try:
        return parameter_name(name)
    except ValueError:
        return str(name)


def written_as(uses: Iterable[PresetUse]) -> Any:
    """Return presets as ``parameters.preset`` has them."""
    found = [use.written for use in uses]
    return found[0] if len(found) == 1 else found


def with_expansion(data: dict[str, Any]) -> dict[str, Any]:
    """Return a task's plain data with the presets that ``parameters.preset`` names expanded. Raises TaskError.

    The task gets their parameters and rules, and their names as ``expanded_presets``.
    """
    given = data.get("parameters")
    if not names_presets(given):
        return data
    assert isinstance(given, dict)
    own = {name: value for name, value in given.items() if name != KEY}
    engine = data.get("engine")
    fixed = getattr(engine, "args", None)
    kind = getattr(engine, "kind", engine)
    if isinstance(engine, dict):
        kind, fixed = engine.get("kind"), engine.get("args")
    if not isinstance(kind, str) or (kind := engine_name(kind)) not in ENGINES:
        # The engine's own error is reported.
        return {**data, "parameters": own}
    uses = named_presets(given[KEY])
    parameters, rules = merged(expand(uses, kind), own, fixed if isinstance(fixed, dict) else {}, kind)
    written = data.get("rules", [])
    return {
        **data,
        "parameters": parameters,
        "rules": [*written, *(rule for rule in rules if rule not in written)] if isinstance(written, list) else written,
        "expanded_presets": uses,
    }
