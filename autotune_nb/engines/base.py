"""The type ``Engine``: its flags as data, and the command line of a configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from autotune_nb.engines.log_patterns import LogPattern
from autotune_nb.errors import TaskError, UnknownNameError, did_you_mean
from autotune_nb.secrets.references import variables_in
from autotune_nb.task.parameters import Bool, Choice, Float, Int, Style, Value, parameter_name


@dataclass(frozen=True)
class Flag:
    """One flag of an engine: its spelling, type, default and a range worth searching.

    ``style``: ``value`` writes ``--flag VALUE``; ``switch`` writes ``--flag`` for True and nothing for False;
    ``negatable`` writes ``--flag`` or ``--no-flag``; ``json`` writes the value as JSON.
    ``low``/``high``/``log`` and ``values`` are suggestions for a search. ``minimum`` is the smallest number that the
    engine accepts. ``other_values`` are accepted too, but not suggested: words in place of a number, and values and
    spellings that are not worth searching. A ``choice`` accepts only its ``values`` and ``other_values``; a flag to
    which plugins add values is a ``str``.
    """

    name: str
    kind: Literal["int", "float", "bool", "choice", "str", "json"]
    help: str
    default: Value = None
    low: float | None = None
    high: float | None = None
    log: bool = False
    values: tuple[Value, ...] = ()
    style: Style = "value"
    spelling: str = ""
    aliases: tuple[str, ...] = ()
    minimum: float | None = None
    other_values: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The flag as it is written on the command line."""
        return self.spelling or "--" + self.name.replace("_", "-")

    def render(self, value: Value) -> list[str]:
        """Return the arguments for one value; none for None, which leaves the engine's default."""
        return render(self.flag, self.style, value, on_off="on" in self.values)

    def problem(self, value: Value) -> str | None:
        """Return why the engine would refuse this value, judged by its type alone; None if it is accepted."""
        if value is None or value in self.other_values:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.kind == "bool" and not isinstance(value, bool):
            return f"{value!r} is not a boolean"
        if self.kind == "int" and not (number and float(value) == int(value)) and value not in self.values:  # type: ignore[arg-type]
            return f"{value!r} is not a whole number"
        if self.kind == "float" and not number and value not in self.values:
            return f"{value!r} is not a number"
        if self.minimum is not None and number and value < self.minimum:  # type: ignore[operator]
            return f"{value!r} is below {self.minimum:g}"
        if isinstance(value, dict | list) and self.kind != "json":
            return f"{value!r} is a list or an object, which this flag does not accept"
        if self.kind == "choice" and self.values and not variables_in(value):
            return self._unknown_value(value)
        return None

    def _unknown_value(self, value: Value) -> str | None:
        known = [str(one) for one in (*self.values, *self.other_values)]
        # YAML reads a bare on/off as a boolean, and 1 as a number.
        if str(value) in known or (isinstance(value, bool) and "on" in self.values):
            return None
        return f"unknown value {value!r}{did_you_mean(str(value), known)}"

    def suggestion(self) -> Choice | Bool | Int | Float | None:
        """Return a parameter that searches this flag's suggested range; None if the flag has none."""
        if self.kind == "bool":
            return Bool()
        if self.values:
            return Choice(values=list(self.values))
        if self.low is None or self.high is None:
            return None
        if self.kind == "int":
            return Int(low=int(self.low), high=int(self.high), log=self.log)
        return Float(low=self.low, high=self.high, log=self.log)


def render(flag: str, style: Style, value: Value, *, on_off: bool = False) -> list[str]:
    """Return the arguments for one flag and value."""
    if value is None:
        return []
    if style == "switch":
        return [flag] if value else []
    if style == "negatable":
        return [flag if value else "--no-" + flag.lstrip("-")]
    if style == "json" or isinstance(value, dict | list):
        return [flag, json.dumps(value, separators=(",", ":"), sort_keys=True)]
    if isinstance(value, bool):
        # YAML reads a bare on/off as a boolean, so a flag with these values gets the words back.
        return [flag, ("on" if value else "off") if on_off else str(value).lower()]
    return [flag, str(value)]


@dataclass(frozen=True)
class Engine:
    """An inference engine: the program that starts it, its flags, the rules between them, and its health check."""

    name: str
    program: tuple[str, ...]
    model_flag: str
    flags: tuple[Flag, ...] = ()
    rules: tuple[str, ...] = ()
    fixed: Mapping[str, Value] = field(default_factory=dict)
    host_flag: str = "--host"
    port_flag: str = "--port"
    served_name_flag: str | None = None
    default_port: int = 8000
    health_path: str = "/health"
    backend: str = "openai"
    patterns: tuple[LogPattern, ...] = ()
    #: A line that the engine logs once it is ready; None if there is none.
    ready_line: re.Pattern[str] | None = None
    parallel_sizes: tuple[str, ...] = ()
    version_args: tuple[str, ...] = ("--version",)
    metrics_engine: str | None = None

    def flag_named(self, name: str) -> Flag | None:
        """Return the catalog's flag with this name or alias; None if there is none."""
        key = parameter_name(name)
        for flag in self.flags:
            if key == flag.name or key in flag.aliases:
                return flag
        return None

    def check(self, name: str, parameter: Choice | Bool | Int | Float, *, field: str) -> None:
        """Raise TaskError for an unknown flag or a value that the flag does not accept."""
        if parameter.flag is not None:
            return
        flag = self.flag_named(name)
        if flag is None:
            raise UnknownNameError(
                f"{self.name} flag",
                name,
                [f.name for f in self.flags],
                field=field,
                hint=f"to pass a flag that is not in the catalog, add flag: --{name.replace('_', '-')}",
            )
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
                spelled = own.flag or (flag.flag if flag else "--" + name.replace("_", "-"))
                result += render(spelled, own.style or _guess_style(value), value)
            elif flag is not None:
                result += flag.render(value)
            else:
                result += render("--" + name.replace("_", "-"), _guess_style(value), value)
        return result

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
        fixed = {k: v for k, v in {**self.fixed, **(args or {})}.items() if k not in params}
        leading = self.leading_arguments(program, model, served_name, host, port)
        return [*leading, *self.arguments(fixed), *self.arguments(params, space), *raw_args]

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
        for name, value in params.items():
            flag = self.flag_named(name)
            if flag is not None and flag.name in self.parallel_sizes and isinstance(value, int):
                count *= max(1, value)
        return count


def _guess_style(value: Value) -> Style:
    return "switch" if isinstance(value, bool) else "json" if isinstance(value, dict | list) else "value"
