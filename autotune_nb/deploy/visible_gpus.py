"""The GPUs that a process may use, by ``CUDA_VISIBLE_DEVICES``."""

from __future__ import annotations

from collections.abc import Mapping

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environment: Mapping[str, str]) -> list[str] | None:
    """Return the numbers and ids in the variable, None if it is not set; CUDA ignores what follows an invalid one."""
    given = environment.get(VARIABLE)
    if given is None:
        return None
    found: list[str] = []
    for word in map(str.strip, given.split(",")):
        if not (word.isdecimal() or word.startswith(("GPU-", "MIG-"))):
            break
        found.append(str(int(word)) if word.isdecimal() else word)
    return found
