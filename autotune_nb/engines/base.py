"""The type ``Engine``: the command line of a configuration, and the number of GPUs that it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotune_nb.engines.flag import Flag, json_or_text
from autotune_nb.engines.log_patterns import LogPattern
from autotune_nb.engines.schema import EngineSchema
from autotune_nb.engines.values import number, read_flags, read_value, render
from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import Bool, Choice, Float, Int, Style, Value, parameter_name

__all__ = ["Engine", "Flag", "render"]

#: argparse accepts any unambiguous start of a name; a shorter one may be another flag's.
_SHORTEST_ABBREVIATION = 6


@dataclass(frozen=True)
class Engine:
    """An inference engine: the program that starts it, its flags, the rules between them, and its health check."""

    name: str
    program: tuple[str, ...]
    model_flag: str
    flags: tuple[Flag, ...] = ()
    #: More flags that are written and checked alike, but not offered for a search.
    other_flags: tuple[Flag, ...] = ()
    rules: tuple[str, ...] = ()
    fixed: Mapping[str, Value] = field(default_factory=dict)
    #: The switch that turns on the engine's Prometheus metrics, if they are off by default.
    metrics_flag: str | None = None
    host_flag: str = "--host"
    port_flag: str = "--port"
    served_name_flag: str | None = None
    default_port: int = 8000
    health_path: str = "/health"
    #: The path that is asked instead if the server does not have ``health_path``.
    health_fallback: str | None = None
    backend: str = "openai"
    patterns: tuple[LogPattern, ...] = ()
    #: A line that the engine logs once it is ready; None if there is none.
    ready_line: re.Pattern[str] | None = None
    parallel_sizes: tuple[str, ...] = ()
    #: The flags that decide which kernels and graphs are compiled. An engine that keeps its caches compiles once for
    #: each combination of their values.
    compile_flags: tuple[str, ...] = ()
    #: Environment variables that name the folders of its compile and kernel caches, each with a folder's name.
    cache_variables: Mapping[str, str] = field(default_factory=dict)
    #: A switch with which the sizes of ``shared_sizes`` use the GPUs of the others.
    sharing_flag: str | None = None
    shared_sizes: tuple[str, ...] = ()
    #: Rules with the model's attention heads, as ``{heads}``; the engine may pad them where it does not run on GPUs.
    head_rules: tuple[str, ...] = ()
    heads_on_gpus_only: bool = False
    #: The flag with the longest sequence, or with the context of all requests together.
    context_flag: str = ""
    #: How a flag that is not in the catalog is written for a boolean and for a list.
    bool_style: Style = "switch"
    list_style: Style = "list"
    #: Whether the program accepts the start of a flag's name, as argparse does.
    abbreviations: bool = False
    #: Flags that the task sets elsewhere, with the field for it.
    reserved: Mapping[str, str] = field(default_factory=dict)
    #: Arguments with which the program prints its version, and paths under which its server reports it.
    version_args: tuple[str, ...] = ("--version",)
    version_paths: tuple[str, ...] = ()
    #: The module of a Python engine whose parser has its flags, the packages that it may come in, and for another
    #: engine the arguments with which it prints its flags.
    module: str = ""
    packages: tuple[str, ...] = ()
    help_args: tuple[str, ...] = ("--help",)
    #: The flags of the installed version, if it was asked; flags that it does not have are then refused.
    installed: EngineSchema | None = None
    metrics_engine: str | None = None

    def flag_named(self, name: str) -> Flag | None:
        """Return the catalog's flag with this name, alias, former name or abbreviation; None if there is none."""
        key = parameter_name(name)
        for flag in (*self.flags, *self.other_flags):
            if key == flag.name or key in flag.aliases or key in flag.former:
                return flag
        if self.installed is not None:
            found = self.installed.flag_named(key)
            every = (*self.flags, *self.other_flags)
            return next((one for one in every if found and found.name in (one.name, *one.aliases)), None)
        if self.abbreviations and len(key) >= _SHORTEST_ABBREVIATION:
            starting = [flag for flag in self.flags if flag.name.startswith(key)]
            return starting[0] if len(starting) == 1 else None
        return None

    def unknown_flag(self, name: str) -> str | None:
        """Return why the installed version would refuse a flag of this name; None if it has it, or was not asked."""
        return self.installed.problem(name) if self.installed is not None else None

    def spelling(self, name: str) -> str:
        """Return the flag of a parameter as it is written: a former name stays, since only old versions have it."""
        flag = self.flag_named(name)
        if flag is None or parameter_name(name) in flag.former:
            head, dot, rest = parameter_name(name).partition(".")
            known = self.flag_named(head) if dot else None
            return (known.flag if known else "--" + head.replace("_", "-")) + dot + rest
        return flag.flag

    def check(self, name: str, parameter: Choice | Bool | Int | Float, *, field: str) -> None:
        """Raise TaskError for a value that the flag does not accept; a flag that is not in the catalog accepts all."""
        if parameter.flag is not None:
            return
        flag = self.flag_named(name)
        if flag is None:
            if problem := self.unknown_flag(name):
                raise TaskError(f"{problem}; to pass it anyway, add flag: --{name.replace('_', '-')}", field=field)
            return
        values: Sequence[Any]
        match parameter:
            case Choice(values=values):
                pass
            case Bool():
                values = [True, False] if flag.kind == "bool" or "on" in flag.values else [None]
                if values == [None]:
                    raise TaskError(f"{flag.flag} is {flag.kind}, not a boolean", field=field)
                return
            case Float(low=low, high=high) if flag.kind == "int" and low != high:
                raise TaskError(f"{flag.flag} accepts whole numbers only; use type int", field=field)
            case Int(low=low, high=high) | Float(low=low, high=high):
                if flag.kind in ("choice", "json"):
                    raise TaskError(f"{flag.flag} does not accept a range of numbers; list its values", field=field)
                values = [low, high]
                if flag.multiple > 1 and low != high and (parameter.log or (parameter.step or 1) % flag.multiple):
                    raise TaskError(f"{flag.flag} accepts multiples of {flag.multiple}; list its values", field=field)
        wrong = [problem for value in values if (problem := flag.problem(value))]
        if wrong:
            hint = ""
            if flag.kind == "choice":
                hint = f"; to pass a value that is not in the catalog, add flag: {flag.flag}"
            raise TaskError(f"{flag.flag}: {'; '.join(wrong)}{hint}", field=field)

    def arguments(
        self, params: Mapping[str, Value], space: Mapping[str, Choice | Bool | Int | Float] | None = None
    ) -> list[str]:
        """Return the flags of one configuration, in the parameters' order. A None leaves the engine's default."""
        result: list[str] = []
        for name, value in params.items():
            own = (space or {}).get(name)
            flag = self.flag_named(name)
            if own is not None and (own.flag or own.style):
                style = own.style or self._style(name, value)
                if style == "json" and isinstance(from_text := json_or_text(value), dict | list):
                    value = from_text
                result += render(own.flag or self.spelling(name), style, value)
            elif flag is not None:
                result += flag.render(value, self.spelling(name))
            else:
                result += render(self.spelling(name), self._style(name, value), value)
        return result

    def _style(self, name: str, value: Value) -> Style:
        """Return the style of a flag that is not in the catalog."""
        if "." in name:
            # A key of a JSON flag: its value is JSON, where texts need no quotes.
            return "value"
        if isinstance(value, bool):
            return self.bool_style
        return self.list_style if isinstance(value, list) else "json" if isinstance(value, dict) else "value"

    def settings(
        self, args: Mapping[str, Value], params: Mapping[str, Value]
    ) -> tuple[dict[str, Value], dict[str, Value]]:
        """Return the fixed flags and the configuration, with dotted names merged into the JSON flag that they extend.

        The engine would otherwise use the last of both and drop the rest.
        """
        fixed = {k: v for k, v in {**self.fixed, **args}.items() if k not in params}
        tuned = dict(params)
        for given in (fixed, dict(params)):
            for name, value in given.copy().items():
                head, dot, rest = name.partition(".")
                target = next((one for one in (tuned, fixed) if dot and head in one), None)
                whole = json_or_text(target[head]) if target is not None else None
                if target is None or not isinstance(whole, dict) or value is None:
                    continue
                target[head] = with_key(whole, rest.split("."), value)
                fixed.pop(name, None)
                tuned.pop(name, None)
        return fixed, tuned

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
        """Return the command line of one configuration. ``args``, the task's fixed flags, override the engine's own."""
        fixed, tuned = self.settings({**self._metrics(raw_args), **(args or {})}, params)
        leading = self.leading_arguments(program, model, served_name, host, port)
        return [*leading, *self.arguments(fixed), *self.arguments(tuned, space), *raw_args]

    def _metrics(self, raw_args: Sequence[str]) -> dict[str, Value]:
        """Return the flag that turns the metrics on, unless the installed version lacks it or it is given."""
        flag = self.metrics_flag
        return {flag: True} if flag and not self.unknown_flag(flag) and flag not in self.flags_in(raw_args) else {}

    def leading_arguments(
        self, program: Sequence[str], model: str, served_name: str | None, host: str, port: int
    ) -> list[str]:
        """Return the start of the command line, which is the same for every configuration."""
        # "vllm serve" has the model as a positional argument; vLLM's module has --model.
        argv = [*program, model] if program[-1] == "serve" else [*program, self.model_flag, model]
        if self.served_name_flag and served_name:
            argv += [self.served_name_flag, served_name]
        return [*argv, self.host_flag, host, self.port_flag, str(port)]

    def gpus(self, params: Mapping[str, Value]) -> int:
        """Return the number of GPUs a configuration needs: the product of its parallel sizes, at least 1."""
        count = 1
        for name in self.counted_sizes(params):
            value = number(self.named(params).get(name))
            if value is not None:
                count *= max(1, int(value))
        return count

    def counted_sizes(self, params: Mapping[str, Value]) -> tuple[str, ...]:
        """Return the parallel sizes that multiply the GPUs of a configuration."""
        if self.sharing_flag is None or not self.named(params).get(self.sharing_flag):
            return self.parallel_sizes
        return tuple(name for name in self.parallel_sizes if name not in self.shared_sizes)

    def compiles(self, name: str) -> bool:
        """Return whether a parameter decides what is compiled."""
        flag = self.flag_named(name)
        return (flag.name if flag is not None else name.partition(".")[0]) in self.compile_flags

    def compile_key(self, params: Mapping[str, Value]) -> Hashable:
        """Return what configurations have in common whose starts can use the same compilation caches.

        It has the values of ``compile_flags`` that differ from the engine's default.
        """
        key = []
        for name, value in self.named(params).items():
            if self.compiles(name):
                flag = self.flag_named(name)
                if value is not None and (flag is None or value != flag.default):
                    # As JSON: lists and objects have no hash, and 1 equals True.
                    key.append((name, json.dumps(value, sort_keys=True)))
        return tuple(sorted(key))

    def named(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Return a configuration under the catalog's names."""
        return {flag.name if (flag := self.flag_named(name)) else name: value for name, value in params.items()}

    def flags_in(self, words: Sequence[str]) -> dict[str, Value]:
        """Return the flags of a command line with their values, under the catalog's names or their own."""
        return self.named({parameter_name(flag): read_value(values) for flag, values in read_flags(words)})


def with_key(whole: Mapping[str, Any], keys: Sequence[str], value: Value) -> dict[str, Any]:
    """Return a JSON object with one more key, which may be nested."""
    if len(keys) > 1:
        inner = whole.get(keys[0])
        value = with_key(inner if isinstance(inner, Mapping) else {}, keys[1:], value)
    return {**whole, keys[0]: value}
