"""By how much each configuration is better than the engine's default, with an interval where starts were repeated."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from autotune_nb.task.budget import Confirm
from autotune_nb.trial.configuration import Configuration, configurations, default_configuration
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial
from autotune_nb.verdict.confirmation import Noise
from autotune_nb.verdict.starts import finalists, plan_of, progress

#: With fewer degrees of freedom the noise is not known well enough for an interval.
_MIN_DEGREES = 3
_CONFIDENCE = 0.95
_MOST = 700.0


@dataclass(frozen=True)
class Gain:
    """A share: 0.18 is 18 % better than the default; ``low`` and ``high`` are its 95 % interval, if it has one."""

    share: float
    low: float | None = None
    high: float | None = None


def gains_to_default(
    trials: Sequence[Trial], objective: Objective, rules: Confirm | None = None
) -> Mapping[Hashable, Gain]:
    """Return the gain of every configuration with a positive value by its key, without the default itself.

    Those of a confirmation have its intervals. For others, the noise of all repeated starts is pooled, and only
    those that were started again have an interval.
    """
    searched = [trial for trial in trials if not trial.in_round]
    default = default_configuration(searched)
    if default is None or default.value <= 0:
        return {}
    found = configurations(searched)
    noise = Noise.of_repeats([one.values for one in found.values() if len(one.values) > 1])
    sign = 1.0 if objective.direction == "maximize" else -1.0
    gains = {key: _gain(one, default, noise, sign) for key, one in found.items() if not one.baseline and one.value > 0}
    return {**gains, **_confirmed(trials, objective, rules, sign)}


def _gain(one: Configuration, default: Configuration, noise: Noise, sign: float) -> Gain:
    estimate = sign * math.log(one.value / default.value)
    repeated = len(one.values) > 1 and len(default.values) > 1
    if not repeated or noise.degrees < _MIN_DEGREES or noise.deviation is None:
        return Gain(_share(estimate, sign))
    error = noise.deviation * math.sqrt(1 / len(one.values) + 1 / len(default.values))
    half = _quantile(noise.degrees) * error
    return Gain(_share(estimate, sign), _share(estimate - half, sign), _share(estimate + half, sign))


def _confirmed(
    trials: Sequence[Trial], objective: Objective, rules: Confirm | None, sign: float
) -> dict[Hashable, Gain]:
    plan = None if rules is None else plan_of(trials, objective, rules)
    now = None if plan is None else progress(trials, objective, plan)
    if plan is None or now is None or now.conclusion is None:
        return {}
    own = finalists(trials, objective, plan.contenders[0])
    return {
        own[number - 1].trial.configuration_key: Gain(*(_share(v, sign) for v in (one.estimate, one.low, one.high)))
        for number, one in now.conclusion.gains.items()
    }


def _share(difference: float, sign: float) -> float:
    # Beyond it the exponential of a float overflows.
    return sign * math.expm1(max(-_MOST, min(_MOST, sign * difference)))


def _quantile(degrees: int) -> float:
    """Return the two-sided 95 % quantile of Student's t, by its expansion in 1/degrees: 1 % low at 3 degrees."""
    z = NormalDist().inv_cdf(0.5 + _CONFIDENCE / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3
