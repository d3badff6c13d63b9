"""The schema of an installed engine: every flag that its own program accepts, and what each accepts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from autotune_nb.engines.flag import Flag, Kind
from autotune_nb.errors import SetupError
from autotune_nb.task.parameters import Style, Value, parameter_name

_KINDS: dict[str | None, Kind] = {
    None: "str",
    "str": "str",
    "int": "int",
    "float": "float",
    "human_readable_int": "int",
    **dict.fromkeys(("json", "loads", "parse_dataclass", "json_loads"), "json"),
}
#: How similar a name is if it may be what is meant.
_SIMILAR = 0.7


@dataclass(frozen=True)
class InstalledFlag:
    """One flag as the installed program describes it; ``spellings`` begin with the one to write."""

    name: str
    spellings: tuple[str, ...]
    kind: Kind
    style: Style = "value"
    choices: tuple[Value, ...] = ()
    default: Value = None
    #: Whether texts such as ``16k`` are accepted as numbers.
    sizes: bool = False
    help: str = ""
    #: The spellings of off, such as ``--no-x``.
    negations: tuple[str, ...] = ()
    #: Whether the choices are all that is accepted; a converter or a help text may leave some out.
    all_choices: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The names of a parameter that is written as this flag."""
        return frozenset(parameter_name(one) for one in self.spellings)

    def to_flag(self) -> Flag:
        """Return the flag as the catalog has flags."""
        return Flag(
            self.name, self.kind, self.help, self.default, values=self.choices, style=self.style, sizes=self.sizes,
            spelling=self.spellings[0], aliases=tuple(sorted(self.names - {self.name})),
        )  # fmt: skip


@dataclass(frozen=True)
class EngineSchema:
    """The flags of one installed version of an engine; ``version`` is None if the program does not report it."""

    engine: str
    version: str | None
    flags: tuple[InstalledFlag, ...]
    #: Whether the program accepts the start of a flag's name.
    prefixes: bool = False
    #: The words that start the program, and the folder of the package's metadata or the image's digest.
    program: tuple[str, ...] = ()
    identity: str = ""
    _by_name: Mapping[str, InstalledFlag] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {name: flag for flag in self.flags for name in flag.names})

    @property
    def title(self) -> str:
        """The engine with its version, for messages."""
        return f"{self.engine} {self.version}" if self.version else f"this {self.engine}"

    def exact(self, name: str) -> InstalledFlag | None:
        """Return the flag with this name or spelling."""
        return self._by_name.get(parameter_name(name))

    def flag_named(self, name: str) -> InstalledFlag | None:
        """Return the flag of a parameter's name, or of the unambiguous start of one if the program accepts that."""
        key = parameter_name(name)
        exact = self._by_name.get(key)
        if exact is not None or not self.prefixes:
            return exact
        starting = {flag.name: flag for known, flag in self._by_name.items() if known.startswith(key)}
        return next(iter(starting.values())) if len(starting) == 1 else None

    def problem(self, name: str) -> str | None:
        """Return why the program would refuse a flag of this name; None if it has the flag."""
        head = parameter_name(name).partition(".")[0]
        if self.flag_named(head) is not None:
            return None
        spelling = "--" + head.replace("_", "-")
        if any(spelling in flag.negations for flag in self.flags):
            return None
        near = difflib.get_close_matches(head, list(self._by_name), n=1, cutoff=_SIMILAR)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{self.title} has no flag {spelling}{hint}"

    def lacks(self, flags: Iterable[Flag]) -> list[str]:
        """Return the names of those flags that the program does not have: dropped, renamed or not yet there."""
        return [flag.name for flag in flags if not any(map(self.exact, (flag.name, *flag.former)))]

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as JSON has it."""
        data = asdict(self)
        del data["_by_name"]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EngineSchema:
        """Read a schema that ``to_dict`` wrote. Raises SetupError for other data."""
        try:
            flags = tuple(
                InstalledFlag(**{**one, **{key: tuple(one[key]) for key in ("spellings", "choices", "negations")}})
                for one in data["flags"]
            )
            return cls(**{**data, "flags": flags, "program": tuple(data["program"])})
        except (KeyError, TypeError) as error:
            raise SetupError(f"this is no schema of an engine: {type(error).__name__} {error}") from error


def flag_of_action(action: Mapping[str, Any]) -> InstalledFlag:
    """Return the flag of an argparse action, as ``_print_flags`` describes it."""
    negations, choices = tuple(action["negations"]), tuple(action["choices"] or ())
    positive = [one for one in action["spellings"] if one not in negations]
    spellings = sorted(positive, key=lambda one: not one.startswith("--"))
    several = action["nargs"] in ("+", "*") or (isinstance(action["nargs"], int) and action["nargs"] > 1)
    kind: Kind = "list" if several else _KINDS.get(action["type"], "any")
    style: Style = "list" if kind == "list" else "json" if kind == "json" else "value"
    if action["nargs"] == 0:
        kind, style = "bool", "negatable" if negations else "switch"
    elif "Append" in action["action"]:
        kind, style = "list", "repeat"
    elif choices and not several:
        kind, style = "choice", "value"
    default = action["default"] if isinstance(action["default"], bool | int | float | str) else None
    return InstalledFlag(
        parameter_name(spellings[0]), tuple(spellings), kind, style, choices, default,
        action["type"] == "human_readable_int", _first_sentence(action["help"] or ""), negations,
        bool(choices) and action["type"] in (None, "str"),
    )  # fmt: skip


def _first_sentence(text: str) -> str:
    """Return the start of a help text, on one line."""
    line = " ".join(text.split())
    return re.split(r"(?<=[.!?])\s", line, maxsplit=1)[0]
