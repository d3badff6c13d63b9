"""How many replicas carry a load: from measured levels alone, with headroom and within the limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.cli.main import cli
from autotune_nb.errors import StudyError, TaskError
from autotune_nb.results.capacity import Load, capacity_of
from autotune_nb.task.budget import Price
from autotune_nb.trial.configuration import Configuration
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Limit, Score
from autotune_nb.trial.trial import Trial, TrialState

LIMITS = (Limit.parse("ttft_p99_s <= 1"),)
#: Concurrency, requests per second, and the limited time.
LEVELS = ((1, 2.0, 0.1), (4, 6.0, 0.2), (16, 10.0, 0.6), (64, 12.0, 3.0))


def level(concurrency: int, rate: float, time: float, scenario: str = "D(16,8)", arrivals: float = 0.0) -> Measurement:
    figures = {"requests_per_s": rate, "ttft_p99_s": time, "e2e_latency_mean_s": concurrency / rate}
    return Measurement(Level(scenario, concurrency, 1, arrivals), 9.0, 90, 90, 0, figures)


def configuration(*starts: list[Measurement]) -> Configuration:
    trials = [
        Trial(
            i,
            {"max_num_seqs": 8},
            TrialState.COMPLETE,
            tuple(levels),
            Score({"requests_per_s": 1.0}, {}, levels[-1].level),
            seconds={"deploy": 40.0 + 10 * i},
        )
        for i, levels in enumerate(starts)
    ]
    return Configuration(tuple(trials))


MEASURED = configuration([level(*one) for one in LEVELS])


def found(load: Load, measured: Configuration = MEASURED, limits: tuple[Limit, ...] = LIMITS, **options: Any) -> Any:
    return capacity_of(measured, limits, load, **{"gpus": None, "price": Price(), **options})


def test_the_command_names_its_options(tmp_path: Path) -> None:
    command = ["capacity", str(tmp_path)]
    for options in ([], ["--requests-per-second", "2", "--concurrency", "3"]):
        done = CliRunner().invoke(cli, [*command, *options])
        assert (done.exit_code, done.stderr) == (2, "error: give either --requests-per-second or --concurrency\n")
    done = CliRunner().invoke(cli, [*command, "--requests-per-second", "0"])
    assert (done.exit_code, "'--requests-per-second': 0" in done.stderr) == (2, True)
    assert "headroom: " in CliRunner().invoke(cli, [*command, "--concurrency", "1", "--headroom", "2"]).stderr


def test_replicas_cost_and_target_of_a_rate() -> None:
    capacity = found(Load(20.0, headroom=0.2), gpus=2, price=Price(usd_per_gpu_hour=2.5))
    # 64 breaks the limit, so that one replica carries up to 10 requests/s, and 8 of them are used.
    assert (capacity.replicas, capacity.most_requests_per_s, capacity.level.concurrency) == (3, 10.0, 16)
    assert (capacity.gpus, capacity.usd_per_hour) == (6, 15.0)
    # 20/3 requests/s are between 6 and 10, in flight between 4 and 16.
    assert capacity.requests_per_s == pytest.approx(20 / 3)
    assert capacity.in_flight == pytest.approx(4 + 12 * (20 / 3 - 6) / 4)
    assert capacity.figures["ttft_p99_s"] == pytest.approx(0.2 + 0.4 * (20 / 3 - 6) / 4)
    # At 8 requests/s, 10 are in flight.
    assert capacity.target_in_flight == 10
    assert capacity.start_s == 40.0
    text = str(capacity)
    assert text.startswith("3 replicas (6 GPUs, $15.00 per hour) of trial 0 carry 20 requests/s: 6.67 requests/s")
    assert "nothing beyond them" in text


def test_replicas_of_a_concurrency() -> None:
    capacity = found(Load(concurrency=50, headroom=0.0))
    # One replica serves 16 at once.
    assert (capacity.replicas, capacity.most_in_flight) == (4, 16.0)
    assert capacity.in_flight == 12.5
    assert capacity.target_in_flight == 16


def test_the_target_of_an_autoscaler_keeps_the_headroom_of_few_requests() -> None:
    three, one = configuration([level(3, 9.0, 0.1)]), configuration([level(1, 2.0, 0.1)])
    assert found(Load(concurrency=50, headroom=0.2), three).target_in_flight == 2.4
    assert found(Load(50.0, headroom=0.2), three).target_in_flight == 2.4
    few = found(Load(concurrency=5, headroom=0.2), one)
    # An autoscaler that aims at a whole request would start 5 replicas in place of these.
    assert (few.replicas, few.target_in_flight) == (7, 0.8)
    assert "autoscaler: 0.8 requests in flight per replica, at most 7 replicas" in str(few)


def test_without_a_broken_level_more_may_be_possible_and_below_the_lightest_nothing_is_extrapolated() -> None:
    open_end = found(Load(5.0), limits=())
    assert (open_end.replicas, open_end.level.concurrency) == (1, 64)
    assert any("no heavier level than concurrency 64 was measured" in text for text in open_end.assumptions)
    light = found(Load(0.5))
    assert (light.replicas, light.in_flight, light.figures["ttft_p99_s"]) == (1, 1.0, 0.1)
    assert any("less than the lightest level" in text for text in light.assumptions)
    assert not any("less than the lightest" in text for text in open_end.assumptions)


def test_a_heavier_level_after_a_broken_one_does_not_count() -> None:
    lucky = configuration([level(1, 2.0, 0.1), level(2, 3.0, 1.5), level(4, 6.0, 0.9)])
    assert found(Load(6.0, headroom=0.0), lucky).most_requests_per_s == 2.0


def test_figures_are_means_over_starts_and_the_scenario_is_that_of_the_score() -> None:
    other = level(4, 100.0, 0.1, "D(1,1)")
    two = configuration([other, level(4, 4.0, 0.2)], [other, level(4, 9.0, 0.2)])
    assert found(Load(1.0), two).most_requests_per_s == pytest.approx(6.0)
    assert found(Load(1.0, scenario="D(1,1)"), two).most_requests_per_s == pytest.approx(100.0)
    with pytest.raises(StudyError, match=r"no level of D\(2,2\); its scenarios are D\(1,1\), D\(16,8\)"):
        found(Load(1.0, scenario="D(2,2)"), two)


def test_levels_of_a_rate_give_requests_in_flight_by_littles_law() -> None:
    rates = configuration([level(2, 4.0, 0.1, arrivals=4.0), level(8, 8.0, 0.5, arrivals=8.0)])
    capacity = found(Load(8.0, headroom=0.0), rates)
    assert (capacity.replicas, capacity.target_in_flight, capacity.most_in_flight) == (1, 8, 8.0)
    assert not any("bursts, and wait longer" in text for text in capacity.assumptions)
    assert any("bursts, and wait longer" in text for text in found(Load(8.0)).assumptions)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "give either requests_per_s or concurrency"),
        ({"requests_per_s": 1, "concurrency": 1}, "give either"),
        ({"requests_per_s": 0}, "above 0, not 0"),
        ({"concurrency": float("nan")}, "above 0, not nan"),
        ({"requests_per_s": 1, "headroom": 1}, "headroom: expected a share"),
    ],
)
def test_invalid_loads_are_named(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(TaskError, match=error):
        Load(**arguments)


def test_levels_that_show_nothing_are_named() -> None:
    with pytest.raises(StudyError, match=r"breaks ttft_p99_s <= 1 at its lightest level, .* measure a lighter level"):
        found(Load(1.0), configuration([level(64, 12.0, 3.0)]))
    without = Measurement(Level("D(16,8)", 1), 9.0, 9, 9, 0, {"ttft_p99_s": 0.1})
    with pytest.raises(StudyError, match="have no requests_per_s"):
        found(Load(1.0), configuration([without]))


@given(
    rate=st.floats(0.01, 1e4),
    headroom=st.floats(0, 0.9),
    rates=st.lists(st.floats(0.1, 100), min_size=1, max_size=5),
)
def test_the_replicas_are_enough_and_one_less_is_not(rate: float, headroom: float, rates: list[float]) -> None:
    measured = configuration([level(2**i, x, 0.1) for i, x in enumerate(rates)])
    capacity = found(Load(rate, headroom=headroom), measured)
    usable = max(rates) * (1 - headroom)
    assert capacity.replicas * usable >= rate * (1 - 1e-6)
    assert capacity.replicas == 1 or (capacity.replicas - 1) * usable < rate
    assert 0 < capacity.target_in_flight <= 2 ** (len(rates) - 1)
    assert capacity.in_flight <= capacity.most_in_flight
