"""Compares a running pod with the requested runner, which an admission webhook or AcceleratorClass may change."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from autotune_nb.cluster.kinds import Object
from autotune_nb.cluster.quantity import quantity


def differences(requested: Mapping[str, Any], container: Mapping[str, Any]) -> list[str]:
    """Return the differences between the requested runner and a running container, one text for each.

    What the runtime and OME add (variables, volumes, other resources) is no difference.
    """
    found: list[str] = []
    for key in ("command", "args"):
        wanted = requested.get(key)
        if wanted is not None and list(container.get(key) or ()) != list(wanted):
            found.append(f"{key}: requested {_line(wanted)}, running {_line(container.get(key) or ())}")
    have = {one["name"]: one for one in container.get("env") or ()}
    for one in requested.get("env") or ():
        if not _same_variable(one, have.get(one["name"])):
            # The values are left out, since they may be secret.
            found.append(f"env {one['name']}: differs from the requested value")
    for bound in ("requests", "limits"):
        wanted = (requested.get("resources") or {}).get(bound) or {}
        given = (container.get("resources") or {}).get(bound) or {}
        for name, amount in wanted.items():
            if not _equal(amount, given.get(name)):
                found.append(f"{bound} of {name}: requested {amount}, got {given.get(name, 'none')}")
    return found


def gpus_of(container: Mapping[str, Any], resource: str) -> int:
    """Return the number of GPUs of a container."""
    return int(quantity(((container.get("resources") or {}).get("limits") or {}).get(resource, 0)))


def _equal(one: Any, other: Any) -> bool:
    try:
        return other is not None and quantity(one) == quantity(other)
    except ValueError:
        return str(one) == str(other)


def _same_variable(requested: Mapping[str, Any], given: Mapping[str, Any] | None) -> bool:
    """Whether a variable has the requested value, or the requested source."""
    if given is None or (requested.get("value") or "") != (given.get("value") or ""):
        return False
    return _within(requested.get("valueFrom"), given.get("valueFrom"))


def _within(requested: Any, given: Any) -> bool:
    """Whether ``given`` includes ``requested``; the server adds defaults, such as a fieldRef's apiVersion."""
    if isinstance(requested, Mapping):
        return isinstance(given, Mapping) and all(_within(value, given.get(key)) for key, value in requested.items())
    return bool(requested == given)


def _line(words: Sequence[str]) -> str:
    return shlex.join(words) or "nothing"


def requested_runner(service: Object) -> Mapping[str, Any]:
    """Return the runner of an InferenceService's manifest."""
    runner: Mapping[str, Any] = service["spec"]["engine"]["runner"]
    return runner
