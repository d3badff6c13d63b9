"""The rows of a dataset's file, of a large one those at some places, with where each of them is."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autotune_nb.errors import SetupError

#: How much of a file is read, and at how many places a larger one is read.
MOST_BYTES, _PLACES = 64 << 20, 64
#: How many rows of a CSV file are read at once.
_ROWS = 1000
#: The field of the task with the file's path.
PATH_FIELD = "workload.dataset.path"


def read_rows(path: Path, size: int) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a file of ``size`` bytes: texts, or mappings of columns; an empty row as "" or None.

    Raises SetupError for a file that is not UTF-8 or not of its kind.
    """
    return _READERS[path.suffix.lower()](path, size)


def _lines(path: Path, size: int) -> Iterator[tuple[str, str]]:
    """Yield the lines of a file, of a large one those at places that are spread evenly over it."""
    with path.open("rb") as file:
        if size <= MOST_BYTES:
            for number, line in enumerate(file, 1):
                yield (where := f"line {number}"), _decoded(line, path, where, first=number == 1)
            return
        block = MOST_BYTES // _PLACES
        for place in range(_PLACES):
            start = place * (size - block) // (_PLACES - 1)
            file.seek(start)
            if place:
                # The rest of a line.
                _line(file, block, path)
            while file.tell() < start + block and (line := _line(file, block, path)):
                where = f"the line before byte {file.tell():,}"
                yield where, _decoded(line, path, where, first=start == 0)


def _line(file: Any, most: int, path: Path) -> bytes:
    line: bytes = file.readline(most)
    if len(line) == most and not line.endswith(b"\n"):
        raise SetupError(f"{path} has a line of more than {most:,} bytes; expected is one row a line", field=PATH_FIELD)
    return line


def _decoded(line: bytes, path: Path, where: str, *, first: bool) -> str:
    try:
        return (line.removeprefix(codecs.BOM_UTF8) if first else line).decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise _not_utf_8(path, where, error) from None


def _not_utf_8(path: Path, where: str, error: UnicodeDecodeError) -> SetupError:
    byte = error.object[error.start]
    return SetupError(
        f"{path} is not UTF-8: byte 0x{byte:02x} in {where}; convert it, for example with "
        f"iconv -f ISO-8859-1 -t UTF-8 {path.name} > utf8-{path.name}",
        field=PATH_FIELD,
    )


def _json_lines(path: Path, size: int) -> Iterator[tuple[str, Any]]:
    for where, line in _lines(path, size):
        if not line.strip():
            yield where, None
            continue
        try:
            yield where, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SetupError(f"{path}, {where}, is no JSON: {error}", field=PATH_FIELD) from None


def _json_list(path: Path, size: int) -> Iterator[tuple[str, Any]]:
    if size > MOST_BYTES:
        raise SetupError(
            f"{path} has {size / 2**30:.3g} GiB, and a JSON file is read whole; convert it to JSONL: "
            f"jq -c '.[]' {path.name} > {path.stem}.jsonl",
            field=PATH_FIELD,
        )
    try:
        data = json.loads(_decoded(path.read_bytes(), path, "it", first=True))
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path} is no JSON: {error}", field=PATH_FIELD) from None
    if not isinstance(data, list):
        raise SetupError(f"{path} has a {type(data).__name__}; expected is a list of rows", field=PATH_FIELD)
    return ((f"item {number}", row) for number, row in enumerate(data))


def _csv(path: Path, size: int) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a CSV file, of a large one its first: in the middle, no line is known to begin a row."""
    import pandas as pd

    read, number = 0, 0
    try:
        with pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", chunksize=_ROWS, skip_blank_lines=True
        ) as chunks:
            for chunk in chunks:
                for row in chunk.to_dict(orient="records"):
                    number += 1
                    read += sum(len(value) for value in row.values() if isinstance(value, str))
                    # pandas fills a short row with NaN.
                    yield f"row {number}", {key: value for key, value in row.items() if isinstance(value, str)}
                if read > MOST_BYTES:
                    return
    except UnicodeDecodeError as error:
        raise _not_utf_8(path, f"row {number + 1:,} or later", error) from None
    except pd.errors.EmptyDataError:
        return
    except pd.errors.ParserError as error:
        raise SetupError(f"{path} is no CSV file: {' '.join(str(error).split())}", field=PATH_FIELD) from None


_READERS: dict[str, Callable[[Path, int], Iterator[tuple[str, Any]]]] = {
    ".txt": _lines,
    ".jsonl": _json_lines,
    ".json": _json_list,
    ".csv": _csv,
}
