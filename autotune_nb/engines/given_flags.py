"""The flags of a task, wherever they are set: those that are refused, notes on others, and the GPUs of a trial."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from autotune_nb.engines.base import Engine
from autotune_nb.engines.values import number
from autotune_nb.errors import TaskError
from autotune_nb.secrets.literals import has_secret
from autotune_nb.task.parameters import Value
from autotune_nb.task.task import Task

#: How similar a name is to one of the catalog if it may be misspelt; many flags of an engine have similar names.
_MISSPELT = 0.85


class FlagWarning(UserWarning):
    """A flag of a task is passed without a check, or under another name."""


def all_flags(
    task: Task, engine: Engine, params: Mapping[str, Value], runtime: Mapping[str, Value] | None = None
) -> dict[str, Value]:
    """Return the flags of a trial under the catalog's names.

    The configuration overrides the task's flags, and both override those that a cluster's runtime sets.
    """
    flags = dict(runtime or {})
    for given in (engine.flags_in(task.engine.raw_args), engine.named(task.engine.args), engine.named(params)):
        # None keeps the runtime's flag.
        flags |= {name: value for name, value in given.items() if value is not None}
    return flags


def gpus_of_trial(
    task: Task, engine: Engine, params: Mapping[str, Value], runtime: Mapping[str, Value] | None = None
) -> int:
    """Return the number of GPUs of a configuration: the task's, or the one that the engine's parallel sizes need."""
    given = task.deploy.gpus_per_trial
    return engine.gpus(all_flags(task, engine, params, runtime)) if given is None else given


def nearest_flag(name: str, known: Sequence[str]) -> str:
    """Return the known flag of which an unknown name is probably a misspelling; empty if there is none."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=_MISSPELT)), "")


def refused_names(engine: Engine, task: Task) -> list[TaskError]:
    """Return the problems of flags that another field sets, that are set twice, or that need several nodes."""
    problems = []
    fields = {name: f"engine.args.{name}" for name in task.engine.args}
    fields |= {name: f"parameters.{name}" for name in task.parameters}
    raw = engine.flags_in(task.engine.raw_args)
    by_flag = {name: field for given, field in fields.items() for name in engine.named({given: None})}
    for name, field in (*fields.items(), *((name, "engine.raw_args") for name in raw)):
        if name in engine.reserved:
            shown = f"{name} " if field == "engine.raw_args" else ""
            problems.append(TaskError(f"{shown}is set by {engine.reserved[name]}", field=field))
    for name, field in fields.items():
        if engine.flag_named(name) is None and has_secret(name):
            problems.append(TaskError("a secret's own value is no name of a flag", field=field))
    for name, value in raw.items():
        if name in by_flag:
            message = f"--{name.replace('_', '-')} is also set by {by_flag[name]}; remove one of them"
            problems.append(TaskError(message, field="engine.raw_args"))
        elif name in engine.parallel_sizes and number(value) is None:
            problems.append(TaskError(f"{name} is not followed by a number; use engine.args", field="engine.raw_args"))
    if "nnodes" in task.parameters or (number(all_flags(task, engine, {}).get("nnodes")) or 1) > 1:
        field = fields.get("nnodes", "engine.raw_args")
        problems.append(TaskError("a trial runs on one node; several nodes are not supported", field=field))
    return problems


def flag_notes(task: Task, engine: Engine) -> Iterator[str]:
    """Yield notes on the rules, and on flags that the engine's catalog does not contain or that have another name."""
    if task.space.note:
        yield f"rules: {task.space.note}"
    if engine.name == "command":
        return
    known = [flag.name for flag in engine.flags]
    unknown = []
    for name in dict.fromkeys([*task.parameters, *task.engine.args]):
        parameter = task.parameters.get(name)
        head, dot, _ = name.partition(".")
        flag = engine.flag_named(head)
        if parameter is not None and parameter.flag is not None:
            continue
        if flag is None and engine.installed is not None:
            # Such as --no-x: it was checked, but is no flag of its own.
            continue
        if flag is None:
            near = nearest_flag(name, known)
            unknown.append(f"{name} (did you mean {near!r}?)" if near else name)
        elif name in flag.former:
            yield f"{name} is a former name of {flag.name}, and passed as {engine.spelling(name)}"
        elif not dot and name not in (flag.name, *flag.aliases):
            yield f"{name} is read as {flag.name}"
    if unknown:
        verb = "is" if len(unknown) == 1 else "are"
        note = f"{', '.join(unknown)} {verb} not in the catalog of {engine.name}, and passed to the engine unchecked"
        image = f" --image {task.deploy.image}" if task.deploy.image else ""
        ask = f"'autotune-nb engine {engine.name}{image}' reads the installed version's flags"
        yield f"{note}; {ask}" if task.deploy.on_this_machine else note
