"""A notebook made fit to be given away: no secrets, no state of widgets, and a word on what was taken out.

Nothing is written that could not be cleaned: what holds no text (a PDF, bytes of an unknown kind) may hold anything.
Pictures are the exception, since charts are such; that nobody looked at what they show is said.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune_nb.errors import SetupError
from autotune_nb.reports.cleaning import Cleaning, is_picture
from autotune_nb.secrets.redaction import Redactor

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
        told = [
            f"removed {kind} ({sum(one.count for one in found)}): {_listed([one.place for one in found])}"
            for kind, found in sorted(kinds.items())
        ]
        if self.widgets:
            told.append(f"removed widgets: {_listed(self.widgets)}")
        if not told:
            told.append("removed nothing: no secret was found")
        if self.pictures:
            told.append(f"note: what pictures show was not looked at: {_listed(self.pictures)}")
        if not self.was_run:
            told.append("note: the notebook was never run; it has no results")
        return told


def share(notebook: Path, output: Path, *, html: bool = False, force: bool = False) -> Shared:
    """Write a copy of a notebook without secrets into ``output``, and an HTML page of it beside it where asked.

    Raises SetupError, with nothing written, where there is no notebook, where the output is there already and not
    ``force``, and where something cannot be cleaned; the error names the cell and never what is secret.
    """
    targets = _targets(notebook, output, html=html, force=force)
    nb = _read(notebook)
    redactor = Redactor()
    cleaning = Cleaning(redactor)
    clean = cleaning.notebook(nb)
    if cleaning.stuck:
        raise SetupError(
            f"{str(notebook)!r} cannot be cleaned, nothing was written: {_listed(cleaning.stuck)}; clear those outputs "
            "or take that out of the cells, and share again"
        )
    content = _serialized(clean, notebook)
    _look_again(content, notebook, redactor)
    _write(content, targets)
    return Shared(
        output=output,
        html=targets[1] if html else None,
        removed=tuple(Removal(kind, place, count) for (kind, place), count in cleaning.removed.items()),
        widgets=tuple(dict.fromkeys(cleaning.widgets)),
        pictures=tuple(dict.fromkeys(cleaning.pictures)),
        was_run=any(cell.get("outputs") or cell.get("execution_count") for cell in clean["cells"]),
    )


def _targets(notebook: Path, output: Path, *, html: bool, force: bool) -> list[Path]:
    """The files to write. Raises SetupError where one may not be."""
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


def _read(notebook: Path) -> dict[str, Any]:
    """The notebook with its texts in one piece each. Raises SetupError where it is none, quoting nothing of it."""
    nbformat = _nbformat()
    shown = repr(str(notebook))
    if notebook.is_dir():
        raise SetupError(f"{shown} is a folder; name the notebook in it")
    try:
        data = json.loads(notebook.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise SetupError(f"there is no notebook {shown}") from None
    except OSError as error:
        raise SetupError(f"{shown} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise SetupError(
            f"{shown} is no notebook: it is not UTF-8 text (byte {error.start}); expected an .ipynb file"
        ) from None
    except json.JSONDecodeError as error:
        raise SetupError(
            f"{shown} is no notebook: its JSON breaks off or is wrong at line {error.lineno}, column {error.colno} "
            f"({error.msg}); expected a whole .ipynb file: save it again, or take a checkpoint of it"
        ) from None
    except RecursionError:
        raise SetupError(f"{shown} is no notebook: its JSON is nested too deeply") from None
    if not isinstance(data, dict):
        raise SetupError(f"{shown} is no notebook: expected a JSON object with cells, saw a {type(data).__name__}")
    major = data.get("nbformat")
    if major is not None and type(major) is not int:
        raise SetupError(
            f"{shown} is no notebook: its 'nbformat' is a {type(major).__name__}, expected is the whole number 4"
        )
    if major is not None and major != 4:
        raise SetupError(
            f"{shown} is a notebook of format {major}, expected 4; convert a copy first: jupyter nbconvert --to "
            f"notebook --output NEW.ipynb {notebook}"
        )
    if major is None or not isinstance(data.get("cells"), list):
        raise SetupError(f"{shown} is no notebook: expected 'nbformat' 4 and a list of 'cells' in it")
    try:
        nb = nbformat.v4.rwbase.strip_transient(nbformat.v4.rwbase.rejoin_lines(nbformat.from_dict(data)))
        _name_cells(nb)
        nbformat.validate(nb)
    except (ValueError, AttributeError, KeyError, TypeError, AssertionError, nbformat.ValidationError) as error:
        # Its message quotes the notebook; where it stands is enough.
        path = ".".join(str(part) for part in getattr(error, "absolute_path", ()) or ())
        where = f" at {path}" if path else ""
        raise SetupError(
            f"{shown} is no valid notebook{where}: it does not keep to nbformat 4; open and save it in JupyterLab"
        ) from None
    except RecursionError:
        raise SetupError(f"{shown} is no notebook: its JSON is nested too deeply") from None
    return dict(nb)


def _name_cells(nb: Any) -> None:
    """Give cells the ids that the format asks for; counted, so that the same notebook gives the same copy."""
    if nb["nbformat_minor"] < 5:
        return
    seen: set[str] = set()
    for number, cell in enumerate(nb["cells"], 1):
        if not isinstance(cell.get("id"), str) or cell["id"] in seen:
            cell["id"] = f"cell-{number}"
        seen.add(cell["id"])


def _serialized(clean: dict[str, Any], notebook: Path) -> bytes:
    """The file's content. Raises SetupError where what was cleaned is no notebook any more."""
    nbformat = _nbformat()
    nb = nbformat.from_dict(clean)
    try:
        nbformat.validate(nb)
    except nbformat.ValidationError:
        raise SetupError(f"{str(notebook)!r} cannot be cleaned: without its secrets it is no valid notebook") from None
    # Half a surrogate pair is no text in any script.
    text: str = nbformat.writes(nb, version=nbformat.NO_CONVERT)
    return (text.rstrip("\n") + "\n").encode("utf-8", "replace")


def _look_again(content: bytes, notebook: Path, redactor: Redactor) -> None:
    """Search what is to be written once more, as whoever gets it would. Raises SetupError where a secret is found."""
    nbformat = _nbformat()
    whole = nbformat.v4.rwbase.rejoin_lines(nbformat.from_dict(json.loads(content)))
    # The same one: what it left alone it would leave alone again, and need not look at twice.
    told = redactor.redact_data(_without_pictures(whole))
    left = [*(kind for kind, _ in told.found), *told.unclean, *redactor.values_in(content)]
    if left:
        raise SetupError(
            f"{str(notebook)!r} cannot be cleaned, nothing was written: {_listed(left)} found even after cleaning; "
            "take it out by hand and share again"
        )


def _without_pictures(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_pictures(item) for key, item in data.items() if not is_picture(key)}
    return [_without_pictures(item) for item in data] if isinstance(data, list) else data


def _write(content: bytes, targets: list[Path]) -> None:
    """All files or none, each whole. Raises SetupError where they cannot be written."""
    output = targets[0]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with _beside(output) as work:
            made = [work / output.name]
            made[0].write_bytes(content)
            if len(targets) > 1:
                from autotune_nb.reports.notebook import to_html

                with warnings.catch_warnings():
                    # An output that only scripts can show has no place on the page; the notebook keeps it.
                    warnings.filterwarnings("ignore", "Your element with mimetype")
                    made.append(to_html(made[0]))
            for file, target in zip(made, targets, strict=True):
                file.replace(target)
    except OSError as error:
        raise SetupError(f"{output} cannot be written: {error.strerror or error}") from None


@contextlib.contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """A folder on the output's own disk, from where a file is moved in one step."""
    with tempfile.TemporaryDirectory(prefix=".autotune_nb-", dir=output.parent) as work:
        yield Path(work)


def _nbformat() -> Any:
    """Its readers are not typed."""
    import nbformat
    import nbformat.v4.rwbase

    return nbformat


def _listed(places: list[str] | tuple[str, ...]) -> str:
    places = list(dict.fromkeys(places))
    more = len(places) - _SHOWN_PLACES
    return ", ".join(places[:_SHOWN_PLACES]) + (f" and {more} more" if more > 0 else "")
