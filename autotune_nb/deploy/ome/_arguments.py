"""Builds the engine container's command and arguments from a configuration and the runtime's own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune_nb.cluster.templates import refuse_go_templates
from autotune_nb.engines.base import Engine, Flag
from autotune_nb.errors import SetupError
from autotune_nb.secrets.references import in_a_pod
from autotune_nb.task.parameters import Value
from autotune_nb.task.task import Task

_SHELLS = frozenset({"sh", "bash", "ash", "dash", "zsh"})
#: Kubernetes expands these; any other $( in a value is escaped.
_EXPANDED = ("$(MODEL_PATH)", "$(PARALLELISM_SIZE)")
_MODEL_PATH = "$(MODEL_PATH)"
#: Flags cannot be appended to a script with such an end.
_NO_COMMAND_AT_END = re.compile(r"(?:[&;|)}]|\b(?:fi|done|esac))\s*$")
_FLAG = re.compile(r"--?[A-Za-z]")


@dataclass(frozen=True)
class RunnerCommand:
    """The command and arguments of a trial's container; None keeps the runtime's."""

    command: tuple[str, ...] | None
    args: tuple[str, ...] | None


def runner_command(
    task: Task, engine: Engine, params: Mapping[str, Value], runner: Mapping[str, Any] | None, served_name: str | None
) -> RunnerCommand:
    """Return the ``command`` and ``args`` of the container for one configuration.

    OME replaces each of them as a whole, so the result repeats the runtime's, without the flags that the configuration
    sets and the switches that it turns off. Raises TaskError for ``{{`` in a value, and SetupError if the runtime's
    shell script cannot be extended.
    """
    for field, values in (("engine.args", task.engine.args), ("parameters", params)):
        refuse_go_templates(dict(values), field=field)
    refuse_go_templates(list(task.engine.raw_args), field="engine.raw_args")
    if engine.name == "command":
        argv = engine.argv(
            program=engine.program,
            model=_MODEL_PATH,
            served_name=served_name,
            host="0.0.0.0",
            port=engine.default_port,
            params=params,
            space=task.parameters,
            args=task.engine.args,
            raw_args=task.engine.raw_args,
        )
        return RunnerCommand(tuple(map(_for_pod, argv)), ())
    own = _own_arguments(task, engine, params, served_name)
    command, args = _runtime_command(runner)
    overridden = _overridden(task, engine, params, served_name)
    script = _script(command, args)
    if script is not None:
        return _in_script(command, args, script, own, overridden)
    rest_command, rest_args = _without(command, overridden), _without(args, overridden)
    return RunnerCommand(tuple(rest_command) if rest_command != command else None, (*rest_args, *own))


def command_line(
    task: Task,
    engine: Engine,
    params: Mapping[str, Value],
    runner: Mapping[str, Any] | None,
    *,
    model_path: str = "",
    served_name: str | None = None,
) -> list[str]:
    """Return the whole command line, with the model's path if it is known."""
    ours = runner_command(task, engine, params, runner, served_name)
    command, _ = _runtime_command(runner)
    if ours.command is None and not command:
        # Without the runtime, use the engine's default command.
        program, model = list(engine.program), model_path or task.model.id_or_path or ""
        return [
            *engine.leading_arguments(program, model, served_name, "0.0.0.0", engine.default_port),
            *(ours.args or ()),
        ]
    line = [*(ours.command if ours.command is not None else command), *(ours.args or ())]
    return [word.replace(_MODEL_PATH, model_path) for word in line] if model_path else line


def _own_arguments(task: Task, engine: Engine, params: Mapping[str, Value], served_name: str | None) -> list[str]:
    fixed = {k: v for k, v in {**engine.fixed, **task.engine.args}.items() if k not in params}
    arguments = [*engine.arguments(fixed), *engine.arguments(params, task.parameters), *task.engine.raw_args]
    if served_name and engine.served_name_flag:
        arguments = [engine.served_name_flag, served_name, *arguments]
    return list(map(_for_pod, arguments))


def _for_pod(word: str) -> str:
    """Return an argument for the pod; Kubernetes expands the variables of engine.env."""
    return in_a_pod(_literal(word))


def _literal(word: str) -> str:
    """Escape ``$(`` except in what Kubernetes is to expand."""
    parts = re.split("|".join(map(re.escape, _EXPANDED)), word)
    expanded = re.findall("|".join(map(re.escape, _EXPANDED)), word)
    escaped = [part.replace("$(", "$$(") for part in parts]
    return "".join(part + (expanded[i] if i < len(expanded) else "") for i, part in enumerate(escaped))


def _runtime_command(runner: Mapping[str, Any] | None) -> tuple[list[str], list[str]]:
    container = runner or {}
    return [str(word) for word in container.get("command") or ()], [str(word) for word in container.get("args") or ()]


@dataclass(frozen=True)
class _Spelling:
    """A spelling of a flag, and whether a value follows."""

    text: str
    takes_value: bool


def _overridden(
    task: Task, engine: Engine, params: Mapping[str, Value], served_name: str | None
) -> dict[str, _Spelling]:
    """Return all spellings of the flags that the configuration sets or turns off."""
    found: dict[str, _Spelling] = {}
    values = {**engine.fixed, **task.engine.args, **params}
    for name, value in values.items():
        own = task.parameters.get(name)
        flag = engine.flag_named(name)
        if value is None and not (flag is not None and flag.style == "switch"):
            # None keeps the runtime's flag.
            continue
        style = (own.style if own is not None else None) or (flag.style if flag is not None else None)
        switch = style in ("switch", "negatable") or (style is None and isinstance(value, bool))
        spellings = [own.flag] if own is not None and own.flag else []
        spellings += _spellings(flag) if flag is not None else ["--" + name.replace("_", "-")]
        if switch:
            spellings += ["--no-" + one.removeprefix("--") for one in spellings if one.startswith("--")]
        found |= {one: _Spelling(one, not switch) for one in spellings}
    if served_name and engine.served_name_flag:
        found[engine.served_name_flag] = _Spelling(engine.served_name_flag, takes_value=True)
    return found


def _spellings(flag: Flag) -> list[str]:
    return [flag.flag, *("--" + alias.replace("_", "-") for alias in flag.aliases)]


def _without(line: Sequence[str], overridden: Mapping[str, _Spelling]) -> list[str]:
    """Return a command line without the flags that the configuration overrides."""
    rest: list[str] = []
    skip = False
    for index, word in enumerate(line):
        if skip:
            skip = False
            continue
        spelled = overridden.get(word.split("=", 1)[0]) if word.startswith("-") else None
        if spelled is None:
            rest.append(word)
            continue
        follows = line[index + 1] if index + 1 < len(line) else None
        # A negative number is a value, another flag is not.
        skip = spelled.takes_value and "=" not in word and follows is not None and not _FLAG.match(follows)
    return rest


def _script(command: Sequence[str], args: Sequence[str]) -> str | None:
    """Return the script of a command line such as ``bash -c SCRIPT``; None if it has none."""
    line = [*command, *args]
    if not line or line[0].rsplit("/", 1)[-1] not in _SHELLS:
        return None
    for index, word in enumerate(line[1:], start=1):
        if word.startswith("-") and word != "--":
            continue
        if word != "--":
            flags = [one for one in line[1:index] if one.startswith("-") and not one.startswith("--")]
            return word if any("c" in one for one in flags) else None
    return None


def _in_script(
    command: Sequence[str], args: Sequence[str], script: str, own: Sequence[str], overridden: Mapping[str, _Spelling]
) -> RunnerCommand:
    """Append the flags to the script; arguments after it would not reach the engine."""
    text = script.rstrip().rstrip("\\").rstrip()
    last = text.splitlines()[-1] if text else ""
    if not text or _NO_COMMAND_AT_END.search(text) or last.lstrip().startswith("#") or " #" in last:
        raise SetupError(
            f"flags cannot be appended to the runtime's shell script (it ends in {last[-40:]!r}); give the "
            "runtime a plain command, or the whole command line as an engine of kind command",
            field="deploy.runtime",
        )
    for spelled in overridden.values():
        value = r"(?:[=\s]+(?!-{1,2}[A-Za-z])(?:\"[^\"]*\"|'[^']*'|[^\s\\]+))?" if spelled.takes_value else ""
        text = re.sub(rf"(?<!\S){re.escape(spelled.text)}(?![\w-]){value}", "", text)
    # Quoted for the shell, except what Kubernetes expands before it runs.
    quoted = " ".join(f'"{word}"' if any(one in word for one in _EXPANDED) else shlex.quote(word) for word in own)
    whole = f"{text.rstrip()} {quoted}".rstrip()
    replaced = [[whole if word == script else word for word in line] for line in (command, args)]
    return RunnerCommand(tuple(replaced[0]) if replaced[0] != list(command) else None, tuple(replaced[1]))
