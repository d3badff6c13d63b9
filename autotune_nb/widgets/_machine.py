"""The cores and GPUs of this machine, for the first values of a parameter."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil

from autotune_nb.deploy.visible_gpus import visible_gpus
from autotune_nb.runner.gpus import gpus


@dataclass(frozen=True)
class Machine:
    """The cores and the GPUs that this process may use."""

    cores: int
    gpus: int


def this_machine() -> Machine:
    """Return this machine; without NVIDIA's driver it has no GPU."""
    visible = visible_gpus(os.environ)
    return Machine(psutil.cpu_count(logical=False) or 1, len(gpus(visible)) if visible != [] else 0)
