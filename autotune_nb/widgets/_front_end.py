"""Whether somebody looks: widgets for a live front end, lasting outputs wherever a notebook is executed headless."""

from __future__ import annotations

import os

import psutil
from IPython import get_ipython

#: What JupyterLab and VS Code set for the kernels they start, and papermill and nbclient do not.
_SESSION, _VS_CODE = "JPY_SESSION_NAME", ("VSCODE_PID", "VSCODE_CWD")


def front_end() -> bool:
    """Whether this kernel was started by a front end that shows widgets."""
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return False
    return any(map(os.environ.get, _VS_CODE)) or (bool(os.environ.get(_SESSION)) and not _inherited())


def _inherited() -> bool:
    """Whether whoever started this kernel is a kernel itself, as where a notebook's cell calls papermill."""
    try:
        return _SESSION in psutil.Process(os.getppid()).environ()
    except (psutil.Error, OSError):
        return False
