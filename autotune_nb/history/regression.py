"""Whether a study is worse than a baseline by more than noise: what a nightly run fails on."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from autotune_nb.errors import TaskError
from autotune_nb.history.comparison import REGRESSIONS, ConfigurationChange, Outcome, StudyComparison
from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.trial import configuration_text

#: The default and the baseline's best.
_CHECKS = 2


class RegressionOutcome(StrEnum):
    """What a check for a regression found."""

    REGRESSION = "regression"
    NONE = "no regression"
    UNDECIDED = "undecided"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Check:
    """One configuration of the baseline, measured again: what it shows, in a line."""

    name: str
    outcome: RegressionOutcome
    text: str
    loss: float | None = None


@dataclass(frozen=True)
class Regression:
    """The checks of the engine's default and of the baseline's best configuration; prints as text.

    ``threshold`` is a share: 0.05 for 5 %.
    """

    threshold: float
    checks: tuple[Check, ...]

    @property
    def outcome(self) -> RegressionOutcome:
        """The worst outcome of the checks."""
        found = {check.outcome for check in self.checks}
        order = (RegressionOutcome.REGRESSION, RegressionOutcome.NOT_COMPARABLE, RegressionOutcome.UNDECIDED)
        return next((one for one in order if one in found), RegressionOutcome.NONE)

    def __str__(self) -> str:
        return "\n".join(f"{check.outcome}: {check.text}" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        checks = [
            {"configuration": one.name, "outcome": str(one.outcome), "loss": one.loss, "text": one.text}
            for one in self.checks
        ]
        return {"outcome": str(self.outcome), "threshold": self.threshold, "checks": checks}


def parse_threshold(value: str | float) -> float:
    """Return a share of ``5%``, ``5 %`` or ``0.05``. Raises TaskError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", str(value))
    share = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 < share < 1:
        raise TaskError(
            f"expected a loss between 0 and 100 %, such as 5% or 0.05, not {value!r}", field="fail_on_regression"
        )
    return share


def find_regression(found: StudyComparison, threshold: float) -> Regression:
    """Check the engine's default and the first study's best configuration.

    It is a regression if the value is worse by the threshold or more and the interval excludes that nothing changed,
    if the configuration no longer starts, or if it is shown to break a limit now. It is none if the interval excludes
    a loss of the threshold; otherwise it is undecided. With another model, engine or machine nothing is checked.
    """
    if reasons := [*found.not_comparable, *(str(one) for one in found.changes if one.of_machine)]:
        text = f"{found.names[1]} cannot be compared with {found.names[0]}: {'; '.join(reasons)}"
        return Regression(threshold, (Check("all", RegressionOutcome.NOT_COMPARABLE, text),))
    checks = []
    default, best = found.default, found.best[0]
    if default is not None:
        checks.append(_check("the engine's default", default, found, threshold, _CHECKS))
    if best is not None and not best.baseline:
        name = f"the best of {found.names[0]} ({configuration_text(best.params)})"
        # If no confirmation started it again, its value is that of the luckiest of many.
        fair = any(trial.in_round for trial in best.before.starts)
        number = sum(1 for one in found.configurations if one.before.values)
        checks.append(_check(name, best, found, threshold, _CHECKS if fair else number + 1))
    if not checks:
        text = f"{found.names[0]} has no configuration that {found.names[1]} measured too"
        checks.append(Check("none", RegressionOutcome.UNDECIDED, text))
    return Regression(threshold, tuple(checks))


def _check(
    name: str, one: ConfigurationChange, found: StudyComparison, threshold: float, comparisons: int
) -> Check:  # fmt: skip
    if one.after.number is None:
        return Check(name, RegressionOutcome.UNDECIDED, f"{name} was not measured in {found.names[1]}")
    if one.outcome in REGRESSIONS and one.outcome is not Outcome.WORSE:
        return Check(name, RegressionOutcome.REGRESSION, f"{name} {one.outcome}: {one.why}")
    if one.outcome is Outcome.NOT_COMPARABLE or one.before.value is None or one.after.value is None:
        return Check(name, RegressionOutcome.NOT_COMPARABLE, f"{name}: {one.why or one.outcome}")
    values = " and then ".join(value_text(side.value or 0.0, found.figure) for side in (one.before, one.after))
    measured = f"{name} has {values} ({found.figure})"
    known = found.difference(one, comparisons)
    if known is None:
        text = f"{measured}, measured once: noise is not known without repeated starts (confirm: true)"
        return Check(name, RegressionOutcome.UNDECIDED, text)
    sign = 1 if found.maximized else -1
    # The share by which the figure is worse: less of what is maximized, more of what is minimized.
    loss, most, least = (-sign * math.expm1(sign * value) for value in (known.estimate, known.low, known.high))
    text = f"{measured}: {_loss_text(loss)} (95 %: {_percent(-most)} to {_percent(-least)} %)"
    if loss >= threshold and least > 0:
        outcome = RegressionOutcome.REGRESSION
    elif most < threshold:
        outcome = RegressionOutcome.NONE
    else:
        outcome = RegressionOutcome.UNDECIDED
        text += f"; a loss of {100 * threshold:g} % is neither shown nor excluded"
    return Check(name, outcome, text, loss)


def _loss_text(loss: float) -> str:
    return f"{100 * abs(loss):.2g} % {'worse' if loss > 0 else 'better'}"


def _percent(gain: float) -> str:
    return f"{100 * gain:+.2g}" if abs(gain) < 1 else f"{100 * gain:+.0f}"
