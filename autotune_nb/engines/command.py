"""Any other OpenAI-compatible server, by a command template."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune_nb.engines.base import Engine
from autotune_nb.parameters import Bool, Choice, Float, Int, Value


@dataclass(frozen=True)
class CommandEngine(Engine):
    """A server started by a command line of the user's, with {port}, {host} and {model} filled in.

    Parameters become flags by their names (``max_batch`` is ``--max-batch``), after the template's own arguments.
    """

    def check(self, name: str, parameter: Choice | Bool | Int | Float, *, field: str) -> None:
        """Any name is a flag here."""

    def argv(
        self,
        *,
        program: Sequence[str],
        model: str,
        served_name: str | None,
        host: str,
        port: int,
        params: Mapping[str, Value],
        space: Mapping[str, Choice | Bool | Int | Float] | None = None,
        args: Mapping[str, Value] | None = None,
        raw_args: Sequence[str] = (),
    ) -> list[str]:
        filled = [
            part.replace("{port}", str(port)).replace("{host}", host).replace("{model}", model) for part in program
        ]
        fixed = {k: v for k, v in (args or {}).items() if k not in params}
        return [*filled, *self.arguments(fixed), *self.arguments(params, space), *raw_args]


def command_engine(template: str | Sequence[str]) -> CommandEngine:
    """An engine for a command template; a text is split as a shell splits words."""
    words = shlex.split(template) if isinstance(template, str) else list(template)
    return CommandEngine(name="command", program=tuple(words), model_flag="", health_path="/v1/models", version_args=())
