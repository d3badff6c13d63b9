"""Flags of released engines, as their parsers have them, without the help texts."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from autotune_nb.engines.schema import EngineSchema, flag_of_action

VERSIONS = {"vllm": ("0.30.0", "0.31.0", "0.32.0", "0.33.0"), "sglang": ("0.5.20", "0.5.21", "0.5.22", "0.5.23")}
_ABSENT: dict[str, Any] = {"negations": (), "type": None, "nargs": None, "choices": None, "default": None, "help": None}


@cache
def recorded(engine: str, version: str) -> EngineSchema:
    """Return the schema of a version, read from the parser's actions as an installed engine's is."""
    assert version in VERSIONS[engine]
    lines = (Path(__file__).parent / "data" / f"{engine}-flags.jsonl").read_text().splitlines()[1:]
    actions = [{**_ABSENT, **json.loads(line)} for line in lines]
    flags = tuple(flag_of_action(one) for one in actions if version in one.get("in", VERSIONS[engine]))
    return EngineSchema(engine, version, flags, prefixes=True)
