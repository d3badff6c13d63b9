"""The type ``Flag``: a flag of an engine as data, what it accepts, and how its values are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autotune_nb.engines.values import from_json, number, render, size
from autotune_nb.errors import did_you_mean
from autotune_nb.secrets.references import variables_in
from autotune_nb.task.parameters import Bool, Choice, Float, Int, Style, Value

#: The type of a flag's values; ``any`` is an unknown one.
Kind = Literal["int", "float", "bool", "choice", "str", "json", "list", "any"]


@dataclass(frozen=True)
class Flag:
    """One flag of an engine: its spelling, type, default and a range worth searching.

    ``style``: ``value`` writes ``--flag VALUE``; ``switch`` writes ``--flag`` for True and nothing for False;
    ``negatable`` writes ``--flag`` or ``--no-flag``; ``json`` writes the value as JSON; ``list`` writes
    ``--flag A B``, ``repeat`` writes ``--flag A --flag B`` and ``comma`` writes ``--flag A,B``.
    ``low``/``high``/``log`` and ``values`` are suggestions for a search. ``minimum`` and ``maximum`` are the numbers
    that the engine accepts, in multiples of ``multiple``; with ``sizes`` also texts such as ``16k``.
    ``other_values`` are accepted too, but not suggested: words in place of a number, and values and spellings that are
    not worth searching. A ``choice`` accepts only its ``values`` and ``other_values``; a flag to which plugins add
    values is a ``str``. ``former`` are its names in previous versions, which are passed as they are written.
    ``changes_numbers`` is whether its values change what the engine computes by more than the order of its sums.
    """

    name: str
    kind: Kind
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
    maximum: float | None = None
    multiple: int = 1
    sizes: bool = False
    other_values: tuple[Value, ...] = ()
    former: tuple[str, ...] = ()
    changes_numbers: bool = False

    @property
    def flag(self) -> str:
        """The flag as it is written on the command line."""
        return self.spelling or "--" + self.name.replace("_", "-")

    def render(self, value: Value, spelling: str = "") -> list[str]:
        """Return the arguments for one value; none for None, which leaves the engine's default."""
        if self.kind == "json":
            value = json_or_text(value)
        return render(spelling or self.flag, self.style, value, on_off="on" in self.values)

    def number(self, value: Value) -> float | None:
        """Return the number that a value of this flag stands for; None for a word such as auto."""
        if isinstance(value, str) and value in self.other_values:
            return None
        return number(value, sizes=self.sizes)

    def problem(self, value: Value) -> str | None:
        """Return why the engine would refuse this value, judged by its type alone; None if it is accepted."""
        if value is None or value in self.other_values or variables_in(value):
            return None
        if self.kind == "any":
            return None
        if self.kind == "json":
            return _json_problem(value)
        if isinstance(value, dict) or (isinstance(value, list) and self.kind != "list"):
            return f"{value!r} is a list or an object, which this flag does not accept"
        if self.kind == "bool" and not isinstance(value, bool):
            return f"{value!r} is not a boolean"
        if self.kind in ("int", "float") and value not in self.values:
            return self._number_problem(value)
        if self.kind == "choice" and self.values:
            return self._unknown_value(value)
        return None

    def _number_problem(self, value: Value) -> str | None:
        found = self.number(value)
        if found is None or (self.kind == "int" and found != int(found)):
            hint = "" if not isinstance(value, str) or (meant := size(value)) is None else f"; write {meant}"
            return f"{value!r} is not a {'whole ' if self.kind == 'int' else ''}number{hint}"
        if self.minimum is not None and found < self.minimum:
            return f"{value!r} is below {self.minimum:g}"
        if self.maximum is not None and found > self.maximum:
            return f"{value!r} is above {self.maximum:g}"
        if self.multiple > 1 and found % self.multiple:
            return f"{value!r} is not a multiple of {self.multiple}"
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


def json_or_text(value: Value) -> Value:
    """Return the value of a JSON text, and everything else as it is."""
    try:
        return from_json(value)
    except ValueError:
        return value


def _json_problem(value: Value) -> str | None:
    try:
        from_json(value)
    except ValueError as error:
        return f"{value!r} is not JSON ({error})"
    return None
