"""Reads and writes notebook files, whose errors name the file and quote nothing of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autotune_nb.errors import SetupError


def read_notebook(notebook: Path) -> dict[str, Any]:
    """Return the notebook, each text in one piece. Raises SetupError where it is none, which quotes nothing of it."""
    nbformat = _nbformat()
    try:
        data = json.loads(notebook.read_bytes().decode("utf-8-sig"))
        if not isinstance(data, dict) or type(data.get("nbformat")) is not int or data["nbformat"] != 4:
            raise SetupError(
                f"{str(notebook)!r} is no notebook of format 4; convert an older one first: jupyter nbconvert --to "
                f"notebook --output NEW.ipynb {notebook}"
            )
        nb = nbformat.v4.rwbase.strip_transient(nbformat.v4.rwbase.rejoin_lines(nbformat.from_dict(data)))
        _name_cells(nb)
        nbformat.validate(nb)
    except OSError as error:
        raise SetupError(f"{str(notebook)!r} cannot be read: {error.strerror or error}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SetupError(f"{str(notebook)!r} is no notebook: {error}; expected a whole .ipynb file") from None
    except (ValueError, LookupError, AttributeError, TypeError, AssertionError, nbformat.ValidationError) as error:
        # Its message quotes the notebook.
        path = ".".join(str(part) for part in getattr(error, "absolute_path", ()) or ())
        where = f" at {path}" if path else ""
        raise SetupError(f"{str(notebook)!r} is no valid notebook{where}; open and save it in JupyterLab") from None
    return dict(nb)


def _name_cells(nb: Any) -> None:
    """Give cells the ids that the format requires; counted, so that the same notebook gives the same copy."""
    if nb["nbformat_minor"] < 5:
        return
    seen: set[str] = set()
    for number, cell in enumerate(nb["cells"], 1):
        if not isinstance(cell.get("id"), str) or cell["id"] in seen:
            cell["id"] = f"cell-{number}"
        seen.add(cell["id"])


def notebook_bytes(nb: dict[str, Any], notebook: Path) -> bytes:
    """Return the file's content. Raises SetupError where it is no valid notebook (any more)."""
    nbformat = _nbformat()
    node = nbformat.from_dict(nb)
    try:
        nbformat.validate(node)
    except nbformat.ValidationError:
        raise SetupError(f"{str(notebook)!r} cannot be cleaned: without its secrets it is no valid notebook") from None
    # Half a surrogate pair is no text in any script.
    text: str = nbformat.writes(node, version=nbformat.NO_CONVERT)
    return (text.rstrip("\n") + "\n").encode("utf-8", "replace")


def _nbformat() -> Any:
    """Its readers are not typed."""
    import nbformat
    import nbformat.v4.rwbase

    return nbformat
