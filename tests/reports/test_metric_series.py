"""The series of a trial's metrics, read from its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.reports.metric_series import latest_attempt, live_tokens_per_s, metric_series, series_frame
from autotune_nb.runner.conditions import GPU_FILE_NAME
from autotune_nb.runner.engine_metrics import FILE_NAME, LIVE_FILE_NAME


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps({'level': 'D(16,8) at concurrency 2', **row})}\n" for row in rows))


def engine(folder: Path) -> None:
    write(
        folder / FILE_NAME,
        {"time": 1000.0, "running_requests": 0, "waiting_requests": 0, "kv_cache_usage": 0.1, "output_tokens": 100},
        {"time": 1001.0, "running_requests": 4, "waiting_requests": 0, "kv_cache_usage": 0.5, "output_tokens": 300},
        {"time": 1003.0, "running_requests": 4, "waiting_requests": 0, "kv_cache_usage": 0.9, "output_tokens": 500},
        # The engine was restarted.
        {"time": 1004.0, "running_requests": 1, "waiting_requests": 0, "kv_cache_usage": 0.2, "output_tokens": 7},
    )


def test_the_series_of_an_engine_are_its_gauges_and_the_rates_of_its_counts(tmp_path: Path) -> None:
    engine(tmp_path)
    found = {one.title: one for one in metric_series(tmp_path)}
    # What is 0 all the time is left out.
    assert list(found) == ["running requests", "KV cache", "generated tokens"]
    assert found["running requests"].values == (0, 4, 4, 1)
    assert found["running requests"].seconds == (0, 1, 3, 4)
    assert (found["generated tokens"].seconds, found["generated tokens"].values) == ((1, 3, 4), (200, 100, 0))
    frame = series_frame(list(found.values()))
    assert list(frame.columns) == ["metric", "unit", "seconds", "value"]
    assert len(frame) == 11


def test_the_series_of_gpus_are_means(tmp_path: Path) -> None:
    rows = [{"time": at + gpu / 100, "gpu": gpu, "power_w": 500 + 100 * gpu} for at in (1000, 1001) for gpu in (0, 1)]
    write(tmp_path / GPU_FILE_NAME, *rows)
    (power,) = metric_series(tmp_path)
    assert (power.title, power.unit, power.values) == ("GPU power", "W", (550, 550))


@pytest.mark.parametrize("content", [b"", b"\xff\n{", b"[]\n7\n", b'{"time": "noon", "running_requests": 1}\n'])
def test_a_file_without_usable_rows_has_no_series(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert metric_series(tmp_path) == []


def test_a_row_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    engine(tmp_path)
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write('{"time": 1005.0, "running_req')
    assert metric_series(tmp_path)[0].values == (0, 4, 4, 1)


def test_the_tokens_per_second_of_the_level_that_runs(tmp_path: Path) -> None:
    assert live_tokens_per_s(tmp_path) is None
    write(tmp_path / LIVE_FILE_NAME, *({"time": 1000.0 + n, "output_tokens": 100 * n * n} for n in range(4)))
    found = live_tokens_per_s(tmp_path)
    assert found is not None
    assert (found.seconds, found.values) == ((0, 1, 2), (100, 300, 500))


def test_the_latest_attempt_of_a_trial(tmp_path: Path) -> None:
    assert latest_attempt(tmp_path) == tmp_path
    for name in ("attempt-9", "attempt-10"):
        (tmp_path / name).mkdir()
    assert latest_attempt(tmp_path).name == "attempt-10"
