"""A trial's number, parameters, state, measurements, score and failure.

Frozen types without I/O, and what computes on them alone: a score from measurements, a value formatted with its unit.
What a task asks for is in ``task``; how trials are stored is in ``study``; tables of many trials are in ``results``.
"""

from autotune_nb.trial.measurement import Level, Measurement, Validity
from autotune_nb.trial.score import Limit, Objective, Score
from autotune_nb.trial.trial import Trial, TrialState, Value, best_trial

__all__ = [
    "Level",
    "Limit",
    "Measurement",
    "Objective",
    "Score",
    "Trial",
    "TrialState",
    "Validity",
    "Value",
    "best_trial",
]
