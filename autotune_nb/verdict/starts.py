"""The starts of a study's confirmation: the default before the search, then the finalists and the default in rounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from autotune_nb.errors import FailureKind
from autotune_nb.task.budget import Confirm
from autotune_nb.trial.configuration import Configuration, configurations, default_configuration
from autotune_nb.trial.measurement import MAX_CONCURRENCY, Level
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial, TrialState, Value
from autotune_nb.verdict.confirmation import Conclusion, Confirmation, Noise

#: Failures that say nothing about the configuration.
_NOT_ITS_FAULT = (FailureKind.INFRASTRUCTURE, FailureKind.INTERRUPTED)

#: The noise of a highest load, which is known within a step of 1.1 only: as if repeats had shown half a step.
_OF_LOADS = Noise(10 * (math.log(1.1) / 2) ** 2, 10)
#: Noise between starts, as a standard deviation, for which a plan says what it finds.
_NOISE = (0.03, 0.1)


@dataclass(frozen=True)
class ConfirmationStart:
    """A start of the confirmation. ``params`` is None for the default, finalist 0. Round 0 is before the search."""

    round: int
    finalist: int
    params: Mapping[str, Value] | None
    reason: str


def start_before_search(trials: Sequence[Trial]) -> ConfirmationStart | None:
    """Return the second start of the default, the first estimate of the noise; None if it was started or cannot run."""
    started = any(t.confirmation is not None and t.state is not TrialState.STOPPED for t in trials)
    if started or default_configuration(trials) is None:
        return None
    return ConfirmationStart(0, 0, None, "the engine's default again: the noise between two starts")


def detectable_gains(rules: Confirm) -> tuple[tuple[float, float], ...]:
    """Return the smallest gain that a confirmation finds, under little and under much noise between starts."""
    found = ((_planned(rules, Noise(noise**2, 1)).detectable(), noise) for noise in _NOISE)
    return tuple((gain, noise) for gain, noise in found if gain)


def plan_text(rules: Confirm) -> str:
    """Return what a confirmation takes, and which gains it finds under little and under much noise."""
    gains = ", ".join(
        f"from {100 * gain:.2g} % if {'they' if i else 'starts of one configuration'} differ by {100 * noise:g} %"
        for i, (gain, noise) in enumerate(detectable_gains(rules))
    )
    return (
        f"at the end, the best and the default are started again, up to {rules.rounds} times ({rules.budget} starts in "
        f"all); that shows gains {gains}"
    )


def noise_text(trials: Sequence[Trial], rules: Confirm) -> str | None:
    """Return what the repeated starts before the confirmation say about gains that it can find; None without any."""
    noise = _noise(_of_search(trials))
    detectable = _planned(rules, noise).detectable()
    if noise.deviation is None or detectable is None:
        return None
    return (
        f"a first estimate of the noise between starts is {100 * noise.deviation:.2g} %: differences under "
        f"{100 * detectable:.2g} % cannot be told apart in {rules.budget} starts"
    )


def next_start(trials: Sequence[Trial], objective: Objective, rules: Confirm) -> ConfirmationStart | None:
    """Return the next start of a round; None if a round is running, the answer is clear, or nothing can be compared."""
    plan = plan_of(trials, objective, rules)
    if plan is None:
        return None
    now = progress(trials, objective, plan)
    if now.conclusion is not None and now.conclusion.decided:
        return None
    number = len(now.ended) + 1
    started = {finalist_of(trial) for trial in _rounds(trials).get(number, ())}
    finalist = next((one for one in plan.order(number - 1, now.compared) if one not in started), None)
    if finalist is None:
        return None
    own = finalists(trials, objective, plan.contenders[0])[finalist - 1] if finalist else None
    what = "the engine's default" if own is None else f"the configuration of trial {own.trial.number}"
    reason = f"round {number} of at most {len(plan.contenders)} of the confirmation: {what}"
    return ConfirmationStart(number, finalist, None if own is None else own.params, reason)


@dataclass(frozen=True)
class Progress:
    """The rounds that have ended, what they show (None before the first), and the finalists of the next one."""

    ended: tuple[Sequence[Trial], ...]
    conclusion: Conclusion | None
    compared: tuple[int, ...]


def progress(trials: Sequence[Trial], objective: Objective, plan: Confirmation) -> Progress:
    """Return how far a confirmation is. A round has ended once the default and all finalists in it have."""
    rounds = _rounds(trials)
    now = Progress((), None, tuple(range(1, plan.contenders[0] + 1)))
    while not (now.conclusion is not None and now.conclusion.decided):
        started = rounds.get(len(now.ended) + 1, [])
        of_finalists = {finalist_of(trial) for trial in started if trial.state.finished}
        if not {0, *now.compared} <= of_finalists:
            break
        ended = (*now.ended, started)
        values = [logarithms(one, objective) for one in ended]
        conclusion = plan.conclude(values, _excluded(ended))
        now = Progress(ended, conclusion, conclusion.compared)
    return now


def finalist_of(trial: Trial) -> int:
    """Return the number of a start's finalist."""
    assert trial.confirmation is not None
    return trial.confirmation[1]


def plan_of(trials: Sequence[Trial], objective: Objective, rules: Confirm) -> Confirmation | None:
    """Return the rules of the confirmation, which its first round fixes; None if there is nothing to compare.

    That is so without a finalist, and where the default has failed or breaks a limit.
    """
    search = _of_search(trials)
    default = default_configuration(search)
    if default is None or not default.feasible or default.value <= 0:
        return None
    # Two searches of a load may end at the same one, and show no noise.
    noise = _noise(search) + (_OF_LOADS if objective.figure == MAX_CONCURRENCY else Noise())
    plan = _planned(rules, noise)
    found = finalists(trials, objective, plan.contenders[0])
    if not found:
        return None
    contenders = tuple(min(count, len(found)) for count in plan.contenders)
    sign = _sign(objective)
    return replace(plan, contenders=contenders, searched=tuple(sign * math.log(one.value) for one in found))


def level_to_confirm(trials: Sequence[Trial], objective: Objective, rules: Confirm) -> Level | None:
    """Return the level that the starts of a confirmation measure; None for all, if the search read at several."""
    if objective.figure == MAX_CONCURRENCY:
        return None
    plan, default = plan_of(trials, objective, rules), default_configuration(_of_search(trials))
    if plan is None or default is None:
        return None
    levels = {one.level for one in (default, *finalists(trials, objective, plan.contenders[0]))}
    return levels.pop() if len(levels) == 1 else None


def _noise(search: Sequence[Trial]) -> Noise:
    return Noise.of_repeats([one.values for one in configurations(search).values()])


def _planned(rules: Confirm, noise: Noise) -> Confirmation:
    # One start of the budget is the default's before the search.
    return Confirmation.planned(rules.rounds, rules.budget - 1, alpha=rules.alpha, margin=rules.margin, noise=noise)


def finalists(trials: Sequence[Trial], objective: Objective, count: int) -> list[Configuration]:
    """Return the best configurations of the search that keep every limit, without the default."""
    found = [
        one
        for one in configurations(_of_search(trials)).values()
        if one.feasible and not one.baseline and one.value > 0
    ]
    sign = _sign(objective)
    return sorted(found, key=lambda one: (-sign * one.value, one.trial.number))[:count]


def _sign(objective: Objective) -> float:
    return 1.0 if objective.direction == "maximize" else -1.0


def logarithms(starts: Sequence[Trial], objective: Objective) -> dict[int, float]:
    """Return the logarithm of each start's value by its finalist, with the sign that makes larger ones better."""
    sign = _sign(objective)
    scored = ((finalist_of(trial), trial.score.value) for trial in starts if trial.score is not None)
    return {finalist: sign * math.log(value) for finalist, value in scored if value > 0}


def _rounds(trials: Sequence[Trial]) -> dict[int, list[Trial]]:
    """Return the starts of each round that were not stopped, by its number; the first round is 1."""
    rounds: dict[int, list[Trial]] = {}
    for trial in trials:
        if trial.confirmation is not None and trial.in_round and trial.state is not TrialState.STOPPED:
            rounds.setdefault(trial.confirmation[0], []).append(trial)
    return rounds


def _excluded(rounds: Sequence[Sequence[Trial]]) -> list[int]:
    """Return the finalists that failed in a round by their own fault, or whose starts there break a limit.

    The default is among them only if it failed.
    """
    starts: dict[int, list[Trial]] = {}
    for trial in (trial for one in rounds for trial in one):
        starts.setdefault(finalist_of(trial), []).append(trial)
    found = []
    for number, own in starts.items():
        complete = tuple(t for t in own if t.state is TrialState.COMPLETE and t.score is not None)
        failed = any(t.failure is not None and t.failure.kind not in _NOT_ITS_FAULT for t in own)
        if failed or (number and complete and not Configuration(complete).feasible):
            found.append(number)
    return found


def _of_search(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials before the first round: what is searched later does not change the confirmation."""
    first = min((t.number for one in _rounds(trials).values() for t in one), default=None)
    searched = (t for t in trials if not t.in_round)
    return [trial for trial in searched if first is None or trial.number < first]
