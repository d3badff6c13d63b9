"""Whether a difference between configurations is more than noise: the rounds of a confirmation, and what they show.

The statistics and their wording are here. What starts the finalists again is in ``runner``.
"""

from autotune_nb.verdict.confirmation import Confirmation, Noise, Outcome
from autotune_nb.verdict.starts import (
    ConfirmationStart,
    detectable_gains,
    level_to_confirm,
    next_start,
    noise_text,
    plan_text,
    start_before_search,
)
from autotune_nb.verdict.verdict import Verdict, chosen_configuration, study_verdict

__all__ = [
    "Confirmation",
    "ConfirmationStart",
    "Noise",
    "Outcome",
    "Verdict",
    "chosen_configuration",
    "detectable_gains",
    "level_to_confirm",
    "next_start",
    "noise_text",
    "plan_text",
    "start_before_search",
    "study_verdict",
]
