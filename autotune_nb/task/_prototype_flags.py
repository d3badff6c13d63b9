"""Converts what a prototype's task file says about flags: ``parameters``, ``parallel_config`` and ``quant_config``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import parameter_name
from autotune_nb.task.preset_catalog import SIZES
from autotune_nb.task.preset_expansion import KEY, preset_named

_TYPES = {"categorical": "choice", "continuous": "float", "integer": "int"}
#: The flags of each field of ``parallel_config``: the name to use first, then the other spellings.
_PARALLEL: dict[str, Mapping[str, tuple[str, ...]]] = {
    "sglang": {**SIZES["sglang"], "moe_dense_tp": ("moe_dense_tp_size", "moe_dense_tp")},
    "vllm": {
        **SIZES["vllm"],
        "dcp": ("decode_context_parallel_size", "dcp"),
        "enable_expert_parallel": ("enable_expert_parallel",),
    },
}
_PRESETS = ("preset", "presets")
_DTYPES = ("auto", "float16", "bfloat16", "float32")
_KV_CACHE_DTYPES = ("auto", "bfloat16", "fp8", "fp8_e5m2", "fp8_e4m3")


def parameters_of(given: Any, notes: list[str]) -> dict[str, Any]:
    """Return the parameters with this package's names of types. Raises TaskError if they are no object."""
    if not isinstance(given, dict):
        raise TaskError("must be an object of parameters", field="parameters")
    parameters: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, dict):
            value = {"values" if key == "choices" else key: one for key, one in value.items()}
            if isinstance(value.get("type"), str):
                value["type"] = _TYPES.get(value["type"], value["type"])
        if value == []:
            # The prototype tried the engine's default only.
            notes.append(f"parameters.{name} is ignored: it has no values")
        else:
            parameters[name] = value
    return parameters


def add_parallel(given: Any, engine: str, parameters: dict[str, Any], notes: list[str]) -> None:
    """Add the parameters of a ``parallel_config``; its fields that no flag expresses get a note."""
    fields = _fields("parallel_config", given)
    if _add_presets("parallel_config", "parallelism", fields, engine, parameters, notes):
        # The prototype read nothing else beside presets.
        return
    for name, value in fields.items():
        flags = _PARALLEL.get(engine, {}).get(name)
        if flags is not None:
            _add(f"parallel_config.{name}", flags, _listed(value), parameters, notes)
        elif value not in (None, []):
            notes.append(f"parallel_config.{name} is ignored: {_by_hand(engine)}")


def add_quantization(given: Any, engine: str, parameters: dict[str, Any], notes: list[str]) -> None:
    """Add the parameters of a ``quant_config``; its fields that no flag expresses get a note."""
    fields = _fields("quant_config", given)
    _add_presets("quant_config", "quantization", fields, engine, parameters, notes)
    for name, value in fields.items():
        if name in _PRESETS:
            continue
        values, field = _listed(value), f"quant_config.{name}"
        if values == ["auto"] or not values:
            continue
        if engine not in _PARALLEL:
            notes.append(f"{field} is ignored: {_by_hand(engine)}")
        elif name == "gemm_dtype" and _all_in(values, _DTYPES):
            _add(field, ("dtype",), values, parameters, notes, flag="--dtype")
        elif name == "gemm_dtype" and values == ["fp8"]:
            _add(field, ("quantization",), values, parameters, notes)
        elif name == "kvcache_dtype" and _all_in(values, _KV_CACHE_DTYPES):
            if engine == "sglang":
                # As in the prototype: SGLang has no plain fp8.
                values = list(dict.fromkeys("fp8_e5m2" if one == "fp8" else one for one in values))
            _add(field, ("kv_cache_dtype",), values, parameters, notes)
        else:
            notes.append(f"{field} is ignored: {_by_hand(engine)}")


def _fields(section: str, given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise TaskError(f"must be an object, not {type(given).__name__}", field=section)
    return {str(key): value for key, value in given.items()}


def _add_presets(
    section: str, kind: str, fields: dict[str, Any], engine: str, parameters: dict[str, Any], notes: list[str]
) -> bool:
    """Add the presets of a section, whose names are the same here, and return whether there are any.

    Raises TaskError for a name that the prototype did not have either.
    """
    found = False
    for key in _PRESETS:
        if fields.get(key) in (None, []):
            continue
        found = True
        if engine not in _PARALLEL:
            notes.append(f"{section}.{key} is ignored: {_by_hand(engine)}")
            continue
        for place, name in enumerate(_listed(fields[key])):
            field = f"{section}.{key}[{place}]" if isinstance(fields[key], list) else f"{section}.{key}"
            if not isinstance(name, str):
                raise TaskError(f"must be the name of a preset, not {name!r}", field=field)
            preset, _ = preset_named(name, engine, field=field)
            if preset.kind != kind:
                raise TaskError(f"{name} is a preset of {preset.kind}, not of {kind}", field=field)
            parameters.setdefault(KEY, []).append(name)
    return found


def _add(
    field: str,
    flags: tuple[str, ...],
    values: list[Any],
    parameters: dict[str, Any],
    notes: list[str],
    *,
    flag: str | None = None,
) -> None:
    own = [name for name in parameters if isinstance(name, str) and parameter_name(name) in flags]
    if own:
        notes.append(f"{field} is ignored: parameters.{own[0]} sets the same flag")
    elif values:
        parameters[flags[0]] = values if flag is None else {"type": "choice", "values": values, "flag": flag}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _all_in(values: list[Any], known: tuple[str, ...]) -> bool:
    return all(isinstance(one, str) and one in known for one in values)


def _by_hand(engine: str) -> str:
    return f"it has no counterpart among {engine}'s flags here; list the flag's values as a parameter"
