"""Ask and tell over one task, and everything that must survive. The only place that imports Optuna."""

from typing import TYPE_CHECKING, Any

from autotune_nb.study._database_file import database_problem, recovery_text, require_database
from autotune_nb.study._results import trial_from_results
from autotune_nb.study.fingerprint import machine_fingerprint
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.storage_url import STORAGE_VARIABLE

if TYPE_CHECKING:
    from autotune_nb.study.study import Study

__all__ = [
    "STORAGE_VARIABLE",
    "Study",
    "StudyFolder",
    "database_problem",
    "machine_fingerprint",
    "recovery_text",
    "require_database",
    "trial_from_results",
]


def __getattr__(name: str) -> Any:
    # On first use: to look at a finished study takes neither Optuna nor a database, a second of imports.
    if name != "Study":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from autotune_nb.study.study import Study

    return Study
