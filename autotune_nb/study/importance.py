"""Which parameters matter: PED-ANOVA over the complete trials."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator

from autotune_nb.study._sampler import distributions, encode
from autotune_nb.task.space import SearchSpace
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial, TrialState

#: With fewer complete trials the figures would be noise.
MIN_TRIALS = 10
#: So many trials at least are "the best": a tenth of few says nothing.
_MIN_BEST = 5
#: More tell no more, and cost seconds.
_MAX_TRIALS = 1000


def importances(trials: Sequence[Trial], space: SearchSpace, objective: Objective) -> dict[str, float]:
    """The share of each parameter in what makes the best tenth (at least five) differ, largest first; they add up
    to 1.

    Empty with fewer than ten complete trials (the baseline, which sets no parameter, is left out). The method is
    PED-ANOVA (Watanabe et al., 2023), as Optuna has it.
    """
    spread = distributions(space)
    complete = [t for t in trials if t.state is TrialState.COMPLETE and t.score is not None and not t.baseline]
    complete = [t for t in complete if t.params.keys() == spread.keys()][-_MAX_TRIALS:]
    values = {t.score.value for t in complete if t.score}
    if len(complete) < MIN_TRIALS or len(values) < 2:
        return {}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(0.1, _MIN_BEST / len(complete)))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=objective.direction, storage=optuna.storages.InMemoryStorage())
    frozen = [
        optuna.trial.create_trial(
            params=encode(space, dict(t.params)), distributions=spread, value=t.score.value if t.score else None
        )
        for t in complete
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.add_trials(frozen)
        try:
            found = optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
        except (ValueError, RuntimeError):
            # Every trial is among the best where all of them are equal.
            return {}
    found = {name: value for name, value in found.items() if value == value}
    total = sum(found.values())
    return {name: value / total for name, value in found.items()} if total > 0 else {}
