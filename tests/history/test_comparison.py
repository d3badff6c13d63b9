"""Two studies, configuration by configuration: what moved, what is noise, and what cannot be compared."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from autotune_nb.errors import FailureKind, StudyError
from autotune_nb.history.comparison import ConfigurationChange, Outcome
from autotune_nb.history.comparison_report import ComparisonReport
from tests.history.samples import FINGERPRINT, RATE, Sample, compared, failed, repeated, sample_task, start

TASK = sample_task()
NEWER = {**FINGERPRINT, "engine_version": "0.11.0"}


def by_seqs(found: ComparisonReport) -> dict[Any, ConfigurationChange]:
    return {one.params.get("max_num_seqs"): one for one in found.configurations}


def test_a_change_beyond_noise_is_better_or_worse_and_a_small_one_is_none() -> None:
    before = repeated(TASK, {None: 100.0, 1: 200.0, 2: 300.0, 4: 400.0})
    after = repeated(TASK, {None: 100.2, 1: 240.0, 2: 240.0, 8: 50.0}, fingerprint=NEWER)
    found = compared(before, after)
    rows = by_seqs(found)
    outcomes = {seqs: one.outcome for seqs, one in rows.items()}
    assert outcomes == {
        None: Outcome.NO_DIFFERENCE,
        1: Outcome.BETTER,
        2: Outcome.WORSE,
        4: Outcome.ONLY_BEFORE,
        8: Outcome.ONLY_AFTER,
    }
    assert rows[1].change == pytest.approx(0.2, abs=0.03)
    assert rows[2].interval is not None
    assert rows[2].interval[0] < -0.2 < rows[2].interval[1] < -0.1
    assert [str(one) for one in found.changes] == ["the engine's version (0.10.0, then 0.11.0)"]
    assert found.default is rows[None]
    # Those to run: 4 of the first study, of the second 1 (2 is no better there).
    assert found.best[0] is rows[4]
    text = found.text()
    (line,) = (line for line in text.splitlines() if "worse" in line.partition(": max")[0] and "trials" in line)
    assert line.endswith(", worse; trials 12 and 12: max_num_seqs=2")
    # Those that are named first are not listed again.
    assert text.count("; trials 0 and 0") == text.count(": max_num_seqs=1") == 1
    assert "the engine's version (0.10.0, then 0.11.0)" in text


def test_without_repeats_nothing_is_better_or_worse() -> None:
    before = repeated(TASK, {None: 100.0, 1: 200.0}, starts=1)
    after = repeated(TASK, {None: 100.0, 1: 100.0}, starts=1)
    found = compared(before, after)
    assert {one.outcome for one in found.configurations} == {Outcome.MEASURED_ONCE}
    assert all(one.interval is None for one in found.configurations)
    assert by_seqs(found)[1].change == pytest.approx(-0.5, abs=0.03)
    assert "the noise is unknown" in found.text()


def test_intervals_of_many_configurations_hold_together() -> None:
    """Of studies that differ by noise only, hardly any comparison finds something, however many rows it has."""
    dice, wrong = random.Random(5), 0
    for _ in range(40):
        studies = []
        for _ in range(2):
            values = ((seqs, dice.gauss(100.0, 3.0)) for seqs in (None, 1, 2, 4, 8) for _ in range(2))
            studies.append(Sample(TASK, [start(TASK, i, rate, seqs=seqs) for i, (seqs, rate) in enumerate(values)]))
        found = compared(*studies)
        wrong += any(one.outcome in (Outcome.BETTER, Outcome.WORSE) for one in found.configurations)
    # 5 % of 40 are 2; that there are more than 6 has a probability of 0.3 %.
    assert wrong <= 6


def test_a_figure_of_which_less_is_better_turns_the_outcome_around() -> None:
    before = repeated(TASK, {1: 100.0, 2: 100.0}, time=0.2)
    after = repeated(TASK, {1: 100.0, 2: 100.0}, time=0.4)
    assert {one.outcome for one in compared(before, after).configurations} <= {Outcome.NO_DIFFERENCE}
    found = compared(before, after, figure="ttft_p99")
    assert {one.outcome for one in found.configurations} == {Outcome.WORSE}
    assert found.configurations[0].change == pytest.approx(1.0)
    assert found.frame()["ttft_p99_s_a"].tolist() == [0.2, 0.2]


def test_failures_and_limits_are_outcomes_of_their_own() -> None:
    good = [start(TASK, i, 100.0 + i, seqs=1 + i % 2) for i in range(4)]
    before = Sample(TASK, [*good, failed(4, 4), start(TASK, 5, 90, seqs=8)])
    slow = [start(TASK, i, 200.0 + i, time=1.5, seqs=1) for i in range(2)]
    after = Sample(TASK, [*slow, failed(2, 2), start(TASK, 3, 80, seqs=4), failed(4, 8, FailureKind.INFRASTRUCTURE)])
    rows = by_seqs(compared(before, after))
    assert (rows[1].outcome, rows[1].why) == (Outcome.BREAKS_LIMIT, "ttft_p99_s <= 1")
    assert rows[2].outcome is Outcome.FAILS
    assert "the engine ended with code 1" in rows[2].why
    assert rows[4].outcome is Outcome.WORKS
    # It could not be started because of the machine, which says nothing about it.
    assert rows[8].outcome is Outcome.ONLY_BEFORE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"objective": "minimize ttft_p99_s"}, "the objectives differ: maximize output_tokens_per_s, then minimize"),
        ({"objective": {"direction": "maximize", "figure": RATE, "at": 1}}, "read at different levels"),
        (
            {"workload": {**sample_task().workload.model_dump(), "request_params": {"top_k": 1}}},
            "request_params differs",
        ),
    ],
)
def test_other_workloads_and_objectives_are_not_compared(changes: dict[str, Any], reason: str) -> None:
    other = sample_task(**changes)
    found = compared(repeated(TASK, {1: 100.0}), Sample(other, repeated(TASK, {1: 50.0}).history))
    assert any(reason in one for one in found.not_comparable)
    assert {one.outcome for one in found.configurations} == {Outcome.NOT_COMPARABLE}
    assert "Not comparable: " in found.text()
    assert found.overall is None


def test_more_time_for_a_level_and_other_levels_than_the_one_that_is_read_are_no_matter() -> None:
    workload = {**TASK.workload.model_dump(), "seconds_per_level": 60, "concurrency": [2, 4]}
    other = sample_task(workload=workload)
    assert not compared(repeated(TASK, {1: 100.0}), Sample(other, repeated(other, {1: 100.0}).history)).not_comparable


def test_starts_beside_other_work_do_not_count() -> None:
    busy = {"other_cpu_share": 0.9}
    quiet = repeated(TASK, {1: 100.0, 2: 100.0}, noise=0.002)
    one_busy = start(TASK, 20, 10.0, seqs=1, conditions=busy)
    all_busy = [start(TASK, 21 + i, 10.0, seqs=2, conditions=busy) for i in range(2)]
    after = Sample(TASK, [*repeated(TASK, {1: 100.0}, noise=0.002).history, one_busy, *all_busy])
    rows = by_seqs(compared(quiet, after))
    assert rows[1].outcome is Outcome.NO_DIFFERENCE
    assert rows[2].outcome is Outcome.NOT_COMPARABLE
    assert "other processes used 90% of the CPUs during trial 21" in rows[2].why


def test_a_parameter_without_a_value_is_one_that_is_left_out() -> None:
    wider = sample_task(parameters={"max_num_seqs": [1, 2], "block_size": [None, 16]})
    other = [start(wider, i, 100.0, seqs=1).with_(params={"max_num_seqs": 1, "block_size": None}) for i in range(3)]
    found = compared(repeated(TASK, {1: 100.0}), Sample(wider, other))
    assert [one.outcome for one in found.configurations] == [Outcome.NO_DIFFERENCE]


def test_the_table_the_chart_and_json_have_the_same_rows() -> None:
    before = repeated(TASK, {None: 100.0, 1: 200.0, 2: 300.0})
    found = compared(before, repeated(TASK, {None: 110.0, 1: 180.0, 4: 300.0}, fingerprint=NEWER))
    frame = found.frame()
    assert frame["outcome"].tolist() == ["better", "worse", "only in the first", "only in the second"]
    assert frame["max_num_seqs"].tolist()[1:] == [1, 2, 4]
    assert frame.loc[0, "low"] < frame.loc[0, "change"] < frame.loc[0, "high"]
    data = json.loads(json.dumps(found.to_dict()))
    assert [one["outcome"] for one in data["configurations"]] == frame["outcome"].tolist()
    assert data["changes"] == [{"name": "engine_version", "before": "0.10.0", "after": "0.11.0"}]
    chart = found.chart()
    assert chart.frame()["change"].tolist() == frame["change"].dropna().tolist()
    marks = [trace.name for trace in chart.figure().data]
    assert marks == ["better", "worse"]
    assert "change of output_tokens_per_s from a to b (%)" in chart.svg()
    assert "<img" in found._repr_html_()


def test_the_mean_change_of_all_is_known_where_single_ones_are_not() -> None:
    before = repeated(TASK, {None: 100.0, 1: 200.0, 2: 300.0, 4: 150.0}, starts=1, noise=0.002)
    after = repeated(TASK, {None: 90.0, 1: 181.0, 2: 271.0, 4: 134.0}, starts=1, noise=0.002)
    found = compared(before, after)
    assert found.overall is not None
    assert found.overall.high < 0
    assert "-10 % on average" in found.text().replace("-9.9", "-10").replace("-9.8", "-10")


def test_a_study_without_a_complete_trial_is_an_error() -> None:
    with pytest.raises(StudyError, match=r"b has no complete trial with output_tokens_per_s to compare \(1 failed\)"):
        compared(repeated(TASK, {1: 100.0}), Sample(TASK, [failed(0, 1)]))
