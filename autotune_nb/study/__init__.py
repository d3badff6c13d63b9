"""Ask and tell over one task, and everything that must survive. The only place that imports Optuna."""

from autotune_nb.study._record import trial_from_results
from autotune_nb.study.fingerprint import machine_fingerprint
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.study import Study

__all__ = ["Study", "StudyFolder", "machine_fingerprint", "trial_from_results"]
