"""The verdict of a study: whether its best configuration beats the engine's default, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autotune_nb.task.budget import Confirm
from autotune_nb.trial.comparable import company_text, environment_text
from autotune_nb.trial.configuration import Configuration, best_configuration, configurations, default_configuration
from autotune_nb.trial.drift import drift_text
from autotune_nb.trial.formatting import params_text
from autotune_nb.trial.html_card import card_html
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial
from autotune_nb.verdict._unconfirmed import unconfirmed_text, undecided_text
from autotune_nb.verdict.confirmation import Conclusion, Confirmation, Difference, Outcome
from autotune_nb.verdict.starts import finalist_of, finalists, plan_of, progress

#: More further rounds than these are not worth a number.
_MOST_ROUNDS = 20


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a study says about its best configuration.

    ``gain`` and ``interval`` are shares: 0.18 is 18 % more of a figure that is maximized, or 18 % less of one that is
    minimized. ``rounds`` is how often the finalists and the default were started again, ``detectable`` the gain that
    the whole confirmation finds with a probability of 90 %. ``recommended`` and ``ties`` are numbers of trials: the
    configuration to run, and those that cannot be told apart from it; ``leader`` is that of the finalist which the
    interval compares with the default.
    """

    outcome: Outcome
    text: str
    gain: float | None = None
    interval: tuple[float, float] | None = None
    confidence: float = 0.95
    rounds: int = 0
    detectable: float | None = None
    recommended: int | None = None
    ties: tuple[int, ...] = ()
    leader: int | None = None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Verdict {self.outcome}: {' '.join(self.text.split())}>"

    def _repr_html_(self) -> str:
        confidence = f"{100 * self.confidence:g} %"
        gain = "" if self.gain is None else f"{_percent(self.gain)} %"
        if self.interval is not None:
            gain += f" ({confidence}: {_percent(self.interval[0])} to {_percent(self.interval[1])} %)"
        others = [str(number) for number in self.ties if number != self.recommended]
        rows = [
            ("Gain over the default", gain),
            ("To run", "" if self.recommended is None else f"the configuration of trial {self.recommended}"),
            ("As good", f"trial{'s' * (len(others) > 1)} {', '.join(others)}" if others else ""),
            ("Confirmation", f"{self.rounds} round{'s' * (self.rounds != 1)} of fresh starts" if self.rounds else ""),
            ("Finds gains", "" if self.detectable is None else f"from {_percent(self.detectable)} %"),
        ]
        return card_html(f"Verdict: {str(self.outcome).replace('_', ' ')}", [("Answer", self.text), *rows])

    @property
    def confirmed(self) -> bool:
        """Whether it is that of a confirmation."""
        return self.outcome is not Outcome.MEASURED_ONCE

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict in the form of ``results.json``."""
        return {
            "outcome": str(self.outcome),
            "gain": self.gain,
            "interval": None if self.interval is None else list(self.interval),
            "confidence": self.confidence,
            "rounds": self.rounds,
            "detectable": self.detectable,
            "recommended": self.recommended,
            "ties": list(self.ties),
            "text": self.text,
        }


def study_verdict(trials: Sequence[Trial], objective: Objective, rules: Confirm | None) -> Verdict:
    """Return the verdict of a study's trials; without a confirmation, or before its first round, "measured once".

    If recorded measurements were replayed, its text begins with REPLAYED and the name of their table. Trials that
    cannot be compared come before the best one: those in another environment, beside other work, or at another time at
    which the default had other values (without a confirmation, which starts it again and again).
    """
    replayed = next((t.fingerprint["replayed"] for t in trials if "replayed" in t.fingerprint), None)
    found = _verdict(trials, objective, rules)
    if found.outcome is not Outcome.MEASURED_ONCE:
        limits = undecided_text(chosen_configuration(trials, objective, rules))
        found = replace(found, text=f"{found.text}{limits}")
    return found if replayed is None else replace(found, text=f"REPLAYED from {replayed}: {found.text}")


def chosen_configuration(trials: Sequence[Trial], objective: Objective, rules: Confirm | None) -> Configuration | None:
    """Return the configuration to run: the one that the confirmation recommends, before it the best one, or None.

    After a confirmation, its value is that of the confirmation's starts.
    """
    verdict = _verdict(trials, objective, rules) if rules is not None else None
    if verdict is None or not verdict.confirmed:
        return best_configuration(trials, objective)
    found = configurations(trials).values()
    return next(one.confirmed for one in found if verdict.recommended in {trial.number for trial in one.complete})


def _verdict(trials: Sequence[Trial], objective: Objective, rules: Confirm | None) -> Verdict:
    plan = None if rules is None else plan_of(trials, objective, rules)
    now = None if plan is None else progress(trials, objective, plan)
    if plan is not None and now is not None and now.conclusion is not None:
        first = {0: default_configuration(trials)}
        first |= dict(enumerate(finalists(trials, objective, plan.contenders[0]), start=1))
        starts = [trial for one in now.ended for trial in one]
        found = _Wording(now.conclusion, plan, first, objective, starts).verdict()
        return replace(found, text=" ".join(filter(None, (company_text(starts), found.text))))
    # The starts of a confirmation show how much is noise, so that they are no drift.
    cautions = (environment_text(trials), company_text(trials), drift_text(trials) if rules is None else "")
    text = " ".join(filter(None, (*cautions, unconfirmed_text(trials, objective, rules))))
    detectable = None if plan is None else plan.detectable()
    best = best_configuration(trials, objective)
    number = None if best is None else best.trial.number
    return Verdict(
        Outcome.MEASURED_ONCE,
        text,
        detectable=detectable,
        recommended=number,
        ties=() if number is None else (number,),
    )


@dataclass(frozen=True)
class _Wording:
    """The verdict of a conclusion, in words and numbers of trials."""

    found: Conclusion
    plan: Confirmation
    #: The default (0) and the finalists as the search measured them.
    configurations: Mapping[int, Configuration | None]
    objective: Objective
    starts: Sequence[Trial]

    def verdict(self) -> Verdict:
        leader = self.found.gains.get(self.found.leader) if self.found.leader is not None else None
        gain, low, high = (None, None, None) if leader is None else self._shares(leader)
        recommended = self._recommended()
        own = self.configurations[recommended]
        assert own is not None
        text = f"{self._text(gain, low, high)}{self._levels()}. To run: {params_text(own.first)}."
        return Verdict(
            self.found.outcome,
            text,
            gain,
            None if low is None or high is None or not math.isfinite(high - low) else (low, high),
            1 - self.plan.alpha,
            self.found.rounds,
            self.plan.detectable(self.found.deviation),
            self._number(recommended),
            tuple(sorted(self._number(one) for one in self.found.ties)),
            None if leader is None else self._number(self.found.leader or 0),
        )

    def _shares(self, difference: Difference) -> tuple[float, float, float]:
        sign = 1 if self.objective.direction == "maximize" else -1
        low, high = (sign * math.expm1(sign * value) for value in (difference.low, difference.high))
        return sign * math.expm1(sign * difference.estimate), low, high

    def _number(self, finalist: int) -> int:
        """Return the number of a finalist's first trial, that of the search."""
        own = self.configurations[finalist]
        assert own is not None
        return own.first.number

    def _recommended(self) -> int:
        """Return the finalist to run: of those that cannot be told apart, the one with the fewest changes."""
        ties = self.found.ties
        return min(ties, key=lambda one: (self._changes(one), one != self.found.leader, one))

    def _changes(self, finalist: int) -> int:
        own = self.configurations[finalist]
        return 0 if own is None or own.baseline else sum(value is not None for value in own.params.values())

    def _text(self, gain: float | None, low: float | None, high: float | None) -> str:
        found, default = self.found, "the engine's default"
        after = f"after {found.rounds} round{'s' * (found.rounds != 1)} of fresh starts"
        if found.deviation is not None:
            after += f" (noise between starts: {_percent(found.deviation)} %)"
        if gain is None or low is None or high is None:
            if found.outcome is Outcome.DEFAULT_BEST:
                return f"The engine's default is the best: every finalist failed or broke a limit, {after}"
            if found.default_failed:
                return f"Undecided {after}: {default} failed in them, so there is nothing to compare with"
            return f"Undecided {after}: the noise between starts is not known yet"
        best, figure = f"trial {self._number(found.leader or 0)}", self.objective.figure
        confidence = f"{100 * (1 - self.plan.alpha):g} %"
        by = f"{_percent(gain)} % ({confidence}: {_percent(low)} to {_percent(high)} %)"
        match found.outcome:
            case Outcome.BETTER:
                others = [self._number(one) for one in found.ties if one != found.leader]
                one = f"trial {others[0]} is" if len(others) == 1 else f"trials {', '.join(map(str, others))} are"
                tied = f"; {one} as good, as far as these starts show" if others else ""
                return f"{best.capitalize()} is better than {default} by {by} in {figure}, {after}{tied}"
            case Outcome.DEFAULT_BEST:
                worse = f"{_percent(-gain)} % ({confidence}: {_percent(-high)} to {_percent(-low)} %)"
                how = f"is worse by {worse}" if high <= 0 else f"differs from it by {by}"
                return f"The engine's default is the best: {best} {how} in {figure}, {after}"
            case Outcome.NO_DIFFERENCE:
                better, worse = _percent(max(high, 0.0)), _percent(max(-low, 0.0))
                return (
                    f"No difference found between {best} and {default} in {figure}, {after}: {best} is at most "
                    f"{better} % better and at most {worse} % worse ({confidence})"
                )
        seems = f"{_percent(abs(gain))} % {'better' if gain >= 0 else 'worse'} than {default}"
        missing = found.rounds_missing or 0
        rounds = f"{missing} more round{'s' * (missing != 1)}"
        more = f"; about {rounds} would decide, if the difference is that large" if missing else ""
        more = more if missing <= _MOST_ROUNDS else "; many more rounds would be needed to decide"
        span = f", but anything from {_percent(low)} to {_percent(high)} % is possible ({confidence})"
        span = span if math.isfinite(high - low) else ""
        return f"Undecided {after}: {best} seems {seems} in {figure}{span}{more}"

    def _levels(self) -> str:
        """Return at which levels the values of the rounds were read, if they differ."""
        read: dict[str, set[int]] = {}
        for trial in self.starts:
            if trial.score is not None and trial.score.level is not None:
                read.setdefault(str(trial.score.level), set()).add(finalist_of(trial))
        if len(read) < 2:
            return ""
        levels = ", ".join(f"{self._names(own)} under {level}" for level, own in read.items())
        return f"; the values were read at different levels: {levels}"

    def _names(self, finalists: set[int]) -> str:
        """Return the default and the numbers of the others, such as ``the default and trials 2, 9``."""
        numbers = sorted(self._number(one) for one in finalists if one)
        trials = f"trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}" if numbers else ""
        return " and ".join(filter(None, ["the default" if 0 in finalists else "", trials]))


def _percent(share: float) -> str:
    return f"{100 * share:.2g}" if abs(share) < 1 else f"{100 * share:,.0f}"
