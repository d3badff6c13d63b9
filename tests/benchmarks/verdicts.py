"""Verdicts of simulated studies whose truth is known: how often they are wrong, and whether their intervals hold.

The search, the starts of the confirmation and the verdict are the package's; the starts are replayed with noise.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from autotune_nb.recorded import RecordedTable, SimulatedClock
from autotune_nb.recorded.replay import Replay
from autotune_nb.task.budget import Confirm
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Objective, score
from autotune_nb.trial.trial import Trial, TrialState, Value
from autotune_nb.verdict import Outcome, Verdict, next_start, start_before_search, study_verdict
from tests.benchmarks.figure import Figure

_STUDIES, _CONFIGURATIONS = 400, 30
_LEVEL = Level("dataset", 4)
_FIGURE = "output_tokens_per_s"
_GOAL = Objective(_FIGURE, "maximize")
_RULES = Confirm(rounds=5)
#: Gains of all configurations for which the intervals are checked.
_GAINS = (0.0, 0.05, 0.1, 0.3)
#: Noise between starts, and how heavy-tailed requests are: the standard deviation of the logarithm of one's length.
_CASES = ((0.03, 0.0), (0.03, 0.6), (0.1, 0.0), (0.1, 0.6))
_REQUESTS = 300


@dataclass(frozen=True)
class _Study:
    verdict: Verdict
    #: The starts of the confirmation, with that before the search.
    num_starts: int
    #: The configurations that were started in a round.
    finalists: frozenset[int]


def verdicts() -> list[Figure]:
    """Return the shares of wrong winners, of gains that were not found, and of intervals that miss the truth."""
    return [_wrong_winners(), *_missed_gains(), _intervals()]


def _wrong_winners() -> Figure:
    wrong, notes = 0, []
    for place, (noise, tail) in enumerate(_CASES):
        seeds = range(10_000 * place, 10_000 * place + _STUDIES)
        outcomes = [_study([0.0] * _CONFIGURATIONS, noise, seed, tail).verdict.outcome for seed in seeds]
        of_case = sum(outcome in (Outcome.BETTER, Outcome.DEFAULT_BEST) for outcome in outcomes)
        wrong += of_case
        notes.append(f"{_name(noise, tail)} {of_case / _STUDIES:.3f}")
    note = f"of {_STUDIES * len(_CASES)} studies of equal configurations; {', '.join(notes)}"
    return Figure("verdict_wrong_winner", wrong / (_STUDIES * len(_CASES)), 0.05, note)


def _missed_gains() -> list[Figure]:
    """Return how often a gain of 10 % under 3 % noise is not found: of a third of the configurations, and of one.

    The search does not always rank a single one among the finalists; the confirmation is not to blame for that.
    """
    figures = []
    for num_better, name in ((_CONFIGURATIONS // 3, "of_a_third"), (1, "of_one")):
        gains = [*[0.1] * num_better, *[0.0] * (_CONFIGURATIONS - num_better)]
        every = [_study(gains, 0.03, 50_000 + seed) for seed in range(_STUDIES)]
        confirmed = [one for one in every if one.finalists & set(range(1, num_better + 1))]
        found = sum(
            one.verdict.outcome is Outcome.BETTER and 1 <= (one.verdict.recommended or 0) <= num_better
            for one in confirmed
        )
        starts = [one.num_starts for one in every]
        lost = f"{_STUDIES - len(confirmed)} more in which it was no finalist"
        note = f"of {len(confirmed)} studies with 3 % noise, without {lost}; {statistics.fmean(starts):.1f} starts more"
        figures.append(Figure(f"verdict_missed_gain_{name}", 1 - found / len(confirmed), 0.1, note))
        figures.append(Figure(f"verdict_starts_{name}", max(starts), 12, unit="starts"))
    return figures


def _intervals() -> Figure:
    """Return the share of intervals that do not contain the true gain, with their mean width."""
    outside = count = 0
    notes = []
    for place, (noise, tail) in enumerate(_CASES):
        widths = []
        for number in range(_STUDIES):
            gain, seed = _GAINS[number % len(_GAINS)], 100_000 + 10_000 * place + number
            interval = _study([gain] * _CONFIGURATIONS, noise, seed, tail).verdict.interval
            if interval is not None:
                outside += not interval[0] <= gain <= interval[1]
                widths.append(interval[1] - interval[0])
        count += len(widths)
        notes.append(f"{_name(noise, tail)} {100 * statistics.fmean(widths):.1f} %")
    note = f"of {count} intervals; mean width {', '.join(notes)}"
    return Figure("verdict_interval_misses", outside / count, 0.05, note)


def _name(noise: float, tail: float) -> str:
    return f"{100 * noise:.0f} % noise{' and heavy tails' if tail else ''}"


def _study(gains: Sequence[float], noise: float, seed: int, tail: float = 0.0) -> _Study:
    """Run a study of a default and configurations with these true gains, with its confirmation."""
    replay = Replay(_table(gains), SimulatedClock(), noise=noise, seed=seed)
    trials: list[Trial] = []
    run = partial(_run, trials, replay, random.Random(f"{seed}/tail"), tail)
    run({}, baseline=True)
    if (before := start_before_search(trials)) is not None:
        run({}, baseline=True, confirmation=(before.round, before.finalist))
    searched = [{"number": number} for number in range(1, len(gains) + 1)]
    random.Random(seed).shuffle(searched)
    for params in searched:
        run(params)
    num_searched = len(trials) - 1
    while (start := next_start(trials, _GOAL, _RULES)) is not None:
        run(dict(start.params or {}), baseline=start.params is None, confirmation=(start.round, start.finalist))
    verdict = study_verdict(trials, _GOAL, _RULES)
    if verdict.recommended is not None:
        verdict = replace(verdict, recommended=_configuration_of(trials[verdict.recommended]))
    confirmed = frozenset(_configuration_of(trial) for trial in trials if trial.in_round)
    return _Study(verdict, len(trials) - num_searched, confirmed)


def _configuration_of(trial: Trial) -> int:
    """Return the number of a trial's configuration, 0 for the default."""
    return int(str(trial.params.get("number", 0)))


def _run(
    trials: list[Trial],
    replay: Replay,
    rng: random.Random,
    tail: float,
    params: dict[str, Value],
    *,
    baseline: bool = False,
    confirmation: tuple[int, int] | None = None,
) -> None:
    started = replay.start(len(trials), params)
    assert started is not None
    measured = started[1].measurement(_LEVEL)
    assert measured is not None
    if tail:
        lengths = [rng.lognormvariate(-(tail**2) / 2, tail) for _ in range(_REQUESTS)]
        value = measured.figures[_FIGURE] / statistics.fmean(lengths)
        measured = replace(measured, figures={**measured.figures, _FIGURE: value})
    trial = Trial(len(trials), params, TrialState.COMPLETE, (measured,), score([measured], _GOAL), baseline=baseline)
    trials.append(trial.with_(confirmation=confirmation))


def _table(gains: Sequence[float]) -> RecordedTable:
    values = {0: 100.0, **{number: 100.0 * (1 + gain) for number, gain in enumerate(gains, start=1)}}
    trials = []
    for number, value in values.items():
        measured = Measurement(_LEVEL, 10.0, _REQUESTS, _REQUESTS, 0, {_FIGURE: value})
        params: dict[str, Value] = {"number": number} if number else {}
        trials.append(Trial(number, params, TrialState.COMPLETE, (measured,), baseline=not number))
    return RecordedTable.of_trials("simulated", trials, {})
