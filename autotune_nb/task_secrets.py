"""The secrets that a task refers to: whether each can be had where it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autotune_nb.errors import SetupError
from autotune_nb.secret_reference import resolved, secret_of, variable_of
from autotune_nb.task import Task


def referred(task: Task) -> list[str]:
    """The values of every variable a task refers to, for the scrubbing of what is written.

    Raises SetupError, before anything is started, where one is not set, or where it would have to be written into a
    cluster's objects.
    """
    key = task.benchmark.api_key
    if task.deploy.kind == "ome":
        _require_secrets(task)
        return [resolved(key, field="benchmark.api_key")] if key else []
    return [resolved(value, field=field) for field, value in _places(task)]


def _places(task: Task) -> Iterator[tuple[str, str]]:
    spec = task.engine
    named: list[tuple[str, Any]] = [
        *((f"engine.env.{name}", value) for name, value in spec.env.items()),
        *((f"engine.args.{name}", value) for name, value in spec.args.items()),
        *((f"engine.raw_args[{i}]", word.rpartition("=")[2]) for i, word in enumerate(spec.raw_args)),
        *(("engine.command", word) for word in _command_words(task)),
        ("benchmark.api_key", task.benchmark.api_key),
    ]
    for field, value in named:
        if variable_of(value) or secret_of(value):
            yield field, value


def _command_words(task: Task) -> list[str]:
    command = task.engine.command
    return command.split() if isinstance(command, str) else list(command or ())


def _require_secrets(task: Task) -> None:
    for field, value in _places(task):
        name = variable_of(value)
        if field.startswith("engine.env.") and name is not None:
            raise SetupError(
                f"in a cluster the value of ${{{name}}} would stand in the InferenceService; keep it in a Secret and "
                "write secret://NAME/KEY",
                field=field,
            )
        if not field.startswith(("engine.env.", "benchmark.")) and (name is None or name not in task.engine.env):
            raise SetupError(
                "in a cluster an argument takes ${NAME} of a NAME in engine.env, which is a secret://NAME/KEY there",
                field=field,
            )
    if task.benchmark.api_key and task.benchmark.executor != "direct":
        raise SetupError(
            f"only the executor direct sends a key (not {task.benchmark.executor}): benchmark.executor: direct",
            field="benchmark.api_key",
        )
