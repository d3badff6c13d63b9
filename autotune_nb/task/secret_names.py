"""The secrets that a task refers to: checked before anything is started, and scrubbed from then on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from autotune_nb.errors import SetupError
from autotune_nb.secrets.detectors import is_stand_in
from autotune_nb.secrets.known_values import MIN_LENGTH, is_distinct
from autotune_nb.secrets.literals import literal_secrets
from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.references import resolved, secret_of, variable, variables_in
from autotune_nb.secrets.scrubbing import know
from autotune_nb.task.task import Task

#: A shorter value is found in any text.
_SHORTEST = 4


def know_secrets(task: Task) -> None:
    """Scrub what the task refers to from now on. Raises as ``referred``, and SetupError where a secret is too short to
    be told from other words."""
    values = referred(task)
    if task.deploy.kind == "ome":
        know(values, named=_named(task), in_cluster=True)
    else:
        know(values, short=_short(task))


def referred(task: Task) -> list[str]:
    """Return the values of every variable that a task refers to.

    Raises SetupError where one is not set, or where it would have to be written into a cluster's objects, and TaskError
    where a secret is written out in the task.
    """
    # A copy with changes was validated by nobody.
    for error in literal_secrets(task.model_dump(exclude_defaults=True)):
        raise error
    if task.deploy.kind == "ome":
        _require_secrets(task)
        own = {field: (value, resolved(value, field=field)) for field, value in _of_process(task) if value}
        # Other addresses are no secrets.
        return [text for field, (value, text) in own.items() if variables_in(value) or field == "benchmark.api_key"]
    for field, value in _fields(task):
        if secret_of(value):
            # Raises, with the reason.
            resolved(value, field=field)
    return [variable(name, field=field) for field, value in _fields(task) for name in variables_in(value)]


def variables_of_run(task: Task) -> dict[str, str]:
    """Return the variables that the process of a run in a cluster needs, each with the field that refers to it.

    Raises SetupError as ``referred``.
    """
    _require_secrets(task)
    return {name: field for field, value in _of_process(task) for name in variables_in(value)}


def _short(task: Task) -> Iterator[str]:
    """Yield the secrets that are short or numbers; a variable whose name does not say secret may be any setting."""
    for field, value in _fields(task):
        for name in variables_in(value):
            text = variable(name, field=field).strip()
            secret = field == "benchmark.api_key" or says_secret(name) or says_secret(field.rpartition(".")[2])
            if not secret or is_distinct(text) or is_stand_in(text):
                continue
            if len(text) < _SHORTEST:
                raise SetupError(
                    f"the value of {name} has {len(text)} characters, too few to be kept out of logs; take a secret "
                    f"of at least {_SHORTEST} (better {MIN_LENGTH}), or write it as it is where it is none",
                    field=field,
                )
            yield text


def _named(task: Task) -> Iterator[str]:
    """Yield the names that an engine in a cluster has for the secrets that only its pod sees."""
    env = {name for name, value in task.engine.env.items() if secret_of(value)}
    yield from env
    yield from (name for name, value in task.engine.args.items() if env & set(variables_in(value)))
    for before, word in pairwise(("", *task.engine.raw_args)):
        if env & set(variables_in(word)):
            yield (word.partition("=")[0] if "=" in word else before).lstrip("-") or "api_key"


def _fields(task: Task) -> Iterator[tuple[str, Any]]:
    """Yield every field that may refer to a secret, with its value."""
    spec = task.engine
    command = spec.command.split() if isinstance(spec.command, str) else spec.command or ()
    yield from ((f"engine.env.{name}", value) for name, value in spec.env.items())
    yield from ((f"engine.args.{name}", value) for name, value in spec.args.items())
    yield from ((f"engine.raw_args[{i}]", word) for i, word in enumerate(spec.raw_args))
    yield from (("engine.command", word) for word in command)
    yield from (
        (f"parameters.{name}", one.grid() or ()) for name, one in task.parameters.items() if one.type == "choice"
    )
    yield from _of_process(task)


def _of_process(task: Task) -> Iterator[tuple[str, Any]]:
    """Yield the fields that the process of a run uses itself, also in a cluster."""
    yield "benchmark.api_key", task.benchmark.api_key
    yield "on_end.webhook", task.on_end.webhook
    yield "tracking.uri", task.tracking.uri
    yield "artifacts.url", task.artifacts.url


def _require_secrets(task: Task) -> None:
    env = task.engine.env
    for field, value in _fields(task):
        names = variables_in(value)
        if field.startswith("engine.env.") and names:
            raise SetupError(
                f"in a cluster the value of ${{{names[0]}}} would be written into the InferenceService; keep it in a "
                "Secret and write secret://NAME/KEY",
                field=field,
            )
        in_arguments = not field.startswith(("engine.env.", "benchmark.", "on_end.", "tracking.", "artifacts."))
        if in_arguments and (secret_of(value) or any(name not in env for name in names)):
            raise SetupError(
                "in a cluster an argument takes ${NAME} of a NAME in engine.env, which is a secret://NAME/KEY there",
                field=field,
            )
    if task.benchmark.api_key and task.benchmark.executor != "direct":
        raise SetupError(
            f"only the executor direct sends a key (not {task.benchmark.executor}): benchmark.executor: direct",
            field="benchmark.api_key",
        )
