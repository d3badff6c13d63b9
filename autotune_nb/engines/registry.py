"""The engine of a task: its catalog entry, the program that starts it, and the rules that apply."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from autotune_nb.engines.base import Engine
from autotune_nb.engines.command import command_engine
from autotune_nb.engines.engine_rules import rules_for, size_problems
from autotune_nb.engines.given_flags import refused_names
from autotune_nb.engines.installed import kept_schema, kept_schema_of_image, with_schema
from autotune_nb.engines.llama_cpp import LLAMA_CPP, llama_program
from autotune_nb.engines.sglang import SGLANG
from autotune_nb.engines.vllm import VLLM
from autotune_nb.errors import SetupError, TaskError, UnknownNameError
from autotune_nb.secrets.literals import without_secrets
from autotune_nb.task.parameters import Value
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task

_ENGINES = {engine.name: engine for engine in (LLAMA_CPP, VLLM, SGLANG)}


def every_engine() -> tuple[Engine, ...]:
    """Return the engines that have a catalog."""
    return tuple(_ENGINES.values())


def engine_named(name: str) -> Engine:
    """Return the catalog entry of an engine. Raises UnknownNameError."""
    try:
        return _ENGINES[name]
    except KeyError:
        raise UnknownNameError("engine", name, _ENGINES) from None


def engine_for(task: Task) -> Engine:
    """Return the task's engine, after checking every parameter against its catalog.

    Raises TaskError for a flag that the engine does not have, or a value that it does not accept. With several
    problems, the message of the first one lists the others.
    """
    engine, problems = _engine_and_problems(task)
    if engine is None or problems:
        data = task.model_dump(exclude_defaults=True)
        first, *others = [without_secrets(problem, data) for problem in problems]
        if not others:
            raise first
        raise TaskError(f"{first.message} (also wrong: {'; '.join(map(str, others))})", field=first.field)
    return engine


def engine_of_study(task: Task) -> Engine:
    """Return the engine of a stored study's task. The catalog of the version that created the study accepted it."""
    engine, problems = _engine_and_problems(task)
    if engine is None:
        raise problems[0]
    return engine


def engine_problems(task: Task) -> list[TaskError]:
    """Return every problem for which ``engine_for`` refuses a task, each with its field."""
    data = task.model_dump(exclude_defaults=True)
    return [without_secrets(problem, data) for problem in _engine_and_problems(task)[1]]


def _engine_and_problems(task: Task) -> tuple[Engine | None, list[TaskError]]:
    spec = task.engine
    problems: list[TaskError] = []
    try:
        engine: Engine = (
            engine_named(spec.kind) if spec.command is None else command_engine(_split(spec.command, "engine.command"))
        )
    except TaskError as error:
        return None, [error]
    if task.deploy.on_this_machine and spec.kind != "command":
        engine = _as_installed(engine, task)
    if spec.health_path is not None:
        engine = replace(engine, health_path=spec.health_path, health_fallback=None)
    for name, parameter in task.parameters.items():
        try:
            engine.check(name, parameter, field=f"parameters.{name}")
        except TaskError as error:
            problems.append(error)
    if spec.kind == "command":
        return engine, problems
    problems += refused_names(engine, task)
    tuned: dict[str, str] = {}
    for name in task.parameters:
        other = tuned.setdefault(_canonical(engine, name), name)
        if other != name:
            problems.append(TaskError(f"is the same flag as parameters.{other}", field=f"parameters.{name}"))
    for name, value in spec.args.items():
        problem = _argument_problem(engine, name, value, tuned)
        if problem is not None:
            problems.append(problem)
    if not problems:
        # The rules need valid values.
        problems += size_problems(task, engine)
    return engine, problems


def _as_installed(engine: Engine, task: Task) -> Engine:
    """Return the engine with the flags of the installed version or of the image, if that was asked for them."""
    if task.deploy.image is not None:
        schema = kept_schema_of_image(engine.name, task.deploy.image)
        return engine if schema is None else with_schema(engine, schema)
    try:
        program = program_for(task, engine)
    except (SetupError, TaskError):
        # Whoever starts the engine reports it.
        return engine
    schema = kept_schema(engine.name, program)
    return engine if schema is None else with_schema(engine, schema)


def _argument_problem(engine: Engine, name: str, value: Value, tuned: Mapping[str, str]) -> TaskError | None:
    field = f"engine.args.{name}"
    flag = engine.flag_named(name)
    if flag is None:
        problem = engine.unknown_flag(name)
        return TaskError(f"{problem}; to pass it anyway, use engine.raw_args", field=field) if problem else None
    # Under the same name it has a single value, which the task allows (``fixed_and_searched``).
    if tuned.get(flag.name, name) != name:
        return TaskError(f"is searched as parameters.{tuned[flag.name]}", field=field)
    problem = flag.problem(value)
    if problem:
        hint = "; to pass it without this check, use engine.raw_args" if flag.kind == "choice" else ""
        return TaskError(f"{flag.flag}: {problem}{hint}", field=field)
    return None


def space_for(task: Task, engine: Engine) -> SearchSpace:
    """Return the task's space, with the engine's own rules that involve a tuned parameter."""
    space = SearchSpace(task.parameters, (*task.space.rules, *rules_for(task, engine)))
    space.require_allowed()
    return space


def _canonical(engine: Engine, name: str) -> str:
    flag = engine.flag_named(name)
    return flag.name if flag else name


def program_for(task: Task, engine: Engine) -> Sequence[str]:
    """Return the program that starts the engine on this machine. Raises SetupError if there is none."""
    return program_words(engine, task.engine.executable)


def program_words(engine: Engine, executable: str | Sequence[str] | None = None) -> Sequence[str]:
    """Return the words that start an engine: the given program, or the installed one. Raises SetupError."""
    if executable is not None:
        return _resolved(executable_words(engine, executable), "engine.executable")
    if engine.name == "llama_cpp":
        program = llama_program()
        if program is None:
            raise SetupError(
                "there is no llama-server on the PATH, and xllamacpp is not installed: pip install "
                "'autotune_nb[local]', or give the path of the program",
                field="engine.executable",
            )
        return program
    return _resolved(list(engine.program), "engine.command" if engine.name == "command" else "engine.executable")


def executable_words(engine: Engine, executable: str | Sequence[str]) -> list[str]:
    """Return the words of ``engine.executable``. A Python alone becomes ``python -m MODULE``, ``vllm`` ``vllm serve``.

    Raises TaskError if it cannot be split into words.
    """
    words = _split(executable, "engine.executable")
    if len(words) != 1:
        return words
    name = Path(words[0]).name
    if engine.module and re.fullmatch(r"python[\d.]*", name):
        return [*words, "-m", engine.module]
    return [*words, *engine.program[1:]] if engine.program and name == Path(engine.program[0]).name else words


def _split(text: str | Sequence[str], field: str) -> list[str]:
    try:
        return shlex.split(text) if isinstance(text, str) else list(text)
    except ValueError as error:
        raise TaskError(f"{text!r} cannot be split into words: {error}", field=field) from None


def _resolved(words: list[str], field: str) -> list[str]:
    # os.path, since Path turns ./program into a name that which() searches on the PATH.
    found = shutil.which(os.path.expanduser(words[0])) if words else None  # noqa: PTH111
    if found is None:
        shown = words[0] if words else ""
        raise SetupError(
            f"the program {shown!r} does not exist or cannot be executed; install it, or give its path", field=field
        )
    if words[0] == sys.executable and words[1:2] == ["-m"] and importlib.util.find_spec(words[2].split(".")[0]) is None:
        raise SetupError(
            f"{words[2].split('.')[0]} is not installed in this Python ({sys.executable}); give the program that "
            "starts the engine, for example [/opt/sglang/bin/python, -m, sglang.launch_server]",
            field=field,
        )
    return [str(Path(found).absolute()), *words[1:]]
