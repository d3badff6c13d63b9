"""A trial's number, parameters, state, measurements, score and failure.

Frozen types without I/O, and functions of them alone: the score of measurements, a value formatted with its unit. The
request for trials is in ``task``, their storage in ``study``, and tables of them in ``results``.
"""

from autotune_nb.trial.configuration import Configuration, best_configuration, best_trial
from autotune_nb.trial.measurement import Level, Measurement, Validity
from autotune_nb.trial.score import Limit, Objective, Score
from autotune_nb.trial.trial import Trial, TrialState, Value

__all__ = [
    "Configuration",
    "Level",
    "Limit",
    "Measurement",
    "Objective",
    "Score",
    "Trial",
    "TrialState",
    "Validity",
    "Value",
    "best_configuration",
    "best_trial",
]
