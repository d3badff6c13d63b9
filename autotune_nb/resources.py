"""Paths of the notebooks and templates: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from autotune_nb.errors import SetupError

_PACKAGE = Path(__file__).parent


def shared_folder(name: str) -> Path:
    """Return the path of the folder ``notebooks`` or ``templates``. Raises SetupError if it is missing."""
    for folder in (_PACKAGE / "_share" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise SetupError(f"the folder {name} is missing from this installation; reinstall autotune_nb")
