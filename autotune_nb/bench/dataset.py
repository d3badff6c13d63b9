"""Reads the prompts of a dataset's file, of a large one a sample, and writes what genai-bench reads instead of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from autotune_nb.bench._dataset_rows import MOST_BYTES, PATH_FIELD, read_rows
from autotune_nb.errors import SetupError, did_you_mean
from autotune_nb.task.dataset import FILE_SUFFIXES, Dataset
from autotune_nb.task.workload import Workload

#: How many prompts of a file are sent.
_MOST_PROMPTS = 10_000
_COLUMN = "workload.dataset.column"
_IN_BRACES = re.compile(r"\{([^{}]+)\}")
_PROMPTS, _CONFIG = "dataset.json", "dataset-config.json"


@dataclass(frozen=True)
class Prompts:
    """The prompts of a file, and how many rows were read for them, how many of those without a prompt."""

    texts: tuple[str, ...]
    num_rows: int
    num_empty: int
    #: The size of a file of which only a part was read; 0 for one that was read whole.
    sampled_bytes: int = 0

    def __str__(self) -> str:
        text = f"{len(self.texts):,} prompt{'s' * (len(self.texts) != 1)}"
        if self.num_rows - self.num_empty > len(self.texts):
            text += f", chosen at random from {self.num_rows:,} rows"
        if self.num_empty:
            text += f"; {self.num_empty:,} empty row{'s are' if self.num_empty > 1 else ' is'} left out"
        if self.sampled_bytes:
            text += f"; {MOST_BYTES >> 20} MiB of the file's {self.sampled_bytes / 2**30:.3g} GiB are read"
        return text


def dataset_arguments(workload: Workload, folder: Path, seed: int) -> list[str]:
    """Return genai-bench's arguments for the dataset of a workload, whose file is written to ``folder``.

    Raises SetupError if the dataset cannot be read.
    """
    dataset = workload.dataset
    if dataset.path is None:
        return []
    _require_rows(dataset)
    if dataset.is_file:
        prompts = read_prompts(dataset, seed)
        return ["--dataset-path", str(_written(folder / _PROMPTS, prompts.texts))]
    return ["--dataset-config", str(_written(folder / _CONFIG, _config(dataset)))]


def dataset_line(workload: Workload, seed: int) -> str:
    """Return in a line what prompts the dataset of a workload has; empty without one.

    Raises SetupError if it cannot be read.
    """
    dataset = workload.dataset
    if dataset.path is None:
        return ""
    _require_rows(dataset)
    if dataset.is_file:
        text = f"{dataset.path} has {read_prompts(dataset, seed)}"
    elif is_on_hub(dataset):
        text = f"{dataset.path} is read from the model hub when a trial is measured; it is not checked"
    elif Path(dataset.path).expanduser().is_dir():
        text = f"{dataset.path} is a folder, which genai-bench reads; it is not checked"
    else:
        raise SetupError(f"there is no folder {dataset.path!r}; give its path, from here", field=PATH_FIELD)
    is_sent = any("dataset" in scenario for scenario in workload.scenarios)
    if is_sent and workload.generates_text and not _has_limit(workload):
        text += "; replies end where the model ends them: limit them by workload.request_params, max_tokens: 256"
    return text


def _require_rows(dataset: Dataset) -> None:
    """Raise SetupError for a file of another kind, which otherwise passes for the name of a hub's dataset."""
    if dataset.path and not dataset.is_file and Path(dataset.path).expanduser().is_file():
        wanted = f"a file must end in {', '.join(sorted(FILE_SUFFIXES))}"
        raise SetupError(f"{dataset.path} cannot be read: {wanted}; convert it, such as to CSV", field=PATH_FIELD)


def is_on_hub(dataset: Dataset) -> bool:
    """Whether a dataset has the name of a model hub's."""
    path = dataset.path
    if path is None or dataset.is_file or path.startswith((".", "/", "~")):
        return False
    return not Path(path).is_dir()


def dataset_fingerprint(arguments: Sequence[str]) -> dict[str, str]:
    """Return the hash of the prompts in the file of ``dataset_arguments``; nothing if genai-bench reads them."""
    if "--dataset-path" not in arguments:
        return {}
    return {"dataset_sha256": hashlib.sha256(Path(arguments[1]).read_bytes()).hexdigest()}


def _has_limit(workload: Workload) -> bool:
    return not {"max_tokens", "max_completion_tokens"}.isdisjoint(workload.request_params)


def _written(file: Path, data: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data), encoding="utf-8")
    return file.absolute()


def _config(dataset: Dataset) -> dict[str, Any]:
    """Return genai-bench's configuration of a folder or a hub's dataset, which it reads itself."""
    path = Path(dataset.path or "").expanduser()
    prompt = dataset.prompt and "lambda row: " + _lambda(dataset.prompt)
    return {
        "source": {
            "type": "huggingface",
            "path": str(path.absolute()) if path.is_dir() else dataset.path,
            # Without a split there would be no rows, but a mapping of splits.
            "huggingface_kwargs": {"split": "train", **dataset.config},
        },
        "prompt_column": dataset.column,
        "image_column": dataset.image_column,
        "prompt_lambda": prompt,
    }


def _lambda(template: str) -> str:
    """Return an expression of ``row`` for a template, as genai-bench evaluates it."""
    parts = _IN_BRACES.split(template)
    # The odd parts are names of columns.
    return " + ".join(f"str(row[{part!r}])" if i % 2 else repr(part) for i, part in enumerate(parts) if part)


def read_prompts(dataset: Dataset, seed: int) -> Prompts:
    """Return the prompts of a dataset's file, of more than 10,000 a sample that depends on the seed only.

    Raises SetupError, naming the field, for a file that cannot be read, a missing column, or no prompt at all.
    """
    path = Path(dataset.path or "").expanduser()
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise SetupError(f"{dataset.path} is a folder; expected is a file of prompts", field=PATH_FIELD)
        rows = read_rows(path, size)
        return _sampled(rows, dataset, Random(seed), size)
    except FileNotFoundError:
        raise SetupError(f"there is no file {dataset.path!r}; give its path, from here", field=PATH_FIELD) from None
    except OSError as error:
        raise SetupError(f"{dataset.path} cannot be read: {error.strerror or error}", field=PATH_FIELD) from None


def _sampled(rows: Iterator[tuple[str, Any]], dataset: Dataset, random: Random, size: int) -> Prompts:
    texts: list[str] = []
    num_rows = num_empty = 0
    first: Any = None
    missing: set[str] | None = None
    for where, row in rows:
        num_rows += 1
        first = row if first is None and row else first
        lacks: set[str] = set()
        text = _prompt(row, dataset, where, lacks)
        if row:
            # A column that some rows have may be absent in others.
            missing = lacks if missing is None else missing & lacks
        if not text.strip():
            num_empty += 1
            continue
        # Each prompt has the same chance, however many follow.
        place = len(texts) if len(texts) < _MOST_PROMPTS else random.randrange(num_rows - num_empty)
        if place < _MOST_PROMPTS:
            texts[place : place + 1] = [text.encode("utf-8", "replace").decode()]
    if missing:
        field = _COLUMN if dataset.prompt is None else "workload.dataset.prompt"
        columns = list(map(str, first)) if isinstance(first, Mapping) else []
        name = sorted(missing)[0]
        raise SetupError(f"{dataset.path} has no column {name!r}{did_you_mean(name, columns)}", field=field)
    if not texts:
        what = f"none of its {num_rows:,} rows has a prompt" if num_rows else "it has no rows"
        raise SetupError(f"{dataset.path}: {what}", field=PATH_FIELD)
    return Prompts(tuple(texts), num_rows, num_empty, size if size > MOST_BYTES else 0)


def _prompt(row: Any, dataset: Dataset, where: str, lacks: set[str]) -> str:
    """Return the prompt of a row, empty if it has none; adds the columns that it does not have to ``lacks``."""
    if dataset.prompt is not None:
        template = dataset.prompt
        values = {name: _text(row, name, where, lacks) for name in _IN_BRACES.findall(template)}
        # A template around nothing is no prompt.
        return _IN_BRACES.sub(lambda found: values[found[1]], template) if any(values.values()) or not values else ""
    if dataset.column is not None:
        return _text(row, dataset.column, where, lacks)
    if isinstance(row, Mapping):
        if len(row) > 1:
            columns = ", ".join(map(str, list(row)[:20]))
            raise SetupError(f"say which of the columns of {dataset.path} has the prompts: {columns}", field=_COLUMN)
        return _text(row, next(iter(row), ""), where, lacks)
    return _as_text(row, "its value", where)


def _text(row: Any, name: str, where: str, lacks: set[str]) -> str:
    """Return the text of a column, or of a place in nested rows such as ``conversations.0.value``."""
    value: Any = row
    if isinstance(row, Mapping) and name in row:
        return _as_text(row[name], f"column {name!r}", where)
    for part in name.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            lacks.add(name)
            return ""
    return _as_text(value, f"column {name!r}", where)


def _as_text(value: Any, what: str, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise SetupError(
        f"{where}: {what} is a {type(value).__name__}; expected is a text, in nested rows such as "
        "conversations.0.value",
        field=_COLUMN,
    )
