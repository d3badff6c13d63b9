"""Where the notebooks and templates lie: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from autotune_nb.errors import SetupError

_PACKAGE = Path(__file__).parent


def shared_folder(name: str) -> Path:
    """The folder ``notebooks`` or ``templates``. Raises SetupError where the installation lacks it."""
    for folder in (_PACKAGE / "_share" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise SetupError(f"this installation lacks its {name} folder; install it again")
