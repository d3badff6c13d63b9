"""The types of search parameters, as a task file defines them."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from autotune_nb.trial import trial


def _json(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} cannot be written as JSON") from None
    return value


#: A parameter's value in a task file.
Value = Annotated[trial.Value, AfterValidator(_json)]

#: How a value is converted to flags; see ``engines.base.Flag``.
Style = Literal["value", "switch", "negatable", "json", "list", "repeat", "comma"]


def parameter_name(name: Any) -> str:
    """Return the name that rules use: ``max_num_seqs`` for both ``--max-num-seqs`` and ``max-num-seqs``.

    ``compilation-config.mode`` is the key ``mode`` of a JSON flag.
    """
    if not isinstance(name, str):
        # YAML reads an unquoted true, null or 1 as another type.
        raise ValueError(f"a name must be text, not {name!r}; put it in quotes")
    # The keys after a dot are those of a JSON flag, which keep their dashes.
    head, dot, keys = name.strip().lstrip("-").partition(".")
    return head.replace("-", "_") + dot + keys


ParameterName = Annotated[
    str,
    BeforeValidator(parameter_name),
    StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_][A-Za-z0-9_-]*)*$", max_length=80),
]


class _Parameter(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    flag: str | None = Field(
        None,
        description="the spelling of a flag that is not in the engine's catalog",
        pattern="^-",
    )
    style: Style | None = Field(
        None,
        description="how the value is passed: after the flag, as a bare switch, as --flag/--no-flag, as JSON, or a "
        "list as --flag A B (list), --flag A --flag B (repeat) or --flag A,B (comma)",
    )


class Choice(_Parameter):
    """One of a list of values."""

    type: Literal["choice"] = "choice"
    values: list[Value] = Field(min_length=1)

    @field_validator("values")
    @classmethod
    def _distinct(cls, values: list[Value]) -> list[Value]:
        seen: list[str] = []
        for value in values:
            text = json.dumps(value, sort_keys=True)
            if text in seen:
                raise ValueError(f"the value {text} is listed twice")
            seen.append(text)
        return values

    @cached_property
    def value_texts(self) -> frozenset[str]:
        """The values as JSON."""
        return frozenset(json.dumps(value, sort_keys=True) for value in self.values)

    @cached_property
    def codes(self) -> dict[str, bool | int | float | str | None]:
        """Optuna's value for each value, by its JSON. They are distinct: to Optuna 1, 1.0 and True are equal."""
        codes: dict[str, bool | int | float | str | None] = {}
        for value in self.values:
            text = json.dumps(value, sort_keys=True)
            code = text if isinstance(value, dict | list) else value
            while code in codes.values():
                code = json.dumps(code)
            codes[text] = code
        return codes

    def grid(self) -> Sequence[Value]:
        return list(self.values)

    def contains(self, value: Value) -> bool:
        try:
            text = json.dumps(value, sort_keys=True)
        except (TypeError, ValueError):
            # Not a JSON value, so not a value of any parameter.
            return False
        return text in self.value_texts

    def random(self, rng: random.Random) -> Value:
        return rng.choice(self.values)


class Bool(_Parameter):
    """On or off."""

    type: Literal["bool"] = "bool"

    def grid(self) -> Sequence[Value]:
        return [False, True]

    def contains(self, value: Value) -> bool:
        return isinstance(value, bool)

    def random(self, rng: random.Random) -> Value:
        return rng.random() < 0.5


class Int(_Parameter):
    """An integer from low to high, both included; with ``log`` it is searched on a logarithmic scale."""

    type: Literal["int"] = "int"
    # Larger numbers lose digits in JSON readers and in Optuna's storage.
    low: int = Field(ge=-(2**53), le=2**53)
    high: int = Field(ge=-(2**53), le=2**53)
    step: int = Field(1, ge=1)
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Int:
        _check_range(self.low, self.high, self.log)
        if self.log and self.step != 1:
            raise ValueError("log and step exclude each other; use a choice of the values instead")
        return self

    def grid(self) -> Sequence[Value]:
        """Return every value; with ``log`` only the powers of two times low, and high."""
        if not self.log:
            return range(self.low, self.high + 1, self.step)
        values: list[Value] = []
        value = self.low
        while value < self.high:
            values.append(value)
            value *= 2
        return [*values, self.high]

    def contains(self, value: Value) -> bool:
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def random(self, rng: random.Random) -> Value:
        if self.log:
            return min(
                self.high,
                max(self.low, round(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))),
            )
        return rng.randrange(self.low, self.high + 1, self.step)


class Float(_Parameter):
    """A float from low to high, both included, in multiples of ``step`` if one is given."""

    type: Literal["float"] = "float"
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    step: float | None = Field(None, gt=0, allow_inf_nan=False)
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Float:
        _check_range(self.low, self.high, self.log)
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other; use a choice of the values instead")
        if self.step is not None and self._steps > 1_000_000:
            raise ValueError(f"step {self.step:g} yields over a million values; omit it or make it larger")
        return self

    def grid(self) -> Sequence[Value] | None:
        """Return every value, or None without a step, since then the values are not countable."""
        if self.low == self.high:
            return [self.low]
        if self.step is None:
            return None
        return [self._at(i) for i in range(self._steps + 1)]

    @property
    def _steps(self) -> int:
        low, high, step = (Decimal(repr(number)) for number in (self.low, self.high, self.step))
        return int((high - low) / step)

    def _at(self, index: int) -> float:
        # In decimals, as in the task file: 0.1 + 7 * 0.1 must be 0.8.
        return float(Decimal(repr(self.low)) + index * Decimal(repr(self.step)))

    def canonical(self, value: float) -> float:
        """Return the value rounded to a step, such as 0.8 for 0.7999999999999999."""
        if self.step is None:
            return float(value)
        return self._at(min(self._steps, max(0, round((value - self.low) / self.step))))

    def contains(self, value: Value) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not self.low - 1e-12 <= value <= self.high + 1e-12:
            return False
        return self.step is None or math.isclose(self.canonical(value), value, rel_tol=1e-9, abs_tol=1e-12)

    def random(self, rng: random.Random) -> Value:
        if self.log:
            return min(self.high, max(self.low, math.exp(rng.uniform(math.log(self.low), math.log(self.high)))))
        return rng.uniform(self.low, self.high) if self.step is None else self._at(rng.randint(0, self._steps))


def _check_range(low: float, high: float, log: bool) -> None:
    if math.isinf(float(high) - float(low)):
        raise ValueError(f"the range from {low:g} to {high:g} is too wide for a number")
    if low > high:
        raise ValueError(f"low {low:g} is above high {high:g}")
    if log and low <= 0:
        raise ValueError(f"log needs low above 0, not {low:g}")


_FORMS = "write {low: 1, high: 64} for a range, or {values: [1, 2, 4]} for single values"
#: The error of a parameter whose type is choice and that has no values.
NO_VALUES = "write the values to search, such as [1, 2, 4], or low and high for a range"
#: What other programs call the fields of a parameter.
_OTHER_NAMES = {
    **dict.fromkeys(("min", "minimum", "lower", "start"), "low"),
    **dict.fromkeys(("max", "maximum", "upper", "stop", "end"), "high"),
    **dict.fromkeys(("choices", "options", "enum", "categories"), "values"),
}


def _short_form(value: Any) -> Any:
    """Expand short forms: a list is a choice, and an object without ``type`` gets the type that fits its keys."""
    if isinstance(value, list):
        return {"type": "choice", "values": value}
    if isinstance(value, dict):
        other = next((name for name in value if name in _OTHER_NAMES), None)
        if other is not None:
            raise ValueError(f"{other!r} is {_OTHER_NAMES[other]!r} here: {_FORMS}")
        if "type" in value:
            return value
        if "values" in value:
            return {"type": "choice", **value}
        if "low" in value or "high" in value:
            numbers = [value.get(key) for key in ("low", "high", "step") if value.get(key) is not None]
            kind = "int" if all(isinstance(n, int) and not isinstance(n, bool) for n in numbers) else "float"
            return {"type": kind, **value}
        raise ValueError(f"has neither a range nor values: {_FORMS}")
    if isinstance(value, _Parameter):
        return value
    raise ValueError(
        f"{value!r} is one value; list the values to search, such as [{json.dumps(value, default=str)}, …], or move "
        "a value that is the same in every trial to engine.args"
    )


Parameter = Annotated[
    Annotated[Choice | Bool | Int | Float, Field(discriminator="type")],
    BeforeValidator(_short_form, json_schema_input_type=Choice | Bool | Int | Float | list[Value]),
]


def other_type_text(parameter: Choice | Bool | Int | Float, value: Value) -> str:
    """Return that a value is of another type than the same value of a parameter; empty if that is not the problem."""
    if isinstance(value, str):
        try:
            other = json.loads(value)
        except (ValueError, RecursionError):
            return ""
        return (
            f"{value!r} is a text, which is not the same as {value} without quotes" if parameter.contains(other) else ""
        )
    if isinstance(value, int | float) and parameter.contains(str(value)):
        return f"{value!r} is a number, which is not the same as the text {str(value)!r}"
    return ""
