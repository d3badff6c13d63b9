"""Reads a batch file: a base task and axes whose values replace fields of it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.task.file import TaskLoader, task_data
from autotune_nb.task.task import Task

_FIELDS = ("base", "axes", "folder", "notebook", "parallel")


@dataclass(frozen=True)
class Cell:
    """One study of a batch. ``task`` is None if it is invalid, which ``error`` explains."""

    name: str
    labels: Mapping[str, str]
    study: Path
    task: Task | None
    error: str = ""


@dataclass(frozen=True)
class Grid:
    """The studies of a batch file, and how they are run."""

    folder: Path
    cells: tuple[Cell, ...]
    #: The notebook that runs each study; None for that of the package.
    notebook: Path | None = None
    parallel: int | None = None


def read_grid(file: str | Path, folder: str | Path | None = None) -> Grid:
    """Return the grid of a batch file; ``folder`` replaces the folder of its studies. Raises TaskError."""
    path = Path(file).expanduser()
    data = _read(path)
    for name in data:
        if name not in _FIELDS:
            raise UnknownNameError("field of a batch", str(name), _FIELDS, field=str(name))
    base, axes = _base(data.get("base"), path), _axes(data.get("axes"))
    parallel = data.get("parallel")
    if parallel is not None and (isinstance(parallel, bool) or not isinstance(parallel, int) or parallel < 1):
        raise TaskError(f"expected a number of studies at a time, not {parallel!r}", field="parallel")
    studies = Path(folder or data.get("folder") or Path("runs") / path.stem).expanduser().absolute()
    cells: list[Cell] = []
    for chosen in itertools.product(*axes.values()):
        labels = {axis: label for axis, (label, _) in zip(axes, chosen, strict=True)}
        name = "_".join(_plain(label) for label in labels.values())
        while any(one.name == name for one in cells):
            name += "-2"
        task, error = _task(base, dict(zip(axes, (value for _, value in chosen), strict=True)), name)
        cells.append(Cell(name, labels, studies / name, task, error))
    notebook = data.get("notebook")
    return Grid(studies, tuple(cells), None if notebook is None else _beside(path, str(notebook)), parallel)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), TaskLoader)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise TaskError(f"the batch file {str(path)!r} cannot be read: {reason}") from None
    except yaml.YAMLError as error:
        at = f" at line {mark.line + 1}" if (mark := getattr(error, "problem_mark", None)) else ""
        raise TaskError(f"{path.name} is not valid YAML{at}: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise TaskError(f"{path.name} has no fields; expected base (a task) and axes")
    return data


def _base(given: Any, file: Path) -> dict[str, Any]:
    if isinstance(given, dict):
        return given
    if not isinstance(given, str):
        raise TaskError(f"expected a task file, its name or the fields of a task, not {given!r}", field="base")
    beside = _beside(file, given)
    return task_data(Task.load(beside if beside.is_file() else given))


def _beside(file: Path, name: str) -> Path:
    return file.absolute().parent / Path(name).expanduser()


def _axes(given: Any) -> dict[str, list[tuple[str, Any]]]:
    """Return the values of each axis with their labels."""
    if not isinstance(given, dict) or not given:
        raise TaskError("expected at least one axis, such as model: [acme/8b, acme/70b]", field="axes")
    found: dict[str, list[tuple[str, Any]]] = {}
    for axis, values in given.items():
        pairs = list(values.items()) if isinstance(values, dict) else values
        if not isinstance(pairs, list) or not pairs:
            raise TaskError("expected a list of values, or a mapping of names to values", field=f"axes.{axis}")
        if not isinstance(values, dict):
            if any(isinstance(value, dict | list) for value in pairs):
                raise TaskError("name these values: a mapping of names to values", field=f"axes.{axis}")
            pairs = [(value, value) for value in pairs]
        found[str(axis)] = [(str(label), value) for label, value in pairs]
        is_field = str(axis).partition(".")[0] in Task.model_fields
        if not is_field and not all(isinstance(value, dict) for _, value in pairs):
            raise TaskError(
                "is no field of a task, so each of its values must be a mapping of such fields", field=f"axes.{axis}"
            )
    return found


def _task(base: Mapping[str, Any], chosen: Mapping[str, Any], name: str) -> tuple[Task | None, str]:
    """Return the task of a cell, or why it is invalid."""
    data: dict[str, Any] = dict(base)
    for axis, value in chosen.items():
        if axis.partition(".")[0] in Task.model_fields:
            for part in reversed(axis.split(".")):
                value = {part: value}
        data = _merged(data, value)
    title = f"{base.get('name', 'batch')} {name}"[:60].strip()
    try:
        return Task.parse({**data, "name": title}), ""
    except TaskError as error:
        return None, str(error)


def _merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return data with changes: of two mappings the values are merged, anything else is replaced."""
    merged = dict(data)
    for name, value in changes.items():
        before = merged.get(name)
        merged[name] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _plain(label: str) -> str:
    """Return a label as part of a folder's name; of a model the last part of its name."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", label.rstrip("/").rpartition("/")[2]).strip("-.") or "x"
