"""Recorded tables: configurations, repeats, failures and the errors of files that are none."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from autotune_nb.errors import Failure, FailureKind, StudyError
from autotune_nb.recorded import RecordedTable
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.trial import Trial, TrialState

HEAD = "config_id,status,reason,param:threads,param:mode,level,gpus,startup_s,duration_s,output_tokens_per_s"
LEVEL = Level("dataset", 1)


def recorded(folder: Path, *rows: str, head: str = HEAD) -> RecordedTable:
    file = folder / "x.csv"
    file.write_text("\n".join((head, *rows)) + "\n")
    return RecordedTable.of_file(file)


def trial(number: int, value: float, **params: int) -> Trial:
    measured = Measurement(LEVEL, 10.0, 5, 5, 0, {"output_tokens_per_s": value})
    return Trial(number, params, TrialState.COMPLETE, (measured,), seconds={"deploy": 4.0 + number, "probe": 1.0})


def test_a_file_is_read_with_its_times_gpus_and_failures(tmp_path: Path) -> None:
    table = recorded(
        tmp_path,
        "0,complete,,2,a,1,4,60,10,100",
        "0,complete,,2,a,2,4,60,20,150",
        "1,failed,out of memory: too large,4,a,1,8,30,0,",
        "2,failed,timeout in benchmark: too slow,8,a,1,8,30,9,50",
        "3,failed,something else,16,a,0,0,,,",
    )
    good, memory, slow, other = table.configurations
    assert (good.params, good.gpus, good.startup_s, good.failure) == ({"threads": 2, "mode": "a"}, 4, 60, None)
    assert [(level.concurrency, one.duration_s) for level, one in good.measurements.items()] == [(1, 10), (2, 20)]
    assert memory.failure == Failure(FailureKind.OUT_OF_MEMORY, "deploy", "too large")
    assert not memory.measurements
    assert slow.failure is not None
    assert (slow.failure.kind, slow.failure.phase, len(slow.measurements)) == (FailureKind.TIMEOUT, "benchmark", 1)
    assert other.failure is not None
    assert not other.measurements
    assert table.find({"mode": "a", "threads": 4.0, "unset": None}) is memory
    assert table.find({"mode": "a", "threads": 5}) is None
    assert [level.concurrency for level in table.levels] == [1, 2]


def test_trials_of_one_configuration_are_repeats_and_give_the_noise() -> None:
    table = RecordedTable.of_trials("x", [trial(0, 90, threads=1), trial(1, 110, threads=1), trial(2, 7, threads=2)])
    first, second = table.configurations
    assert first.measurements[LEVEL].figures["output_tokens_per_s"] == pytest.approx(math.sqrt(90 * 110))
    assert first.startup_s == 5.5
    assert second.startup_s == 7
    assert table.noise == {"output_tokens_per_s": pytest.approx(math.log(110 / 90) / math.sqrt(2))}


def test_a_configuration_failed_if_most_of_its_trials_did() -> None:
    failure = Failure(FailureKind.CRASH, "deploy", "it ended")
    failed = [Trial(n, {"threads": 1}, TrialState.FAILED, failure=failure) for n in (5, 6)]
    assert RecordedTable.of_trials("x", [trial(0, 9, threads=1), failed[0]]).configurations[0].failure is None
    assert RecordedTable.of_trials("x", [trial(0, 9, threads=1), *failed]).configurations[0].failure == failure


def test_failures_of_the_surroundings_are_not_recorded() -> None:
    lost = Trial(0, {"a": 1}, TrialState.FAILED, failure=Failure(FailureKind.INFRASTRUCTURE, "deploy", "no node"))
    table = RecordedTable.of_trials("x", [lost, trial(1, 5, a=2)])
    assert [one.params for one in table.configurations] == [{"a": 2}]
    with pytest.raises(StudyError, match="x has no finished trial"):
        RecordedTable.of_trials("x", [lost])


def test_a_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"there is no file or study '.*nothing\.csv'"):
        RecordedTable.of_file(tmp_path / "nothing.csv")
    with pytest.raises(StudyError, match=r"x\.csv contains no results"):
        recorded(tmp_path)
    with pytest.raises(StudyError, match="configuration 0: gpus is 'two'; expected a number of GPUs"):
        recorded(tmp_path, "0,complete,,2,a,1,two,60,10,100")
