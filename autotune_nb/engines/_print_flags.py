"""Prints the flags of a Python program as a line of JSON: ``python -c CODE MODULE NAME,NAME``.

The engine's own Python runs this code, so it imports the standard library alone. It executes the module as
``python -m`` does, until its parser is asked to parse. The names are of the packages one of which is the engine.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import runpy
import sys
from collections.abc import Hashable
from typing import Any

MARK = "autotune_nb flags: "
#: A program may parse a few options of its own first.
_FEWEST = 20
_CONVERTERS = {int: "int", float: "float", str: "str", bool: "bool", json.loads: "json"}


def type_name(convert: Any) -> str | None:
    """Return the type that a parser's converter returns; vLLM wraps it where None is accepted as well."""
    inner = [cell.cell_contents for cell in getattr(convert, "__closure__", None) or ()]
    wrapped = [one for one in inner if isinstance(one, Hashable) and one in _CONVERTERS]
    return _CONVERTERS.get(wrapped[0] if len(wrapped) == 1 else convert, getattr(convert, "__name__", None))


def plain(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return value


def described(parser: argparse.ArgumentParser) -> list[dict[str, Any]]:
    # An action's own list may leave out hidden spellings.
    spellings: dict[int, list[str]] = {}
    for text, a in parser._option_string_actions.items():
        spellings.setdefault(id(a), []).append(text)
    return [
        {
            "spellings": spellings[id(a)],
            "negations": negations(a, spellings[id(a)]),
            "action": type(a).__name__,
            "type": None if a.type is None else type_name(a.type),
            "nargs": a.nargs,
            "choices": None if a.choices is None else [plain(one) for one in a.choices],
            "default": plain(a.default),
            "help": None if a.help in (None, argparse.SUPPRESS) else a.help.replace("%%", "%"),
        }
        for a in parser._actions
        if id(a) in spellings and not isinstance(a, (argparse._HelpAction, argparse._VersionAction))
    ]


def negations(action: argparse.Action, spellings: list[str]) -> list[str]:
    """Return the spellings that switch a boolean off."""
    if not isinstance(action, argparse.BooleanOptionalAction):
        return []
    own = getattr(action, "negative_option_strings", None)
    return [one for one in spellings if (one.startswith("--no-") if own is None else one in own)]


def distribution(names: list[str]) -> tuple[str | None, str | None]:
    for name in names:
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return found.version, str(getattr(found, "_path", ""))
    return None, None


def main() -> None:
    module, names = sys.argv[1], sys.argv[2].split(",")
    parse = argparse.ArgumentParser.parse_known_args

    def print_flags(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None, **more: Any) -> Any:
        if len(self._actions) < _FEWEST:
            return parse(self, args, namespace, **more)
        version, metadata = distribution(names)
        found = {
            "version": version,
            "metadata": metadata,
            "prefixes": bool(self.allow_abbrev),
            "flags": described(self),
        }
        # Imports may have printed half a line.
        os.write(1, f"\n{MARK}{json.dumps(found)}\n".encode())
        # Threads and GPU contexts of the engine could keep the process alive.
        os._exit(0)

    argparse.ArgumentParser.parse_known_args = print_flags  # type: ignore[method-assign]
    # vLLM fills in the help texts only if help is asked for.
    sys.argv = [module, "--help=all" if module.startswith("vllm") else "--help"]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
