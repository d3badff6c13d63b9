"""The importance of parameters: PED-ANOVA over the complete trials."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator

from autotune_nb.task.optuna_space import distributions, encode
from autotune_nb.task.space import SearchSpace
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial

#: With fewer complete trials the importances are noise.
MIN_TRIALS = 10
#: The least number of trials that are "the best": a tenth of few trials is too small a sample.
_MIN_BEST = 5
#: More trials cost seconds and do not change the result.
_MAX_TRIALS = 1000


def _rank_values(trials: Sequence[Trial], objective: Objective) -> list[float]:
    """Return the trials' values; one that breaks a limit gets the worst of them, so that it is never among the best.

    Of several objectives it is the number of trials that dominate it, so that the best are those near the front.
    """
    if objective.others:
        return _dominating(trials, objective)
    values = [trial.score.value for trial in trials if trial.score]
    worst = (min if objective.direction == "maximize" else max)(values, default=0.0)
    return [value if trial.feasible else worst for trial, value in zip(trials, values, strict=True)]


def _dominating(trials: Sequence[Trial], objective: Objective) -> list[float]:
    """Return how many trials that keep every limit dominate each one; all of them where it breaks one itself."""
    signs = np.array([-1.0 if one.direction == "maximize" else 1.0 for one in objective.every])
    losses = signs * np.array([[t.score.values[name] for name in objective.figures] for t in trials if t.score])
    feasible = losses[[trial.feasible for trial in trials]]
    counts = [int(((feasible <= own).all(1) & (feasible < own).any(1)).sum()) for own in losses]
    return [float(n if trial.feasible else len(feasible)) for n, trial in zip(counts, trials, strict=True)]


def importances(trials: Sequence[Trial], space: SearchSpace, objective: Objective) -> dict[str, float]:
    """Return the importance of each parameter for being among the best tenth of the trials (at least five), largest
    first. Importances add up to 1. Trials that break a limit count as worse than every trial that keeps them all.

    Empty with fewer than ten complete trials, without the baseline, which sets no parameter. The method is PED-ANOVA
    (Watanabe et al., 2023), as implemented by Optuna.
    """
    optuna_space = distributions(space)
    complete = [t for t in trials if t.state.scored and t.score is not None and not t.baseline]
    complete = [t for t in complete if t.params.keys() == optuna_space.keys()][-_MAX_TRIALS:]
    values = _rank_values(complete, objective)
    if len(complete) < MIN_TRIALS or len(set(values)) < 2:
        return {}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(0.1, _MIN_BEST / len(complete)))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = "minimize" if objective.others else objective.direction
    study = optuna.create_study(direction=direction, storage=optuna.storages.InMemoryStorage())
    frozen = []
    for trial, value in zip(complete, values, strict=True):
        # A value that the space does not have (any more) says nothing about those that it has.
        with contextlib.suppress(ValueError):
            point = encode(space, dict(trial.params))
            frozen.append(optuna.trial.create_trial(params=point, distributions=optuna_space, value=value))
    if len(frozen) < MIN_TRIALS:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.add_trials(frozen)
        try:
            raw = optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
        except (ValueError, RuntimeError):
            # Raised if all trials are equal, since then every one is among the best.
            return {}
    shares = {name: value for name, value in raw.items() if value == value}
    total = sum(shares.values())
    return {name: value / total for name, value in shares.items()} if total > 0 else {}
