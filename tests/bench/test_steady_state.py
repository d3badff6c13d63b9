"""What is scored of a level, and when it ends: simulated requests."""

from __future__ import annotations

import math
import random
import re
from types import SimpleNamespace
from typing import Any

import pytest

from autotune_nb.bench._level_recording import Recorder
from autotune_nb.bench._steady_state import LevelEnd, LevelRecord
from autotune_nb.trial.binomial import is_decided
from autotune_nb.trial.measurement import Level, Measurement

PLAN: dict[str, Any] = {"precision": None, "fewest": 3, "max_seconds": 1.0, "limits": [], "limits_at": None}


def send(level: LevelRecord, began: float, ended: float | None, times: list[float], tokens: int = 0) -> None:
    record = level.begin(began)
    for time in times:
        record.hear(b'data: {"choices": [{"delta": {"content": "x"}}]}', time)
    if ended is not None:
        record.end(ended, tokens_in=10, tokens_out=tokens or len(times), failed=False)


def closed_loop(
    users: int, seconds: float, length_s: float = 1.0, tokens: int = 10, jitter: float = 0.0
) -> LevelRecord:
    """Users whose first replies are shortened, and whose requests follow one another without a pause."""
    rng = random.Random(1)
    level = LevelRecord(users, 0.0)
    following = [0.0] * users
    while min(following) < seconds:
        user = following.index(min(following))
        began = following[user]
        count = level.first_tokens(SimpleNamespace(number=len(level.requests)), tokens)  # type: ignore[arg-type]
        step = length_s / tokens * math.exp(rng.gauss(0, jitter))
        times = [began + step * (i + 1) for i in range(count)]
        ended = times[-1] if times[-1] <= seconds else None
        send(level, began, ended, [time for time in times if time <= seconds])
        following[user] = times[-1]
    return level


@pytest.mark.parametrize("seconds", [9.0, 9.3, 9.6, 9.9, 10.4])
def test_throughput_has_no_steps(seconds: float) -> None:
    """However the end cuts the requests; the completed ones alone give 4 * 10 * (8 or 9) tokens."""
    steady = closed_loop(4, seconds).steady(seconds)
    assert steady["output_tokens_per_s"] == pytest.approx(40, rel=0.02)
    assert steady["requests_per_s"] == pytest.approx(4, rel=0.01)
    assert steady["input_tokens_per_s"] == pytest.approx(40, rel=0.01)
    assert steady["concurrency_mean"] == pytest.approx(4)
    assert steady["unscored_requests"] == 4
    assert steady["steady_from_s"] == pytest.approx(1)


def test_the_error_is_that_of_the_throughput() -> None:
    """Three of four levels lie within it, and its share falls with the length of the level."""
    level = closed_loop(4, 200, jitter=0.3)
    steady = level.steady(200)
    assert level.error(200) == pytest.approx(steady["output_tokens_per_s_error"] / steady["output_tokens_per_s"])
    assert 0.005 < level.error(200) < 0.05
    assert level.error(20) > 1.5 * level.error(200)


def test_what_changes_slowly_makes_the_error_larger() -> None:
    """Alternating seconds are averaged within a level; a slow half is not."""
    fast, slow = LevelRecord(1, 0.0), LevelRecord(1, 0.0)
    for level, speed in ((fast, lambda t: 20 if int(t) % 2 else 10), (slow, lambda t: 20 if t > 11 else 10)):
        send(level, 0.0, 1.0, [0.5, 1.0])
        for second in range(1, 21):
            times = [second + (i + 1) / speed(second) for i in range(speed(second))]
            send(level, float(second), times[-1], times)
    assert slow.error(21) > 1.8 * fast.error(21)


def test_tokens_count_where_they_stream_also_of_requests_that_never_end() -> None:
    level = LevelRecord(1, 0.0)
    send(level, 0.0, 1.0, [0.5, 1.0])
    # Two tokens in each part, as with speculative decoding.
    send(level, 1.0, 2.0, [1.25, 2.0], tokens=4)
    send(level, 2.0, None, [2.5, 3.0])
    steady = level.steady(3.0)
    assert steady["output_tokens_per_s"] == pytest.approx((4 + 2 * 6 / 4) / 2, rel=0.1)
    assert steady["scored_requests"] == 1


def test_without_a_steady_state_only_the_numbers_of_requests_are_known() -> None:
    level = LevelRecord(2, 0.0)
    send(level, 0.0, 1.0, [1.0])
    send(level, 0.0, None, [])
    assert level.steady(3.0) == {"scored_requests": 0, "unscored_requests": 1}
    assert level.error(3.0) == math.inf


def ends_at(
    level: LevelRecord, values: list[float], *, seconds: float = 10, requests: int = 1000, **plan: Any
) -> float:
    """Return when a level ends whose scored requests have these values of a figure."""
    end = LevelEnd({**PLAN, **plan}, seconds, requests, is_decided)
    grown = LevelRecord(level.users, 0.0, ("D(1,1)", level.users))
    events = sorted(level.requests, key=lambda one: one.ended or math.inf)
    left = iter(values)
    now = 0.0
    while True:
        now = round(now + 0.1, 1)
        assert now < 100
        while events and (events[0].ended or math.inf) <= now:
            one = events.pop(0)
            grown.requests = [other for other in level.requests if other.began <= now]
            if level.is_scored(one):
                end.count(SimpleNamespace(ttft=next(left)))
        # What ends later is in flight.
        shown = LevelRecord(level.users, 0.0, ("D(1,1)", level.users))
        for other in level.requests:
            if other.began <= now:
                ended = other.ended if other.ended is not None and other.ended <= now else None
                send(shown, other.began, ended, [t for t in other.chunks if t <= now], other.tokens_out)
        if end.reached(shown, now):
            return now


def test_a_level_ends_after_its_seconds_or_its_requests() -> None:
    level = closed_loop(4, 40)
    assert ends_at(level, [1.0] * 200) == 10
    # The first four are not counted; from then on there are four a second.
    assert ends_at(level, [1.0] * 200, requests=8) == pytest.approx(3, abs=0.3)


def test_an_imprecise_level_lasts_half_as_long_again() -> None:
    rough = closed_loop(1, 40, jitter=0.5)
    assert ends_at(rough, [1.0] * 200, precision=0.001) == 15
    assert ends_at(rough, [1.0] * 200, precision=0.9) == pytest.approx(10, abs=0.1)
    # So does one with too few requests.
    assert ends_at(rough, [1.0] * 200, fewest=100) == 15


def test_a_level_that_never_gets_steady_ends_and_says_so() -> None:
    """Each reply of the only user takes half as long again as the one before."""
    level, began, length_s = LevelRecord(1, 0.0), 0.0, 0.3
    while began < 100:
        times = [began + length_s * (i + 1) / 10 for i in range(10)]
        send(level, began, times[-1], times)
        began, length_s = times[-1], 1.5 * length_s
    assert ends_at(level, [1.0] * 200, precision=0.03) == 15
    shown = LevelRecord(1, 0.0)
    shown.requests = [one for one in level.requests if one.began <= 15]
    steady = shown.steady(15)
    figures = {"output_tokens_per_s": steady["output_tokens_per_s"]}
    (note,) = Measurement(Level("D(1,10)", 1), 15, 8, 8, 0, figures, steady=steady).notes
    assert re.fullmatch(r"its throughput fell by \d\d% from the first half to the second: it was not steady", note)


@pytest.mark.parametrize(
    ("slow", "at_least", "at_most"),
    [
        # None of 36 requests is beyond (four a second): decided with half of the error, which repeated looks need.
        ([], 10, 11),
        # Three more requests are: then it takes 78 of them.
        ([3, 9, 12], 15, 26),
        # Most are: broken by the planned end.
        (range(0, 200, 2), 10, 10.2),
    ],
)
def test_a_level_goes_on_while_a_limit_is_undecided(slow: Any, at_least: float, at_most: float) -> None:
    level = closed_loop(4, 60)
    values = [2.0 if i in slow else 1.0 for i in range(400)]
    limit = {"limits": [["ttft", "<=", 1.5, 0.1]], "max_seconds": 50.0}
    assert at_least <= ends_at(level, values, **limit) <= at_most
    # Not past its maximum, nor at a level where the limit does not count.
    assert ends_at(level, values, **{**limit, "max_seconds": 12.0}) <= 12.1
    assert ends_at(level, values, **limit, limits_at=["D(1,1)", 8]) == 10


def test_each_level_has_its_own_prompts_however_many_requests_the_one_before_had() -> None:
    def prompts(requests: int) -> list[list[float]]:
        recorder, found = Recorder(), []
        recorder.seed = 7
        for _ in range(2):
            recorder.begin_level(4, ("D(1,1)", 4))
            found.append([random.random() for _ in range(requests)][:3])
        return found

    first, second = prompts(5)
    assert first != second
    assert prompts(9) == [first, second]
