"""From a configuration to the words of the engine's container, on top of what the runtime already says."""

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
#: Kubernetes fills these in; any other $( of a value is meant as it stands.
_FILLED_IN = ("$(MODEL_PATH)", "$(PARALLELISM_SIZE)")
_MODEL_PATH = "$(MODEL_PATH)"
#: What a script may not end in, if flags are to be put after it.
_NO_COMMAND_AT_END = re.compile(r"(?:[&;|)}]|\b(?:fi|done|esac))\s*$")
_FLAG = re.compile(r"--?[A-Za-z]")


@dataclass(frozen=True)
class Words:
    """What a trial's runner says: None leaves the runtime's own."""

    command: tuple[str, ...] | None
    args: tuple[str, ...] | None


def words(
    task: Task, engine: Engine, params: Mapping[str, Value], runner: Mapping[str, Any] | None, served_name: str | None
) -> Words:
    """The runner's ``command`` and ``args`` for one configuration.

    OME replaces both wholly, so whatever the runtime says in the one that is sent has to be said again. Earlier
    spellings of the flags that are set are taken out, and so are switches that the configuration turns off.
    Raises TaskError for ``{{`` in a value, SetupError where the runtime's shell script cannot be extended.
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
        return Words(tuple(map(_for_pod, argv)), ())
    ours = _ours(task, engine, params, served_name)
    command, args = _of_runtime(runner)
    touched = _touched(task, engine, params, served_name)
    script = _script(command, args)
    if script is not None:
        return _in_script(command, args, script, ours, touched)
    kept_command, kept_args = _without(command, touched), _without(args, touched)
    return Words(tuple(kept_command) if kept_command != command else None, (*kept_args, *ours))


def command_line(
    task: Task,
    engine: Engine,
    params: Mapping[str, Value],
    runner: Mapping[str, Any] | None,
    *,
    model_path: str = "",
    served_name: str | None = None,
) -> list[str]:
    """The whole command line as it will run; with the model's path filled in, where that is known."""
    said = words(task, engine, params, runner, served_name)
    command, _ = _of_runtime(runner)
    if said.command is None and not command:
        # The runtime is not known here: the engine's own start stands for it.
        program, model = list(engine.program), model_path or task.model.id_or_path or ""
        return [*engine.start(program, model, served_name, "0.0.0.0", engine.default_port), *(said.args or ())]
    line = [*(said.command if said.command is not None else command), *(said.args or ())]
    return [word.replace(_MODEL_PATH, model_path) for word in line] if model_path else line


def _ours(task: Task, engine: Engine, params: Mapping[str, Value], served_name: str | None) -> list[str]:
    fixed = {k: v for k, v in {**engine.fixed, **task.engine.args}.items() if k not in params}
    arguments = [*engine.arguments(fixed), *engine.arguments(params, task.parameters), *task.engine.raw_args]
    if served_name and engine.served_name_flag:
        arguments = [engine.served_name_flag, served_name, *arguments]
    return list(map(_for_pod, arguments))


def _for_pod(word: str) -> str:
    """A word as the pod takes it: a variable of engine.env is filled in by Kubernetes."""
    return in_a_pod(_literal(word))


def _literal(word: str) -> str:
    """``$(`` as it stands, but for what Kubernetes is to fill in."""
    parts = re.split("|".join(map(re.escape, _FILLED_IN)), word)
    kept = re.findall("|".join(map(re.escape, _FILLED_IN)), word)
    escaped = [part.replace("$(", "$$(") for part in parts]
    return "".join(part + (kept[i] if i < len(kept) else "") for i, part in enumerate(escaped))


def _of_runtime(runner: Mapping[str, Any] | None) -> tuple[list[str], list[str]]:
    found = runner or {}
    return [str(word) for word in found.get("command") or ()], [str(word) for word in found.get("args") or ()]


@dataclass(frozen=True)
class _Spelling:
    """One way to write a flag, and whether a value follows."""

    text: str
    takes_value: bool


def _touched(task: Task, engine: Engine, params: Mapping[str, Value], served_name: str | None) -> dict[str, _Spelling]:
    """Every spelling of the flags that the configuration decides, set or turned off."""
    found: dict[str, _Spelling] = {}
    decided = {**engine.fixed, **task.engine.args, **params}
    for name, value in decided.items():
        own = task.parameters.get(name)
        flag = engine.flag_named(name)
        if value is None and not (flag is not None and flag.style == "switch"):
            # It leaves what the runtime says.
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


def _without(line: Sequence[str], touched: Mapping[str, _Spelling]) -> list[str]:
    """A command line without earlier spellings of the flags that are decided."""
    kept: list[str] = []
    skip = False
    for index, word in enumerate(line):
        if skip:
            skip = False
            continue
        spelled = touched.get(word.split("=", 1)[0]) if word.startswith("-") else None
        if spelled is None:
            kept.append(word)
            continue
        follows = line[index + 1] if index + 1 < len(line) else None
        # A negative number is a value, another flag is not.
        skip = spelled.takes_value and "=" not in word and follows is not None and not _FLAG.match(follows)
    return kept


def _script(command: Sequence[str], args: Sequence[str]) -> str | None:
    """The script of ``bash -c SCRIPT``, wherever it stands; None for a plain command line."""
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
    command: Sequence[str], args: Sequence[str], script: str, ours: Sequence[str], touched: Mapping[str, _Spelling]
) -> Words:
    """The flags at the script's end: words after it would be the script's own arguments, which it does not pass on."""
    text = script.rstrip().rstrip("\\").rstrip()
    last = text.splitlines()[-1] if text else ""
    if not text or _NO_COMMAND_AT_END.search(text) or last.lstrip().startswith("#") or " #" in last:
        raise SetupError(
            f"the runtime runs a shell script to whose end no flags can be added (it ends in {last[-40:]!r}); give the "
            "runtime a plain command, or the whole line as an engine of kind command",
            field="deploy.runtime",
        )
    for spelled in touched.values():
        value = r"(?:[=\s]+(?!-{1,2}[A-Za-z])(?:\"[^\"]*\"|'[^']*'|[^\s\\]+))?" if spelled.takes_value else ""
        text = re.sub(rf"(?<!\S){re.escape(spelled.text)}(?![\w-]){value}", "", text)
    # Quoted for the shell, but open to what Kubernetes fills in before it runs.
    quoted = " ".join(f'"{word}"' if any(one in word for one in _FILLED_IN) else shlex.quote(word) for word in ours)
    whole = f"{text.rstrip()} {quoted}".rstrip()
    replaced = [[whole if word == script else word for word in line] for line in (command, args)]
    return Words(tuple(replaced[0]) if replaced[0] != list(command) else None, tuple(replaced[1]))
