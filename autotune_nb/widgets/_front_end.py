"""Whether a notebook has a live front end that shows widgets, or is executed headless."""

from __future__ import annotations

import os

import psutil
from IPython import get_ipython

#: Set by JupyterLab and VS Code for the kernels they start, but not by papermill and nbclient.
_SESSION, _VS_CODE = "JPY_SESSION_NAME", ("VSCODE_PID", "VSCODE_CWD")


def has_front_end() -> bool:
    """Return whether a front end that shows widgets started this kernel."""
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return False
    return any(map(os.environ.get, _VS_CODE)) or (bool(os.environ.get(_SESSION)) and not _inherited())


def _inherited() -> bool:
    """Return whether the variable comes from a parent kernel, as when a notebook's cell calls papermill."""
    try:
        return _SESSION in psutil.Process(os.getppid()).environ()
    except (psutil.Error, OSError):
        return False
