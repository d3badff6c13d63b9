"""The secrets that a task refers to: whether each can be had where it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autotune_nb.errors import SetupError
from autotune_nb.plain_secrets import plain_secrets
from autotune_nb.secret_reference import resolved, secret_of, variable, variables_in
from autotune_nb.task import Task


def referred(task: Task) -> list[str]:
    """The values of every variable a task refers to, for the scrubbing of what is written.

    Raises SetupError, before anything is started, where one is not set, or where it would have to be written into a
    cluster's objects.
    """
    # A copy with changes was looked at by nobody.
    for wrong in plain_secrets(task.model_dump(exclude_defaults=True)):
        raise wrong
    key = task.benchmark.api_key
    if task.deploy.kind == "ome":
        _require_secrets(task)
        return [resolved(key, field="benchmark.api_key")] if key else []
    found = []
    for field, value in _places(task):
        if secret_of(value):
            # It raises, and says why.
            resolved(value, field=field)
        found += [variable(name, field=field) for name in variables_in(value)]
    return found


def _places(task: Task) -> Iterator[tuple[str, Any]]:
    spec = task.engine
    yield from ((f"engine.env.{name}", value) for name, value in spec.env.items())
    yield from ((f"engine.args.{name}", value) for name, value in spec.args.items())
    yield from ((f"engine.raw_args[{i}]", word) for i, word in enumerate(spec.raw_args))
    yield from (("engine.command", word) for word in _command_words(task))
    yield from (
        (f"parameters.{name}", one.grid() or ()) for name, one in task.parameters.items() if one.type == "choice"
    )
    yield "benchmark.api_key", task.benchmark.api_key


def _command_words(task: Task) -> list[str]:
    command = task.engine.command
    return command.split() if isinstance(command, str) else list(command or ())


def _require_secrets(task: Task) -> None:
    env = task.engine.env
    for field, value in _places(task):
        names = variables_in(value)
        if field.startswith("engine.env.") and names:
            raise SetupError(
                f"in a cluster the value of ${{{names[0]}}} would stand in the InferenceService; keep it in a Secret "
                "and write secret://NAME/KEY",
                field=field,
            )
        elsewhere = not field.startswith(("engine.env.", "benchmark."))
        if elsewhere and (secret_of(value) or any(name not in env for name in names)):
            raise SetupError(
                "in a cluster an argument takes ${NAME} of a NAME in engine.env, which is a secret://NAME/KEY there",
                field=field,
            )
    if task.benchmark.api_key and task.benchmark.executor != "direct":
        raise SetupError(
            f"only the executor direct sends a key (not {task.benchmark.executor}): benchmark.executor: direct",
            field="benchmark.api_key",
        )
