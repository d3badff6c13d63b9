"""The CPU seconds of other tools for comparable work, measured in the same run: the denominators of the ratios."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

_BARE = """
import sys, time
import optuna
from optuna.storages._rdb.storage import _create_scoped_session
optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(storage=f"sqlite:///{sys.argv[1]}")
trials = [optuna.trial.create_trial(value=float(n)) for n in range(int(sys.argv[2]))]
began = time.process_time()
storage = study._storage._backend
with _create_scoped_session(storage.scoped_session) as session:
    for trial in trials:
        storage._get_prepared_new_trial(study._study_id, trial, session)
print(time.process_time() - began)
"""
_COPY = """
import sys
import pandas
pandas.read_csv(sys.argv[1], dtype=str, keep_default_na=False).to_csv(sys.argv[2], index=False)
"""


def bare_inserts_s(trials: int) -> float:
    """Return the time of Optuna adding ended trials without parameters to a new SQLite file in one transaction."""
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name:
        argv = [sys.executable, "-c", _BARE, str(Path(name) / "bare.db"), str(trials)]
        return float(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=600).stdout)


def copying_csv_s(file: Path) -> float:
    """Return the time of pandas reading and writing a CSV file in a new process."""
    return seconds_of([sys.executable, "-c", _COPY, str(file), str(file.with_suffix(".copy"))])


def nbconvert_s(notebook: Path, *, execute: bool = False) -> float:
    """Return the time of nbconvert converting a notebook to HTML in a new process, optionally executing it."""
    argv = [sys.executable, "-m", "nbconvert", "--to", "html", "--log-level", "ERROR", str(notebook)]
    return seconds_of([*argv, "--output", f"{notebook.stem}.page", *(["--execute"] if execute else [])])


def seconds_of(argv: list[str]) -> float:
    """Return the CPU seconds of a command and its children, which other processes hardly influence."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, capture_output=True, text=True, check=True, timeout=600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
