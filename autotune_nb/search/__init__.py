"""Search strategies, and the lab that compares them on recorded tables.

A strategy proposes the next configuration from what the trials have shown. What runs and stores trials is in
``runner`` and ``study``; nothing here starts an engine.
"""

from autotune_nb.search.base import Observation, PreviousStudy, Promise, Proposal, SearchProblem, Strategy, observation
from autotune_nb.search.creation import STRATEGIES, check_options, create_strategy

__all__ = [
    "STRATEGIES",
    "Observation",
    "PreviousStudy",
    "Promise",
    "Proposal",
    "SearchProblem",
    "Strategy",
    "check_options",
    "create_strategy",
    "lab",
    "lab_problem",
    "observation",
]
