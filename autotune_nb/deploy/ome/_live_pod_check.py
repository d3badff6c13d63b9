"""Whether a live pod runs what was asked: an autoscaler or an AcceleratorClass may have changed it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from autotune_nb.cluster.kinds import Object
from autotune_nb.cluster.quantity import quantity


def differences(asked: Mapping[str, Any], container: Mapping[str, Any]) -> list[str]:
    """What a live container differs in from the runner that was asked for; a line for each, with both sides.

    What the runtime and OME add (variables, volumes, resources nobody named) is no difference.
    """
    found: list[str] = []
    for key in ("command", "args"):
        wanted = asked.get(key)
        if wanted is not None and list(container.get(key) or ()) != list(wanted):
            found.append(f"{key}: {_line(wanted)} was asked, {_line(container.get(key) or ())} runs")
    have = {one["name"]: one for one in container.get("env") or ()}
    for one in asked.get("env") or ():
        if not _same_variable(one, have.get(one["name"])):
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


def _equal(one: Any, other: Any) -> bool:
    try:
        return other is not None and quantity(one) == quantity(other)
    except ValueError:
        return str(one) == str(other)


def _same_variable(asked: Mapping[str, Any], given: Mapping[str, Any] | None) -> bool:
    """Whether a variable has the value asked for, or takes it from where it was to."""
    if given is None or (asked.get("value") or "") != (given.get("value") or ""):
        return False
    return _within(asked.get("valueFrom"), given.get("valueFrom"))


def _within(asked: Any, given: Any) -> bool:
    """Whether what was asked stands in what is given: a server fills in defaults, such as a fieldRef's apiVersion."""
    if isinstance(asked, Mapping):
        return isinstance(given, Mapping) and all(_within(value, given.get(key)) for key, value in asked.items())
    return bool(asked == given)


def _line(words: Sequence[str]) -> str:
    return shlex.join(words) or "nothing"


def asked_runner(service: Object) -> Mapping[str, Any]:
    """The runner of an InferenceService as it was asked for."""
    runner: Mapping[str, Any] = service["spec"]["engine"]["runner"]
    return runner
