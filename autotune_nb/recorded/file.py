"""Reads CSV and parquet files in long form."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from autotune_nb.errors import SetupError, StudyError

if TYPE_CHECKING:
    import pandas as pd

_FIELDS = re.compile(r"Expected (?P<header>\d+) fields in line (?P<line>\d+), saw (?P<fields>\d+)")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_JSON = (".json", ".jsonl", ".ndjson")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst", ".tar")


def read_frame(source: Path) -> pd.DataFrame:
    """Return the cells of a file in long form. Raises StudyError, and SetupError if pyarrow is missing."""
    import pandas as pd

    if source.suffix in _COMPRESSED:
        raise StudyError(f"{source} is compressed; unpack it and import its content")
    if source.suffix in _JSON:
        raise StudyError(
            f"{source} is JSON, which is not read; give a CSV or parquet file with the columns that export writes, or "
            "the folder of genai-bench's results"
        )
    try:
        if source.suffix in (".parquet", ".pq"):
            return pd.read_parquet(source)
        return _csv(source)
    except ImportError:
        raise SetupError("parquet needs pyarrow: pip install 'autotune_nb[parquet]', or import a CSV") from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        found = _FIELDS.search(reason)
        if found:
            reason = (
                f"line {found['line']} has {found['fields']} fields and the header {found['header']}; put a text that "
                "contains a comma in quotes"
            )
        raise StudyError(f"{source} cannot be read as {source.suffix or 'CSV'}: {reason}") from None


def _csv(source: Path) -> pd.DataFrame:
    """Read every cell as text: pandas would convert "on", "1" and "NA"."""
    import pandas as pd

    with source.open(encoding="utf-8-sig", errors="replace") as file:
        head = file.readline()
    other = next((name for sign, name in _SEPARATORS.items() if sign in head), None)
    if other is not None and "," not in head:
        raise StudyError(f"{source} has {other} between its columns; save it as a CSV with commas")
    # Without header=None pandas would rename duplicate columns and shift rows that are too long.
    whole = pd.read_csv(source, dtype=str, keep_default_na=False, encoding="utf-8-sig", header=None)
    frame = whole.iloc[1:].reset_index(drop=True)
    names = whole.iloc[0].fillna("").tolist()
    frame.columns = pd.Index([name or f"Unnamed: {number}" for number, name in enumerate(names)])
    return frame
