"""What an engine is: its flags as data, how a configuration becomes a command line, how its logs are read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from autotune_nb.errors import FailureKind, TaskError, UnknownNameError, did_you_mean
from autotune_nb.secrets.references import variables_in
from autotune_nb.task.parameters import Bool, Choice, Float, Int, Style, Value, parameter_name


@dataclass(frozen=True)
class Flag:
    """One flag of an engine: its spelling, type, default and a range worth searching.

    ``style``: ``value`` writes ``--flag VALUE``; ``switch`` writes ``--flag`` for True and nothing for False;
    ``negatable`` writes ``--flag`` or ``--no-flag``; ``json`` writes the value as JSON.
    ``low``/``high``/``log`` and ``values`` are suggestions for a search, ``minimum`` is what the engine accepts, and
    ``words`` what it accepts besides: words instead of a number, values and spellings that are not worth searching. A
    ``choice`` accepts its ``values`` and ``words`` alone; a flag whose values plugins add to is a ``str``.
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
    words: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        return self.spelling or "--" + self.name.replace("_", "-")

    def render(self, value: Value) -> list[str]:
        """The arguments for one value; none for None, which leaves the engine's default."""
        return render(self.flag, self.style, value, on_off="on" in self.values)

    def problem(self, value: Value) -> str | None:
        """Why the engine would refuse this value, as far as its type tells; None where it would not."""
        if value is None or value in self.words:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.kind == "bool" and not isinstance(value, bool):
            return f"{value!r} is neither true nor false"
        if self.kind == "int" and not (number and float(value) == int(value)) and value not in self.values:  # type: ignore[arg-type]
            return f"{value!r} is no whole number"
        if self.kind == "float" and not number and value not in self.values:
            return f"{value!r} is no number"
        if self.minimum is not None and number and value < self.minimum:  # type: ignore[operator]
            return f"{value!r} is below {self.minimum:g}"
        if isinstance(value, dict | list) and self.kind != "json":
            return f"{value!r} is a list or an object, which it does not take"
        if self.kind == "choice" and self.values and not variables_in(value):
            return self._unknown(value)
        return None

    def _unknown(self, value: Value) -> str | None:
        known = [str(one) for one in (*self.values, *self.words)]
        # YAML reads a bare on/off as a boolean, and 1 as a number.
        if str(value) in known or (isinstance(value, bool) and "on" in self.values):
            return None
        return f"unknown value {value!r}{did_you_mean(str(value), known)}"

    def suggestion(self) -> Choice | Bool | Int | Float | None:
        """A parameter that searches this flag's sensible range; None where there is none to suggest."""
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
    """The arguments for one flag and value."""
    if value is None:
        return []
    if style == "switch":
        return [flag] if value else []
    if style == "negatable":
        return [flag if value else "--no-" + flag.lstrip("-")]
    if style == "json" or isinstance(value, dict | list):
        return [flag, json.dumps(value, separators=(",", ":"), sort_keys=True)]
    if isinstance(value, bool):
        # YAML reads a bare on/off as a boolean, so flags with such words take them back.
        return [flag, ("on" if value else "off") if on_off else str(value).lower()]
    return [flag, str(value)]


@dataclass(frozen=True)
class LogPattern:
    """A line of an engine's log that tells why it failed."""

    pattern: re.Pattern[str]
    kind: FailureKind
    hint: str = ""

    @classmethod
    def of(cls, pattern: str, kind: FailureKind, hint: str = "") -> LogPattern:
        return cls(re.compile(pattern, re.IGNORECASE), kind, hint)


#: What any engine's log may say. An engine's own patterns come first.
COMMON_PATTERNS = (
    LogPattern.of(
        r"address already in use|couldn't bind|EADDRINUSE",
        FailureKind.INFRASTRUCTURE,
        "another program listens on the port; leave deploy.port out to get a free one",
    ),
    LogPattern.of(
        r"out of memory|OutOfMemory|std::bad_alloc|cannot allocate memory|failed to allocate|no available memory",
        FailureKind.OUT_OF_MEMORY,
        "less memory: fewer slots or sequences, a shorter context, a smaller batch",
    ),
    LogPattern.of(
        r"unrecognized arguments?|unknown (argument|option|flag)|invalid (argument|value|choice)|expected one argument"
        r"|error: argument|usage:",
        FailureKind.CONFIGURATION,
        "compare the flags with the engine's --help",
    ),
    LogPattern.of(
        # Not a debugger's "libc-start.c: No such file" in the trace of a crash.
        r"(?<!\.c: )no such file|does not exist|failed to load model|error loading model|could not find|not a valid",
        FailureKind.CONFIGURATION,
        "look at the model's path and the files it names",
    ),
    LogPattern.of(r"ValueError|AssertionError|NotImplementedError|ValidationError", FailureKind.CONFIGURATION),
)


@dataclass(frozen=True)
class Engine:
    """An inference engine: what starts it, its flags, the rules between them, and how it is asked for health."""

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
    parallel_sizes: tuple[str, ...] = ()
    version_args: tuple[str, ...] = ("--version",)
    metrics_engine: str | None = None

    def flag_named(self, name: str) -> Flag | None:
        """The catalog's flag of that name or alias; None for one it does not know."""
        key = parameter_name(name)
        for flag in self.flags:
            if key == flag.name or key in flag.aliases:
                return flag
        return None

    def check(self, name: str, parameter: Choice | Bool | Int | Float, *, field: str) -> None:
        """Raises TaskError for a flag nobody knows or a value of the wrong type."""
        if parameter.flag is not None:
            return
        flag = self.flag_named(name)
        if flag is None:
            raise UnknownNameError(
                f"{self.name} flag",
                name,
                [f.name for f in self.flags],
                field=field,
                hint=f"to pass a flag that the catalog does not know, add flag: --{name.replace('_', '-')}",
            )
        values: Sequence[Any]
        match parameter:
            case Choice(values=values):
                pass
            case Bool():
                values = [True, False] if flag.kind == "bool" or "on" in flag.values else [None]
                if values == [None]:
                    raise TaskError(f"{flag.flag} is {flag.kind}, not true or false", field=field)
                return
            case Float(low=low, high=high) if flag.kind == "int" and low != high:
                raise TaskError(f"{flag.flag} takes whole numbers; make it type int", field=field)
            case Int(low=low, high=high) | Float(low=low, high=high):
                if flag.kind in ("choice", "json"):
                    raise TaskError(f"{flag.flag} takes no range of numbers; list its values", field=field)
                values = [low, high]
        wrong = [problem for value in values if (problem := flag.problem(value))]
        if wrong:
            hint = ""
            if flag.kind == "choice":
                hint = f"; to pass a value that the catalog does not know, add flag: {flag.flag}"
            raise TaskError(f"{flag.flag}: {'; '.join(wrong)}{hint}", field=field)

    def arguments(
        self, params: Mapping[str, Value], space: Mapping[str, Choice | Bool | Int | Float] | None = None
    ) -> list[str]:
        """The flags of one configuration, in the parameters' order. None values leave the engine's default."""
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
        """The whole command line of one configuration. ``args`` are the task's fixed flags, over the engine's own."""
        fixed = {k: v for k, v in {**self.fixed, **(args or {})}.items() if k not in params}
        start = self.start(program, model, served_name, host, port)
        return [*start, *self.arguments(fixed), *self.arguments(params, space), *raw_args]

    def start(self, program: Sequence[str], model: str, served_name: str | None, host: str, port: int) -> list[str]:
        """What every configuration's command line begins with."""
        # "vllm serve" takes the model by position, its module takes --model.
        argv = [*program, model] if program[-1] == "serve" else [*program, self.model_flag, model]
        if self.served_name_flag and served_name:
            argv += [self.served_name_flag, served_name]
        return [*argv, self.host_flag, host, self.port_flag, str(port)]

    def gpus(self, params: Mapping[str, Value]) -> int:
        """How many GPUs a configuration's parallel sizes need: their product, at least 1."""
        count = 1
        for name, value in params.items():
            flag = self.flag_named(name)
            if flag is not None and flag.name in self.parallel_sizes and isinstance(value, int):
                count *= max(1, value)
        return count


def _guess_style(value: Value) -> Style:
    return "switch" if isinstance(value, bool) else "json" if isinstance(value, dict | list) else "value"
