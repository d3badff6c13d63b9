"""A copy of a notebook that is fit to be given away: no secrets, no widget state, and a list of what was removed.

Nothing is written where something could not be cleaned: what holds no text (a PDF, bytes of an unknown kind) may hold
anything. Pictures are kept, since charts are such, and the list names them, as nobody read what they show.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from autotune_nb.errors import SetupError
from autotune_nb.reports._notebook_file import notebook_bytes, read_notebook
from autotune_nb.reports.cleaning import Cleaning
from autotune_nb.secrets.scrubbing import know

_SHOWN_PLACES = 6


@dataclass(frozen=True)
class Removal:
    """How many secrets of one kind were taken out of one place."""

    kind: str
    place: str
    count: int


@dataclass(frozen=True)
class Shared:
    """What was written, and what was taken out for it; no secret is in here."""

    output: Path
    html: Path | None
    removed: tuple[Removal, ...]
    #: Places whose widgets were dropped: they show nothing without the kernel that made them.
    widgets: tuple[str, ...]
    #: Places with pictures, which nobody looked at.
    pictures: tuple[str, ...]
    was_run: bool

    def lines(self) -> list[str]:
        """For people: one line a kind, with where it was."""
        kinds: dict[str, list[Removal]] = {}
        for one in self.removed:
            kinds.setdefault(one.kind, []).append(one)
        lines = [
            f"removed {kind} ({sum(one.count for one in found)}): {_listed([one.place for one in found])}"
            for kind, found in sorted(kinds.items())
        ]
        if self.widgets:
            lines.append(f"removed widgets: {_listed(self.widgets)}")
        if not lines:
            lines.append("removed nothing: no secret was found")
        if self.pictures:
            lines.append(f"note: what pictures show was not read: {_listed(self.pictures)}")
        if not self.was_run:
            lines.append("note: the notebook was never run; it has no results")
        return lines


def share(notebook: Path, output: Path, *, html: bool = False, force: bool = False) -> Shared:
    """Write a copy of a notebook without secrets into ``output``, and an HTML page of it beside it where asked.

    Raises SetupError, with nothing written, where there is no notebook, where the output is there already and not
    ``force``, and where something cannot be cleaned; the error names the cell and never what is secret.
    """
    targets = _targets(notebook, output, html=html, force=force)
    nb = read_notebook(notebook)
    know()
    search = Cleaning()
    search.notebook(nb)
    cleaning, again = (Cleaning(frozenset(search.found)) for _ in range(2))
    clean = cleaning.notebook(nb)
    again.notebook(clean)
    if stuck := [*cleaning.stuck, *(f"{place}: {kind} even after cleaning" for kind, place in again.removed)]:
        raise SetupError(
            f"{str(notebook)!r} cannot be cleaned, nothing was written: {_listed(stuck)}; clear those outputs or take "
            "that out of the cells, and share again"
        )
    _write(notebook_bytes(clean), targets)
    return Shared(
        output=output,
        html=targets[1] if html else None,
        removed=tuple(Removal(kind, place, count) for (kind, place), count in cleaning.removed.items()),
        widgets=tuple(dict.fromkeys(cleaning.widgets)),
        pictures=tuple(dict.fromkeys(cleaning.pictures)),
        was_run=any(cell.get("outputs") or cell.get("execution_count") for cell in clean["cells"]),
    )


def _targets(notebook: Path, output: Path, *, html: bool, force: bool) -> list[Path]:
    """Return the files to write. Raises SetupError where one may not be written."""
    if html and output.suffix.lower() in (".html", ".htm"):
        raise SetupError(f"{output} is to be the notebook; name it .ipynb, its HTML file goes beside it")
    targets = [output, output.with_suffix(".html")] if html else [output]
    for target in targets:
        with contextlib.suppress(OSError):
            if target.samefile(notebook):
                raise SetupError(
                    f"{target} is the notebook itself, which is never overwritten; choose another --output"
                )
        if target.is_dir():
            raise SetupError(f"{target} is a folder; name a file in it")
        if os.path.lexists(target) and not force:
            raise SetupError(f"{target} exists; choose another --output, or overwrite it with --force")
    return targets


def _write(content: bytes, targets: list[Path]) -> None:
    """All files or none, each whole. Raises SetupError where they cannot be written."""
    output = targets[0]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".autotune_nb-", dir=output.parent) as work:
            # On the output's own disk, from where a file is moved in one step.
            made = [Path(work, output.name)]
            made[0].write_bytes(content)
            if len(targets) > 1:
                from autotune_nb.reports.html_page import to_html

                with warnings.catch_warnings():
                    # An output that only scripts can show has no place on the page; the notebook keeps it.
                    warnings.filterwarnings("ignore", "Your element with mimetype")
                    made.append(to_html(made[0]))
            for file, target in zip(made, targets, strict=True):
                file.replace(target)
    except OSError as error:
        raise SetupError(f"{output} cannot be written: {error.strerror or error}") from None


def _listed(places: list[str] | tuple[str, ...]) -> str:
    places = list(dict.fromkeys(places))
    more = len(places) - _SHOWN_PLACES
    return ", ".join(places[:_SHOWN_PLACES]) + (f" and {more} more" if more > 0 else "")
