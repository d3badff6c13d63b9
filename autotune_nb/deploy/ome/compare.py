"""Whether a live pod runs what was asked: an autoscaler or an AcceleratorClass may have changed it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from autotune_nb.cluster.kinds import Object

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
}


def differences(asked: Mapping[str, Any], container: Mapping[str, Any]) -> list[str]:
    """What a live container differs in from the runner that was asked for; a line for each, with both sides.

    What the runtime and OME add (variables, volumes, resources nobody named) is no difference.
    """
    found: list[str] = []
    for key in ("command", "args"):
        wanted = asked.get(key)
        if wanted is not None and list(container.get(key) or ()) != list(wanted):
            found.append(f"{key}: {_line(wanted)} was asked, {_line(container.get(key) or ())} runs")
    have = {one["name"]: one.get("value") for one in container.get("env") or ()}
    for one in asked.get("env") or ():
        if have.get(one["name"]) != one.get("value"):
            # A value may be a secret's neighbour: the name says enough.
            found.append(f"env {one['name']}: has another value than was asked, or none")
    for bound in ("requests", "limits"):
        wanted = (asked.get("resources") or {}).get(bound) or {}
        given = (container.get("resources") or {}).get(bound) or {}
        for name, amount in wanted.items():
            if not _equal(amount, given.get(name)):
                found.append(f"{bound} of {name}: {amount} was asked, {given.get(name, 'none')} is given")
    return found


def gpus_of(container: Mapping[str, Any], resource: str) -> int:
    """How many GPUs a container is given."""
    return int(quantity(((container.get("resources") or {}).get("limits") or {}).get(resource, 0)))


def quantity(text: Any) -> Decimal:
    """A Kubernetes quantity as a number. Raises ValueError for anything else."""
    word = str(text).strip()
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if word.endswith(suffix):
            return _number(word.removesuffix(suffix)) * _SUFFIXES[suffix]
    return _number(word)


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is no quantity") from None


def _equal(one: Any, other: Any) -> bool:
    try:
        return other is not None and quantity(one) == quantity(other)
    except ValueError:
        return str(one) == str(other)


def _line(words: Sequence[str]) -> str:
    return shlex.join(words) or "nothing"


def asked_runner(service: Object) -> Mapping[str, Any]:
    """The runner of an InferenceService as it was asked for."""
    runner: Mapping[str, Any] = service["spec"]["engine"]["runner"]
    return runner
