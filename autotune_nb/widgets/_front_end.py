"""Which front end shows a notebook's outputs: one with widgets, one with HTML alone, or none that is live."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

import psutil
from IPython import get_ipython

from autotune_nb.errors import SetupError
from autotune_nb.runner.progress import LEDGER_VARIABLE

#: Names the front end, if it is not recognized or if its widgets do not work.
VARIABLE = "AUTOTUNE_NB_FRONT_END"
#: Set by JupyterLab, Notebook and VS Code for the kernels they start, but not by papermill and nbclient.
_SESSION, _VS_CODE = "JPY_SESSION_NAME", ("VSCODE_PID", "VSCODE_CWD")
#: Set by voila, to its name and version, for the kernels it starts.
_SERVER = "SERVER_SOFTWARE"
#: Set where notebooks are hosted: in Colab, Databricks, Kaggle and SageMaker. There, widgets other than the basic ones
#: are loaded from the network, or belong to a server with other packages than the kernel.
_HOSTED = ("COLAB_RELEASE_TAG", "DATABRICKS_RUNTIME_VERSION", "KAGGLE_KERNEL_RUN_TYPE", "SAGEMAKER_APP_TYPE")
#: The programs that execute notebooks headless.
_EXECUTORS = ("papermill", "nbconvert", "nbclient", "jupyter-execute", "jupyter-run", "autotune-nb")


class FrontEnd(StrEnum):
    """What a front end shows: ``none`` if the notebook is executed headless, so that outputs do not change later."""

    WIDGETS = "widgets"
    HTML = "html"
    NONE = "none"


def front_end() -> FrontEnd:
    """Return the front end that started this kernel, or the one that AUTOTUNE_NB_FRONT_END names.

    Raises SetupError if it names none.
    """
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return FrontEnd.NONE
    named = os.environ.get(VARIABLE)
    if named:
        if named not in list(FrontEnd):
            raise SetupError(f"{VARIABLE} is {named!r}; expected one of {', '.join(FrontEnd)}")
        return FrontEnd(named)
    if os.environ.get(_SERVER, "").startswith("voila") and not _inherited(_SERVER):
        return FrontEnd.WIDGETS
    if os.environ.get(_SESSION) and not _inherited(_SESSION):
        return FrontEnd.WIDGETS
    if any(map(os.environ.get, _HOSTED)):
        return FrontEnd.NONE if _executed() else FrontEnd.HTML
    # Every process in a terminal of VS Code has these variables, papermill and its kernels too.
    return FrontEnd.WIDGETS if any(map(os.environ.get, _VS_CODE)) and not _started_by_python() else FrontEnd.NONE


def has_front_end() -> bool:
    """Return whether a front end that shows widgets started this kernel."""
    return front_end() is FrontEnd.WIDGETS


def _executed() -> bool:
    """Return whether a hosted notebook is executed headless: as a job, by papermill or the like."""
    # A session of JupyterLab in the parent: the notebook is executed from another one's cell.
    if os.environ.get(LEDGER_VARIABLE) or os.environ.get("KAGGLE_KERNEL_RUN_TYPE") == "Batch" or _inherited(_SESSION):
        return True
    try:
        words = psutil.Process(os.getppid()).cmdline()
    except (psutil.Error, OSError):
        return False
    return any(name in Path(word).name for word in words[:3] for name in _EXECUTORS)


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
