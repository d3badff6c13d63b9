"""Ranked alternatives to the best configuration, and their reasons."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.reports.study_report import Report
from autotune_nb.results.alternatives import alternatives
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Limit, Objective, Score
from autotune_nb.trial.trial import Trial, TrialState

RATE, TIME = "output_tokens_per_s", "ttft_p99_s"
GOAL = Objective(RATE, "maximize", None, (Limit.parse("ttft_p99_s <= 1"),))
LEVEL = Level("D(1,2)", 4)


def trial(number: int, rate: float, time: float = 0.5, *, level: Level = LEVEL, **params: Any) -> Trial:
    measured = Measurement(level, 9.0, 9, 9, 0, {RATE: rate, TIME: time, "tpot_mean_s": 0.02})
    score = Score({RATE: rate}, {"ttft_p99_s <= 1": time - 1}, level)
    return Trial(number, params, TrialState.COMPLETE, (measured,), score, baseline=not params)


def gpus(one: Trial) -> int:
    return int(one.params.get("tp", 1))  # type: ignore[arg-type]


def test_other_configurations_are_ranked_with_what_they_lose_and_gain() -> None:
    trials = [
        trial(0, 60.0),
        trial(1, 97.0, 0.3, tp=4, slots=16),
        trial(2, 100.0, tp=8, slots=16),
        trial(3, 99.9, 0.52, tp=8, slots=32),
        trial(4, 300.0, 1.5, tp=8, slots=64),
        Trial(5, {"tp": 8, "slots": 128}, TrialState.FAILED, failure=Failure(FailureKind.CRASH, "deploy", "x")),
    ]
    found = alternatives(trials, GOAL, gpus)
    # Neither the one that breaks the limit nor the one that failed.
    assert [one.number for one in found] == [3, 1, 0]
    assert [one.value for one in found] == ["99.9 tokens/s", "97 tokens/s", "60 tokens/s"]
    assert found[0].reasons == ("less than 0.5 % slower",)
    assert found[1].reasons == ("3 % slower", "half the GPUs", "ttft_p99_s 40 % lower")
    assert found[2].reasons == ("40 % slower", "1 GPUs instead of 8", "the engine's default configuration")
    assert [one.difference for one in found] == ["slots=32", "tp=4", "the engine's default configuration"]
    assert "half the GPUs" not in str(alternatives(trials, GOAL))


def test_a_value_is_that_of_all_starts() -> None:
    # By its best start alone, 1 would be the best.
    trials = [trial(0, 100.0, a=1), trial(1, 110.0, a=2), trial(2, 80.0, a=2), trial(3, 99.0, a=1), trial(4, 94.0, a=3)]
    second, third = alternatives(trials, GOAL)
    assert (second.number, second.difference) == (4, "a=3")
    assert third.value == "93.81 tokens/s, the mean of 2 starts, 80 tokens/s to 110 tokens/s"
    noisy = [trial(0, 100.0, a=1), trial(1, 120.0, a=1), trial(2, 105.0, a=2)]
    assert "within the spread of the best's starts" in alternatives(noisy, GOAL)[0].reasons


def test_a_latency_is_compared_in_its_direction_and_another_level_is_named() -> None:
    goal = Objective(TIME, "minimize")

    def timed(number: int, time: float, level: Level = LEVEL) -> Trial:
        one = trial(number, 50.0, time, level=level, a=number)
        return one.with_(score=Score({TIME: time}, {}, level))

    first, second = alternatives([timed(1, 0.2), timed(2, 0.21), timed(3, 0.25, Level("D(1,2)", 1))], goal)
    assert first.reasons == ("5 % slower",)
    assert second.reasons == ("25 % slower", "under D(1,2) at concurrency 1 instead of D(1,2) at concurrency 4")


def test_those_with_fewer_gpus_are_listed_however_many_are_faster_and_hopeless_ones_are_not() -> None:
    trials = [trial(n, 100.0 - n / 10, tp=8, slots=n) for n in range(9)]
    trials += [trial(20, 70.0, tp=4, slots=1), trial(21, 69.0, tp=4, slots=2), trial(22, 30.0, tp=1, slots=2)]
    found = alternatives(trials, GOAL, gpus)
    assert [one.number for one in found] == [1, 2, 3, 4, 5, 20]


@pytest.mark.parametrize("trials", [[], [trial(0, 5.0, a=1)], [trial(0, 5.0, 2.0, a=1), trial(1, 6.0, 2.0, a=2)]])
def test_without_a_second_configuration_that_keeps_the_limits_there_is_none(trials: list[Trial]) -> None:
    assert alternatives(trials, GOAL) == []
    assert "Alternatives" not in Report(tuple(trials), trials[0] if trials else None, GOAL, None).to_html()


def test_the_report_has_them_below_the_command_line_escaped() -> None:
    trials = (trial(0, 100.0, a="x"), trial(1, 98.0, a="<b>y</b>"))
    page = Report(trials, trials[0], GOAL, "server --a x").to_html()
    assert "by their values in the search" in page
    assert "<td>2.0 % slower</td>" in page
    assert "a=&lt;b&gt;y&lt;/b&gt;" in page
    assert page.index("server --a x") < page.index("What else was as good") < page.index("<img ")
