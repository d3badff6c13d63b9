"""Reads a notebook to execute: normalized as Jupyter does, with its language and the parameters of its cell."""

from __future__ import annotations

import ast
import json
import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune_nb.errors import SetupError, did_you_mean

_TEXT_TYPES = {"str", "Path", "PurePath", "AnyStr", "LiteralString"}
_TEXT_CALLS = {"str", "Path", "PurePath", "getenv", "join", "expanduser"}
_CONSTANTS = {"True": True, "False": False, "None": None}


def read_notebook_to_execute(notebook: Path) -> Any:
    """Return the notebook in the current format, without outputs and widget state. Raises SetupError."""
    import nbformat

    if not notebook.is_file():
        raise SetupError(f"there is no notebook {str(notebook)!r}")
    try:
        data = json.loads(notebook.read_bytes().decode("utf-8-sig"))
        if not isinstance(data, dict) or "nbformat" not in data:
            raise ValueError("it has no nbformat; expected the content of an .ipynb file")
        if data["nbformat"] == 4:
            # Versions up to 4.4 have no ids of cells, but papermill and others wrote them there.
            data["nbformat_minor"] = max(5, data.get("nbformat_minor", 0))
            _repair(data)
        nb: Any = nbformat.reads(json.dumps(data), as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(nb)
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError, OSError) as error:
        raise _not_a_notebook(notebook, error) from None
    except nbformat.validator.ValidationError as error:
        raise _not_a_notebook(notebook, error) from None
    return nb


def _not_a_notebook(notebook: Path, error: Exception) -> SetupError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return SetupError(f"{str(notebook)!r} is not a notebook: {reason}")


def _repair(data: dict[str, Any]) -> None:
    """Replace what is null or missing, which Jupyter reads as empty, and drop what the execution replaces."""
    metadata = data["metadata"] = data.get("metadata") or {}
    # The state belongs to widgets of an earlier kernel.
    metadata.pop("widgets", None)
    for name in ("kernelspec", "language_info"):
        if name in metadata and not isinstance(metadata[name], dict):
            del metadata[name]
    if "kernelspec" in metadata:
        metadata["kernelspec"].setdefault("display_name", metadata["kernelspec"].get("name", ""))
    ids: set[object] = {None}
    for number, cell in enumerate(data["cells"], 1):
        own = cell["metadata"] = cell.get("metadata") or {}
        tags = own.get("tags")
        if tags is not None or "tags" in own:
            given = [tags] if isinstance(tags, str) else tags if isinstance(tags, list) else []
            own["tags"] = list(dict.fromkeys(tag for tag in given if isinstance(tag, str) and "," not in tag))
        if cell.get("cell_type") == "code":
            cell["outputs"], cell["execution_count"] = [], None
        cell["id"] = f"cell-{number}" if cell.get("id") in ids else cell["id"]
        ids.add(cell["id"])


def language_of(nb: Any) -> str | None:
    """Return the language that the notebook names, in lower case, or None."""
    info = nb.metadata.get("language_info", {}).get("name")
    return str(info or nb.metadata.get("kernelspec", {}).get("language") or "").lower() or None


@dataclass(frozen=True)
class ParametersCell:
    """The parameters that a notebook's cell with the tag ``parameters`` sets; None without such a cell."""

    #: Whether each parameter is text, in the order of the cell; None if the cell cannot be parsed.
    is_text: Mapping[str, bool] | None
    exists: bool

    @classmethod
    def of(cls, nb: Any) -> ParametersCell:
        """Return the parameters of a notebook's first such cell, as papermill uses it."""
        for cell in nb.cells:
            if "parameters" in cell.metadata.get("tags", []):
                return cls(_assignments(cell.source), exists=True)
        return cls({}, exists=False)

    def value(self, name: str, text: str) -> Any:
        """Return a value of a command line: text where the parameter is text, else JSON, True, False or None."""
        if (self.is_text or {}).get(name):
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text

    def note(self, name: str) -> str | None:
        """Return what to report about a parameter that the cell does not set, or None."""
        if not self.exists:
            return f"has no cell tagged 'parameters'; it may overwrite {name}"
        if self.is_text is None or name in self.is_text:
            return None
        return f"does not set {name!r} in its cell tagged 'parameters'{did_you_mean(name, self.is_text)}"


def check_parameter_name(name: str) -> None:
    """Raise SetupError unless the name is one of a Python variable."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise SetupError(f"{name!r} is not the name of a parameter: expected the name of a Python variable")


def _assignments(source: str) -> dict[str, bool] | None:
    lines = [line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))]
    try:
        body = ast.parse("\n".join(lines)).body
    except (ValueError, SyntaxError, RecursionError):
        return None
    found: dict[str, bool] = {}
    for statement in body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found[statement.target.id] = _is_text_type(statement.annotation)
        elif isinstance(statement, ast.Assign):
            names = [one for target in statement.targets for one in ast.walk(target) if isinstance(one, ast.Name)]
            whole = all(isinstance(target, ast.Name) for target in statement.targets)
            found.update({one.id: whole and _is_text(statement.value) for one in names})
    return found


def _is_text_type(annotation: ast.expr) -> bool:
    """Return whether an annotation allows text only: str, Path, str | None, Optional[str], Literal["a", "b"]."""
    if isinstance(annotation, ast.Constant):
        if not isinstance(annotation.value, str):
            return False
        try:
            return _is_text_type(ast.parse(annotation.value, mode="eval").body)
        except (ValueError, SyntaxError):
            return False
    if isinstance(annotation, ast.BinOp):
        sides = [one for one in (annotation.left, annotation.right) if not _is_none(one)]
        return bool(sides) and all(map(_is_text_type, sides))
    if isinstance(annotation, ast.Subscript):
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if _last_name(annotation.value) == "Literal":
            return all(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in inner)
        given = [one for one in inner if not _is_none(one)]
        kind = _last_name(annotation.value) in ("Optional", "Union", "Annotated", "Final")
        return kind and bool(given) and all(map(_is_text_type, given))
    return _last_name(annotation) in _TEXT_TYPES


def _is_text(value: ast.expr) -> bool:
    """Return whether an expression is text, such as 'x', f"{y}", Path("x") / "y" or os.environ.get("X", "y")."""
    if isinstance(value, ast.Constant):
        return isinstance(value.value, str)
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add | ast.Div | ast.Mod):
        return _is_text(value.left) or (isinstance(value.op, ast.Add) and _is_text(value.right))
    if isinstance(value, ast.BoolOp):
        return any(map(_is_text, value.values))
    if isinstance(value, ast.Call):
        name = _last_name(value.func)
        environ = isinstance(value.func, ast.Attribute) and _last_name(value.func.value) == "environ"
        return name in _TEXT_CALLS or (name == "get" and environ)
    return isinstance(value, ast.JoinedStr)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
