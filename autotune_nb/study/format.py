"""The version of the format in which studies are stored; CONTRIBUTING.md describes the format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune_nb.errors import StudyError
from autotune_nb.study.worker import package_version

#: To raise when versions of the package with the previous number would misread a study; additions do not count.
FORMAT = 1


def written_format() -> dict[str, Any]:
    """Return what ``study.json`` has of the format and of the version that wrote it."""
    return {"format": FORMAT, "version": package_version()}


def require_known_format(metadata: Mapping[str, Any], whose: str) -> None:
    """Raise StudyError if a newer version wrote a study in a format that this version does not have."""
    # Version 0.1.0 wrote no number.
    stored = metadata.get("format", 1)
    if isinstance(stored, int) and stored <= FORMAT:
        return
    version = metadata.get("version")
    by, package = "a newer version", "--upgrade autotune_nb"
    if isinstance(version, str):
        by, package = f"autotune_nb {version}", f"'autotune_nb>={version}'"
    raise StudyError(
        f"{whose} has format {stored!r}, written by {by}; this is autotune_nb {package_version()}, which reads formats "
        f"up to {FORMAT}: pip install {package}, or choose another folder"
    )
