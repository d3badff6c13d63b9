"""Reads and writes notebook files, whose errors name the file and quote nothing of it."""

from __future__ import annotations

import json
import re
import uuid
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
    """Return the content of the notebook's file: indented, but the data of charts and tables in one line each.

    With a line per number they take up two to three times the size.
    """
    import nbformat

    copy = nbformat.from_dict(nb)
    mark = uuid.uuid4().hex
    lines: list[str] = []
    for output in (one for cell in copy["cells"] for one in cell.get("outputs", ())):
        for mime, value in output.get("data", {}).items():
            if mime.endswith("+json") and not isinstance(value, str):
                output["data"][mime] = f"{mark}-{len(lines)}"
                lines.append(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
    text: str = nbformat.writes(copy, version=nbformat.NO_CONVERT)
    text = re.sub(rf'"{mark}-(\d+)"', lambda found: lines[int(found[1])], text)
    # Half a surrogate pair is no text in any script.
    return (text.rstrip("\n") + "\n").encode("utf-8", "replace")
