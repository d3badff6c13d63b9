"""The clocks of GPUs and the processes that use them, as ``nvidia-smi`` reports them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass

_WITHIN_S = 10.0


@dataclass(frozen=True)
class Gpu:
    """A GPU: its number, its id, and the clock of its processors; None where the driver does not report it."""

    number: str
    id: str
    clock_mhz: float | None


def gpus(text: str, chosen: Collection[str] | None = None) -> list[Gpu]:
    """Return the GPUs of a query of ``index,uuid,clocks.sm``; with ``chosen``, those of these numbers or ids."""
    found = [Gpu(number, id_, _number(clock)) for number, id_, clock in _rows(text, 3)]
    if chosen is None:
        return found
    # Ids may be abbreviated; an id of a part of a GPU contains no GPU's, so all of them are returned.
    ours = [gpu for gpu in found if gpu.number in chosen or any(gpu.id.startswith(one) for one in chosen)]
    return ours or found


def processes_on(text: str, ours: Collection[Gpu]) -> set[int]:
    """Return the processes of a query of ``pid,gpu_uuid`` that compute on these GPUs."""
    ids = {gpu.id for gpu in ours}
    return {int(pid) for pid, id_ in _rows(text, 2) if pid.isdecimal() and id_ in ids}


def query(*fields: str, of: str = "gpu") -> str:
    """Return the output of ``nvidia-smi`` for these fields; empty if it is missing, fails or does not respond."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    argv = [program, f"--query-{of}={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _rows(text: str, width: int) -> list[Sequence[str]]:
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [row for row in rows if len(row) == width]


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
