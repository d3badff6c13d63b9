"""The engine of kind ``command``: any OpenAI-compatible server, started by a command template."""

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
    """A server started by the user's own command line, in which {port}, {host} and {model} are replaced.

    Parameters become flags by their names (``max_batch`` becomes ``--max-batch``), after the template's own arguments.
    """

    def check(self, name: str, parameter: Choice | Bool | Int | Float, *, field: str) -> None:
        """Accept every name and value."""

    def leading_arguments(
        self, program: Sequence[str], model: str, served_name: str | None, host: str, port: int
    ) -> list[str]:
        replacements = {"{port}": str(port), "{host}": host, "{model}": model}
        return [
            _PLACEHOLDER.sub(lambda match: replacements.get(match.group(), match.group()), part) for part in program
        ]


def command_engine(template: str | Sequence[str]) -> CommandEngine:
    """Return the engine for a command template. A string is split into words as a shell does."""
    words = shlex.split(template) if isinstance(template, str) else list(template)
    return CommandEngine(
        name="command", program=tuple(words), model_flag="", health_fallback="/v1/models", version_args=()
    )
