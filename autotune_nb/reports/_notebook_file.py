"""Reads and writes notebook files, whose errors name the file and quote nothing of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autotune_nb.errors import SetupError


def read_notebook(notebook: Path) -> dict[str, Any]:
    """Return the notebook, each text in one piece. Raises SetupError where it is none, which quotes nothing of it."""
    import nbformat

    try:
        data = json.loads(notebook.read_bytes().decode("utf-8-sig"))
        if not isinstance(data, dict) or type(data.get("nbformat")) is not int or data["nbformat"] != 4:
            raise SetupError(
                f"{str(notebook)!r} is not a notebook of format 4; convert an older one first: jupyter nbconvert --to "
                f"notebook --output NEW.ipynb {notebook}"
            )
        nb = nbformat.v4.rwbase.strip_transient(nbformat.v4.rwbase.rejoin_lines(nbformat.from_dict(data)))
        seen: set[str | None] = {None}
        for number, cell in enumerate(nb["cells"] if nb["nbformat_minor"] >= 5 else (), 1):
            # Counted, so that the same notebook gives the same copy.
            cell["id"] = f"cell-{number}" if cell.get("id") in seen else cell["id"]
            seen.add(cell["id"])
        nbformat.validate(nb)
    except OSError as error:
        raise SetupError(f"{str(notebook)!r} cannot be read: {error.strerror or error}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SetupError(f"{str(notebook)!r} is not a notebook: {error}; expected a whole .ipynb file") from None
    except (ValueError, LookupError, AttributeError, TypeError, AssertionError, nbformat.ValidationError):
        # Its message quotes the notebook.
        raise SetupError(f"{str(notebook)!r} is no valid notebook; open and save it in JupyterLab") from None
    return dict(nb)


def notebook_bytes(nb: dict[str, Any]) -> bytes:
    """Return the content of the notebook's file."""
    import nbformat

    # Half a surrogate pair is no text in any script.
    text: str = nbformat.writes(nbformat.from_dict(nb), version=nbformat.NO_CONVERT)
    return (text.rstrip("\n") + "\n").encode("utf-8", "replace")
