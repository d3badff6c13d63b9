"""The relevant lines of genai-bench's log, as a rich console writes it into a pod's log."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune_nb.bench._bench_log import relevant_lines, unknown_option, unrecorded_failures
from autotune_nb.bench._expected_levels import missing_levels_error
from autotune_nb.bench.benchmark_job import with_failures
from autotune_nb.bench.results import measurement
from autotune_nb.errors import FailureKind, MeasurementError, SetupError
from autotune_nb.trial.measurement import Level, Validity
from tests.stubs import level_data

LEVELS = [Level("D(100,100)", 1)]
REFUSED = '{"error": {"message": "The model `m1` does not exist.", "type": "NotFoundError", "code": 404}}'
BOX = """\
[11/29/26 10:00:00] INFO     Iteration started with num_concurrency: 1                runner.py:141
                    WARNING  [2] Received error response from server. Error code: 404, message: {"err.  runner.py:182
                    WARNING  [4] Received error response from server. Error code: 404, message: REFUSED  runner.py:182
                    ERROR    Uncaught exception                                     logging.py:148
                             ╭────────── Traceback (most recent call last) ──────────╮
                             │ /site-packages/genai_bench/cli/cli.py:429 in benchmark │
                             │ ❱ 429 │   start_time, end_time,                        │
                             │ ERROR │   a source line                                │
                             ╰───────────────────────────────────────────────────────╯
                             ValueError: No values found for metric 'ttft'. This should never happen!
""".replace("REFUSED", REFUSED).splitlines()


def test_the_servers_response_comes_first_and_no_box_is_shown(tmp_path: Path) -> None:
    lines = relevant_lines(BOX)
    assert lines == (
        f"the server answered 404: {REFUSED}",
        "ERROR    Uncaught exception",
        "ValueError: No values found for metric 'ttft'. This should never happen!",
    )
    error = missing_levels_error(LEVELS, 1, tmp_path, BOX, field="benchmark.image")
    assert isinstance(error, MeasurementError)
    assert error.failure.kind is FailureKind.MEASUREMENT
    assert "model.served_name" in error.failure.hint


def test_a_log_without_errors_has_its_last_lines() -> None:
    assert relevant_lines([f"INFO line {n}" for n in range(9)]) == tuple(f"INFO line {n}" for n in range(3, 9))
    assert relevant_lines([]) == ()


@pytest.mark.parametrize(
    "line",
    [
        "Error: No such option: --bucket Did you mean --storage-bucket?",
        "Error: No such option '--bucket'.",
        "Error: No such option: --bucket",
    ],
)
def test_an_option_that_genai_bench_lacks_ends_the_run_with_the_field_of_its_version(tmp_path: Path, line: str) -> None:
    log = ["Usage: genai-bench benchmark [OPTIONS]", "Try 'genai-bench benchmark --help' for help.", "", line]
    assert unknown_option(log) == "--bucket"
    error = missing_levels_error(LEVELS, 2, tmp_path, log, field="benchmark.image")
    assert isinstance(error, SetupError)
    assert error.field == "benchmark.image"
    assert "no option --bucket" in str(error)
    assert isinstance(missing_levels_error(LEVELS, 0, tmp_path, log, field="benchmark.image"), MeasurementError)
    assert unknown_option(["Error: Invalid value for '--task'", "INFO no such option: --x"]) is None


LOG = """\
INFO     2026-11-29 17:37:24.1 - genai_bench.benchmark:benchmark - Starting benchmark with concurrency=1, spawn_rate=1
ERROR    2026-11-29 17:37:24.2 - locust.user.task:run - response.time_at_first_token is None
Traceback (most recent call last):
    raise ValueError("locust.user.task:run - ")
ERROR    2026-11-29 17:37:24.3 - locust.user.task:run - Expecting value: line 1 column 1 (char 0)
INFO     2026-11-29 17:37:24.4 - genai_bench.benchmark:benchmark - Starting benchmark with concurrency=2, spawn_rate=2
""".splitlines()


def test_requests_that_only_the_log_has_are_failed_requests_of_their_level() -> None:
    assert unrecorded_failures(LOG) == [2, 0]
    levels = [Level("D(16,8)", 1), Level("D(16,8)", 2)]
    first, second = (with_failures(level_data(concurrency=n), levels, LOG) for n in (1, 2))
    assert measurement(first, Validity()).problems[0] == (
        "2 of 12 requests failed (2 x reply that is no completion); at most 0 may"
    )
    assert second == level_data(concurrency=2)
    # A log whose beginning is lost says nothing about the levels.
    assert with_failures(level_data(), levels, LOG[:3]) == level_data()
