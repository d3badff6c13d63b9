"""Builds the engine container's command and arguments from a configuration and the runtime's own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune_nb.cluster.templates import refuse_go_templates
from autotune_nb.engines.base import Engine, Flag, with_key
from autotune_nb.engines.values import is_flag
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
    own = _own_arguments(task, engine, params, runner, served_name)
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


def _own_arguments(
    task: Task,
    engine: Engine,
    params: Mapping[str, Value],
    runner: Mapping[str, Any] | None,
    served_name: str | None,
) -> list[str]:
    fixed, tuned = _settings(task, engine, params, runner)
    arguments = [*engine.arguments(fixed), *engine.arguments(tuned, task.parameters), *task.engine.raw_args]
    if served_name and engine.served_name_flag:
        arguments = [engine.served_name_flag, served_name, *arguments]
    return list(map(_for_pod, arguments))


def _settings(
    task: Task, engine: Engine, params: Mapping[str, Value], runner: Mapping[str, Any] | None
) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return the task's flags and the configuration; their dotted names extend a JSON flag of the runtime."""
    args = dict(task.engine.args)
    heads = {head for name in (*args, *params) for head, dot, _ in [name.partition(".")] if dot}
    own = runtime_flags(engine, runner)
    for head in heads - args.keys() - params.keys():
        whole = own.get(head)
        dotted = {name: value for name, value in own.items() if name.startswith(f"{head}.")}
        if isinstance(whole, dict) or dotted:
            for name, value in dotted.items():
                whole = with_key(whole if isinstance(whole, dict) else {}, name.split(".")[1:], value)
            args = {head: whole, **args}
    return engine.settings(args, params)


def runtime_flags(engine: Engine, runner: Mapping[str, Any] | None) -> dict[str, Value]:
    """Return the flags of a runtime's command line with their values, under the catalog's names or their own."""
    command, args = _runtime_command(runner)
    script = _script(command, args)
    try:
        # A backslash at the end of a line continues the command.
        words = [*command, *args] if script is None else shlex.split(script.replace("\\\n", " "), comments=True)
    except ValueError:
        words = (script or "").split()
    return engine.flags_in(words)


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
    """A spelling of a flag, and how many words may follow it: none, one, or all up to the next flag."""

    text: str
    takes_value: bool
    takes_list: bool = False


def _overridden(
    task: Task, engine: Engine, params: Mapping[str, Value], served_name: str | None
) -> dict[str, _Spelling]:
    """Return all spellings of the flags that the configuration sets or turns off."""
    found: dict[str, _Spelling] = {}
    values = {**engine.fixed, **task.engine.args, **params}
    raw = engine.flags_in(task.engine.raw_args)
    for name, value in {**values, **{name: value for name, value in raw.items() if _is_single(engine, name)}}.items():
        own = task.parameters.get(name)
        # A dotted name is written with the whole JSON flag.
        head = name.partition(".")[0]
        flag = engine.flag_named(head)
        if value is None and not (flag is not None and flag.style == "switch"):
            # None keeps the runtime's flag.
            continue
        style = (own.style if own is not None else None) or (flag.style if flag is not None else None)
        switch = style in ("switch", "negatable") or (style is None and isinstance(value, bool) and head == name)
        spellings = [own.flag] if own is not None and own.flag else []
        spellings += _spellings(flag) if flag is not None else ["--" + head.replace("_", "-")]
        if switch:
            spellings += ["--no-" + one.removeprefix("--") for one in spellings if one.startswith("--")]
        takes_list = style == "list" or isinstance(value, list)
        found |= {one: _Spelling(one, not switch, takes_list) for one in spellings}
    if served_name and engine.served_name_flag:
        found[engine.served_name_flag] = _Spelling(engine.served_name_flag, takes_value=True)
    return found


def _is_single(engine: Engine, name: str) -> bool:
    flag = engine.flag_named(name)
    return flag is not None and flag.style != "repeat"


def _spellings(flag: Flag) -> list[str]:
    names = [flag.name, *flag.aliases, *flag.former]
    # A short name has one dash, such as -np or -tp; engines that use argparse accept two as well.
    long = [prefix + name.replace("_", "-") for name in names for prefix in ("--", *(("-",) if len(name) < 6 else ()))]
    return list(dict.fromkeys([flag.flag, *long]))


def _normalized(word: str) -> str:
    """Return the flag of a word, without its value and without the key of a JSON flag."""
    flag = word.split("=", 1)[0]
    return flag.partition(".")[0].replace("_", "-")


def _without(line: Sequence[str], overridden: Mapping[str, _Spelling]) -> list[str]:
    """Return a command line without the flags that the configuration overrides."""
    rest: list[str] = []
    at = 0
    while at < len(line):
        word = line[at]
        at += 1
        spelled = overridden.get(_normalized(word)) if word.startswith("-") else None
        if spelled is None:
            rest.append(word)
            continue
        # A negative number is a value, another flag is not.
        takes = "=" not in word and (spelled.takes_value or "." in word)
        while takes and at < len(line) and not is_flag(line[at]):
            at += 1
            takes = spelled.takes_list
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
        one = r"[=\s]+(?!-{1,2}[A-Za-z])(?:\"[^\"]*\"|'[^']*'|[^\s\\]+)"
        value = f"(?:{one}){'*' if spelled.takes_list else '?'}" if spelled.takes_value else ""
        name = re.escape(spelled.text).replace(r"\-", "[-_]") if spelled.text.startswith("--") else spelled.text
        name = name.replace("[-_][-_]", "--", 1)
        text = re.sub(rf"(?<!\S){name}(?:\.[\w.+-]+(?:{one})?|(?![\w.-]){value})", "", text)
    # Quoted for the shell, except what Kubernetes expands before it runs.
    quoted = " ".join(f'"{word}"' if any(one in word for one in _EXPANDED) else shlex.quote(word) for word in own)
    whole = f"{text.rstrip()} {quoted}".rstrip()
    replaced = [[whole if word == script else word for word in line] for line in (command, args)]
    return RunnerCommand(tuple(replaced[0]) if replaced[0] != list(command) else None, tuple(replaced[1]))
