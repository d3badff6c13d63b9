"""Any other OpenAI-compatible server, by a command template."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from autotune_nb.engines.base import Engine
from autotune_nb.task.parameters import Bool, Choice, Float, Int

_PLACEHOLDER = re.compile(r"\{[a-z]+\}")


@dataclass(frozen=True)
class CommandEngine(Engine):
    """A server started by a command line of the user's, with {port}, {host} and {model} filled in.

    Parameters become flags by their names (``max_batch`` is ``--max-batch``), after the template's own arguments.
    """

    def check(self, name: str, parameter: Choice | Bool | Int | Float, *, field: str) -> None:
        """Any name is a flag here."""

    def start(self, program: Sequence[str], model: str, served_name: str | None, host: str, port: int) -> list[str]:
        filled = {"{port}": str(port), "{host}": host, "{model}": model}
        return [_PLACEHOLDER.sub(lambda found: filled.get(found.group(), found.group()), part) for part in program]


def command_engine(template: str | Sequence[str]) -> CommandEngine:
    """An engine for a command template; a text is split as a shell splits words."""
    words = shlex.split(template) if isinstance(template, str) else list(template)
    return CommandEngine(name="command", program=tuple(words), model_flag="", health_path="/v1/models", version_args=())
