"""Finds the program of a benchmark."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from autotune_nb.errors import SetupError


def find_program(program: str, hint: str) -> str:
    """Return the program's path: on the PATH or beside Python. Raises SetupError with the hint if there is none."""
    beside = Path(sys.executable).parent / program
    # Path would drop the "./" that distinguishes a file from a name on the PATH.
    path = shutil.which(os.path.expanduser(program)) or (shutil.which(str(beside)) if beside.exists() else None)  # noqa: PTH111
    if path is None:
        raise SetupError(f"the program {program!r} was not found; {hint}", field="benchmark.executable")
    return path
