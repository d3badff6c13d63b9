"""A study: ask and tell for one task, its storage, its folder, its edits and the fingerprints of its machines.

The only package that imports Optuna's storage: everything that must survive a restart is stored here. Running trials
belongs to ``runner``, tables of trials to ``results``.
"""

from typing import TYPE_CHECKING, Any

from autotune_nb.study._database_file import (
    DamagedStorageError,
    StorageAwayError,
    StorageBusyError,
    require_database,
)
from autotune_nb.study._results_json import best_data, to_results, trial_from_results
from autotune_nb.study.fingerprint import machine_fingerprint
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.reader import StudyReader
from autotune_nb.study.storage_url import STORAGE_VARIABLE

if TYPE_CHECKING:
    from autotune_nb.study.study import Study

__all__ = [
    "STORAGE_VARIABLE",
    "DamagedStorageError",
    "StorageAwayError",
    "StorageBusyError",
    "Study",
    "StudyFolder",
    "StudyReader",
    "best_data",
    "machine_fingerprint",
    "require_database",
    "to_results",
    "trial_from_results",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: reading a finished study needs neither Optuna nor a database, a second of imports.
    if name != "Study":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from autotune_nb.study.study import Study

    return Study
