"""Whether a notebook has a live front end that shows widgets, or is executed headless."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
from IPython import get_ipython

#: Set by JupyterLab and VS Code for the kernels they start, but not by papermill and nbclient.
_SESSION, _VS_CODE = "JPY_SESSION_NAME", ("VSCODE_PID", "VSCODE_CWD")
#: Set by voila, to its name and version, for the kernels it starts.
_SERVER = "SERVER_SOFTWARE"


def has_front_end() -> bool:
    """Return whether a front end that shows widgets started this kernel."""
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return False
    if os.environ.get(_SERVER, "").startswith("voila") and not _inherited(_SERVER):
        return True
    if os.environ.get(_SESSION) and not _inherited(_SESSION):
        return True
    # Every process in a terminal of VS Code has these variables, papermill and its kernels too.
    return any(map(os.environ.get, _VS_CODE)) and not _started_by_python()


def _inherited(name: str) -> bool:
    """Return whether the variable comes from a parent kernel, as when a notebook's cell calls papermill."""
    try:
        return name in psutil.Process(os.getppid()).environ()
    except (psutil.Error, OSError):
        return False


def _started_by_python() -> bool:
    """Return whether a Python program other than VS Code's own helper started this kernel."""
    try:
        parent = psutil.Process(os.getppid())
        python = Path(parent.exe()).name.lower().startswith(("python", "pypy"))
        return python and not any("ms-toolsai" in one or "vscode_datascience" in one for one in parent.cmdline())
    except (psutil.Error, OSError):
        return False
