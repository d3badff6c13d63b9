"""What the engine and the GPUs of a trial reported over time: the data of the monitor's small charts and your own."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune_nb.runner.conditions import GPU_FILE_NAME
from autotune_nb.runner.engine_metrics import FILE_NAME, LIVE_FILE_NAME

if TYPE_CHECKING:
    import pandas as pd

#: The most that is read of a file; its end.
_MOST_BYTES = 2_000_000
#: Metrics by their names in the files: title, unit, and whether they are counts, of which the rate is shown.
_SHOWN = {
    "running_requests": ("running requests", "", False),
    "waiting_requests": ("waiting requests", "", False),
    "kv_cache_usage": ("KV cache", "share", False),
    "output_tokens": ("generated tokens", "tokens/s", True),
    "preemptions": ("preemptions", "per s", True),
    "clock_mhz": ("GPU clock", "MHz", False),
    "power_w": ("GPU power", "W", False),
}


@dataclass(frozen=True)
class MetricSeries:
    """A metric over the seconds since the first sample of the trial; of GPUs it is the mean."""

    title: str
    unit: str
    seconds: tuple[float, ...]
    values: tuple[float, ...]


def latest_attempt(trial_folder: Path) -> Path:
    """Return the folder of the last attempt of a trial; the folders of further attempts are in that of the first."""
    attempts = trial_folder.glob("attempt-*")
    return max(attempts, key=lambda one: (len(one.name), one.name), default=trial_folder)


def metric_series(folder: Path) -> list[MetricSeries]:
    """Return the series of an attempt's folder that has samples; those that are 0 all the time are left out."""
    rows = [*_rows(folder / FILE_NAME), *_rows(folder / GPU_FILE_NAME)]
    began = min((row["time"] for row in rows), default=0.0)
    found = []
    for name, (title, unit, is_count) in _SHOWN.items():
        points = _points(rows, name)
        if is_count:
            points = list(_rates(points))
        if len(points) > 1 and any(value for _, value in points):
            seconds, values = zip(*((round(at - began, 3), value) for at, value in points), strict=True)
            found.append(MetricSeries(title, unit, seconds, values))
    return found


def live_tokens_per_s(folder: Path) -> MetricSeries | None:
    """Return the tokens per second within the level that runs now in an attempt's folder; None without samples."""
    points = list(_rates(_points(_rows(folder / LIVE_FILE_NAME), "output_tokens")))
    if not points:
        return None
    seconds, values = zip(*((round(at - points[0][0], 3), value) for at, value in points), strict=True)
    return MetricSeries("generated tokens", "tokens/s", seconds, values)


def series_frame(series: Sequence[MetricSeries]) -> pd.DataFrame:
    """Return one row per metric and time: metric, unit, seconds, value."""
    import pandas as pd

    rows = [
        (one.title, one.unit, at, value) for one in series for at, value in zip(one.seconds, one.values, strict=True)
    ]
    return pd.DataFrame(rows, columns=["metric", "unit", "seconds", "value"])


def frame_series(frame: pd.DataFrame) -> list[MetricSeries]:
    """Return the series of a table as ``series_frame`` returns it."""
    return [
        MetricSeries(
            str(title),
            "" if own["unit"].isna().all() else str(own["unit"].iloc[0]),
            tuple(own["seconds"].astype(float)),
            tuple(own["value"].astype(float)),
        )
        for title, own in frame.dropna(subset=["seconds", "value"]).groupby("metric", sort=False)
    ]


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file that have a time; empty if there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _MOST_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            # The end of a line that is being written, or the begin of the part that is read.
            continue
        if isinstance(row, dict) and _is_number(row.get("time")):
            found.append(row)
    return found


def _points(rows: Iterable[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """Return times and values, the mean of all values of the same second."""
    grouped: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if _is_number(row.get(name)):
            grouped.setdefault(math.floor(row["time"]), []).append((row["time"], row[name]))
    return [(same[0][0], math.fsum(value for _, value in same) / len(same)) for _, same in sorted(grouped.items())]


def _rates(points: Sequence[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    for (before, low), (now, high) in itertools.pairwise(points):
        # An engine that was restarted counts from 0.
        yield now, max(0.0, high - low) / max(now - before, 1e-3)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
