"""Whether somebody looks: widgets for a live front end, lasting outputs wherever a notebook is executed headless."""

from __future__ import annotations

import os

from IPython import get_ipython

#: What JupyterLab and VS Code set for the kernels they start, and papermill and nbclient do not.
_FRONT_ENDS = ("JPY_SESSION_NAME", "VSCODE_PID", "VSCODE_CWD")


def front_end() -> bool:
    """Whether this kernel was started by a front end that shows widgets."""
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel") and any(os.environ.get(name) for name in _FRONT_ENDS)
