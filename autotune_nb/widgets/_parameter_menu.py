"""The menu of a parameter, in its head in the table and at its axis in a chart, and what is offered for a brush."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.handle import StudyHandle
from autotune_nb.reports.value_axis import ValueAxis
from autotune_nb.study.steering import Edit, Steering, range_text
from autotune_nb.task.external_results import lacks_engine
from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value
from autotune_nb.task.restriction import Restriction, number_text, value_text
from autotune_nb.widgets._text_number import number_in
from autotune_nb.widgets._value_text import LIST, show_value

#: Of a choice with more values, some are typed.
_MOST_VALUES = 40
#: A longer value is in the tooltip of a head's mark only.
_MOST_MARK = 11
#: The ends of a brush have so many digits.
_DIGITS = 3


def parameter_menus(steering: Steering) -> dict[str, dict[str, Any]]:
    """Return what the menu of each parameter shows: its values or its range, and what restricts it now.

    There is none for imported results, since no trial would follow.
    """
    if lacks_engine(steering.task):
        return {}
    return {
        name: {**_menu(steering.restrictions.get(name), one), **_mark(steering.restrictions.get(name))}
        for name, one in steering.full_space.parameters.items()
    }


def _mark(restriction: Restriction | None) -> dict[str, str]:
    """Return a short ``mark`` of what restricts a parameter for its head, and what it is ``now`` in words."""
    if restriction is None:
        return {}
    only = restriction.only
    pinned = f"= {value_text(only[0])}" if only is not None and len(only) == 1 else ""
    narrowed = only is not None or restriction.low is not None or restriction.high is not None
    mark = ("pinned" if len(pinned) > _MOST_MARK else pinned) or ("narrowed" if narrowed else "bans")
    return {"mark": mark, "now": restriction.text.removeprefix(restriction.name).strip()}


def _menu(restriction: Restriction | None, parameter: Choice | Bool | Int | Float) -> dict[str, Any]:
    now = f"; now {restriction.text.removeprefix(restriction.name).strip()}" if restriction is not None else ""
    about = f"{range_text(parameter)}{now}"
    if isinstance(parameter, Choice | Bool):
        values = list(parameter.grid())
        if len(values) > _MOST_VALUES:
            return {"about": f"one of {len(values)} values, such as {value_text(values[0])}{now}"}
        left = list(restriction.grid() or ()) if restriction is not None else values
        return {"about": about, "values": values, "left": [value in left for value in values]}
    low, high = _ends(restriction, parameter)
    return {"about": about, "low": number_text(low), "high": number_text(high)}


def _ends(restriction: Restriction | None, parameter: Int | Float) -> tuple[float, float]:
    low = restriction.low if restriction is not None and restriction.low is not None else parameter.low
    high = restriction.high if restriction is not None and restriction.high is not None else parameter.high
    return low, high


def menu_edit(handle: StudyHandle, wanted: Mapping[str, Any]) -> Edit:
    """Return the stored edit that the menu of a parameter asks for. Raises TaskError."""
    name = str(wanted["parameter"])
    match wanted.get("do"):
        case "free":
            return handle.free(name)
        case "ban":
            values = _values(handle, wanted, name)
            if not values:
                raise TaskError("unmark the values to exclude", field=name)
            return handle.ban(name, *values)
        case "pin":
            values = _values(handle, wanted, name)
            return handle.pin(name, values[0]) if len(values) == 1 else handle.narrow(name, values=values)
        case "narrow" if "values" in wanted:
            values = _values(handle, wanted, name)
            if not values:
                raise TaskError("mark at least one value to try", field=name)
            return handle.pin(name, values[0]) if len(values) == 1 else handle.narrow(name, values=values)
        case "narrow":
            low, high = (number_in(str(wanted.get(end, "")), name) for end in ("low", "high"))
            return handle.pin(name, low) if low is not None and low == high else handle.narrow(name, low, high)
    raise TaskError(f"{wanted.get('do')!r} is not a way to steer", field=name)


def _values(handle: StudyHandle, wanted: Mapping[str, Any], name: str) -> list[Value]:
    """Return the marked values, or those that were typed, with commas between several. Raises TaskError."""
    if "text" not in wanted:
        return list(wanted.get("values", ()))
    space, text = handle.steering.full_space.parameters, str(wanted["text"]).strip()
    if name not in space:
        raise UnknownNameError("parameter", name, space, field="parameter")
    if not text:
        raise TaskError(f"give a value: {range_text(space[name])}", field=name)
    own = space[name]
    values = own.grid() if isinstance(own, Choice | Bool) else ()
    # As they are shown: the text "1" is not the number 1.
    known = {value_text(value): value for value in values} | {show_value(value): value for value in values}
    if text in known:
        return [known[text]]
    try:
        return list(LIST.read(text))
    except ValueError as error:
        raise TaskError(str(error), field=name) from None


@dataclass(frozen=True)
class Offer:
    """What is offered after a brush on an axis: a text for its button, and what ``menu_edit`` makes of a click."""

    text: str
    wanted: Mapping[str, Any]


def brush_offer(steering: Steering, axis: ValueAxis, low: float, high: float) -> Offer | None:
    """Return what to offer for a brush between two places of an axis, where 0 and 1 are the ends of what was measured.

    A brush that reaches an end leaves the parameter's own end as it is. None if nothing would change or remain.
    """
    name, parameter = axis.name, steering.full_space.parameters.get(axis.name)
    if parameter is None or lacks_engine(steering.task):
        return None
    if isinstance(parameter, Choice | Bool):
        restriction = steering.restrictions.get(name) or Restriction(name, parameter)
        left = [value for value in parameter.grid() if restriction.permits(value)]
        inside = [value for value in left if _is_inside(axis, value, low, high)]
        if not inside or len(inside) == len(left):
            return None
        wanted: dict[str, Any] = {"parameter": name, "do": "narrow", "values": inside}
        verb = "Narrow" if len(inside) > 1 else "Pin"
        return Offer(f"{verb} {name} to {', '.join(map(value_text, inside))}", wanted)
    if not axis.numeric:
        return None
    first = None if low <= 0 else _rounded(parameter, axis.value_at(low), math.ceil)
    last = None if high >= 1 else _rounded(parameter, axis.value_at(high), math.floor)
    if (first is None and last is None) or (first is not None and last is not None and first > last):
        return None
    ends = {end: "" if one is None else number_text(one) for end, one in (("low", first), ("high", last))}
    return Offer(_narrow_text(name, **ends), {"parameter": name, "do": "narrow", **ends})


def _narrow_text(name: str, low: str, high: str) -> str:
    if low == high:
        return f"Pin {name} to {low}"
    if not low or not high:
        return f"Narrow {name} {f'from {low} on' if low else f'to at most {high}'}"
    return f"Narrow {name} to {low}…{high}"


def _is_inside(axis: ValueAxis, value: Value, low: float, high: float) -> bool:
    if not axis.numeric or isinstance(value, bool) or not isinstance(value, int | float):
        return low <= axis.place(value) <= high
    # A number beyond those that were measured is not on the axis.
    return (low <= 0 or value >= axis.value_at(low)) and (high >= 1 or value <= axis.value_at(high))


def _rounded(parameter: Int | Float, value: float, inwards: Any) -> float:
    """Return an end as a value of the parameter, inside the brush; without a step with few digits."""
    if isinstance(parameter, Int):
        return int(parameter.low + inwards((value - parameter.low) / parameter.step) * parameter.step)
    if parameter.step is not None:
        return float(f"{parameter.low + inwards((value - parameter.low) / parameter.step) * parameter.step:.12g}")
    return float(f"{value:.{_DIGITS}g}")
