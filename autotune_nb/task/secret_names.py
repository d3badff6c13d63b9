"""The secrets that a task refers to: whether each can be had where it runs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from autotune_nb.errors import SetupError
from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.plain import STAND_INS, plain_secrets
from autotune_nb.secrets.reference import resolved, secret_of, variable, variables_in
from autotune_nb.secrets.scrubbing import LEAST, know, tells_one
from autotune_nb.task.task import Task

#: A shorter value stands in any text.
_SHORTEST = 4


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


def know_secrets(task: Task) -> None:
    """From now on what the task refers to is scrubbed. Raises as ``referred``, and SetupError where a secret is too
    short to be told from other words."""
    here = task.deploy.kind != "ome"
    know(referred(task), short=_short(task) if here else (), named=() if here else _named(task), shapes=not here)


def _short(task: Task) -> Iterator[str]:
    """The secrets that are short or numbers; what is referred to by no secret's name may be any setting."""
    for field, value in _places(task):
        for name in variables_in(value):
            told = variable(name, field=field).strip()
            secret = field == "benchmark.api_key" or says_secret(name) or says_secret(field.rpartition(".")[2])
            if not secret or tells_one(told) or told.lower() in STAND_INS:
                continue
            if len(told) < _SHORTEST:
                raise SetupError(
                    f"the value of {name} has {len(told)} characters, too few to be kept out of logs; take a secret "
                    f"of at least {_SHORTEST} (better {LEAST}), or write it as it is where it is none",
                    field=field,
                )
            yield told


def _named(task: Task) -> Iterator[str]:
    """What an engine in a cluster calls the secrets that only it sees."""
    env = {name for name, value in task.engine.env.items() if secret_of(value)}
    yield from env
    yield from (name for name, value in task.engine.args.items() if env & set(variables_in(value)))
    for before, word in pairwise(("", *task.engine.raw_args)):
        if env & set(variables_in(word)):
            yield (word.partition("=")[0] if "=" in word else before).lstrip("-") or "api_key"


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
