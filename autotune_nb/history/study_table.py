"""One table over many studies; those that cannot be read are rows too."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune_nb.errors import AutotuneError, StudyError
from autotune_nb.handle import StudyHandle
from autotune_nb.history.comparability import property_values
from autotune_nb.opened import OpenedStudy
from autotune_nb.run import live_run
from autotune_nb.study import StudyFolder
from autotune_nb.trial.trial import TrialState

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    *("study", "state", "task", "model", "engine", "version", "gpu", "trials", "complete", "failed", "figure", "best"),
    *("trial", "params", "outcome", "gain", "verdict", "created", "changed", "cost_usd", "gpu_hours", "error"),
)
#: Files of which a study's folder has at least one, however damaged it is.
_MARKS = ("study.json", "study.db", "task.json", "results.json")
#: Of a damaged study whose reading raises something else than an error of this package.
_DAMAGED = (LookupError, TypeError, ValueError, AttributeError, OSError, RecursionError)


def study_folders(*sources: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return the folders of studies that patterns match, such as ``runs/*``, and those that are named, each once.

    Of what a pattern matches, only folders with a study's files are returned. A named folder without a study stands for
    the studies in it. Raises StudyError if nothing is found.
    """
    wanted: list[str | Path] = []
    for source in sources or ("runs/*",):
        wanted += [source] if isinstance(source, str | Path) else list(source)
    found: list[Path] = []
    for one in wanted:
        path = Path(one).expanduser()
        if not path.exists() and glob.has_magic(str(one)):
            # Not Path.glob, which takes no absolute pattern.
            names = sorted(glob.glob(str(path)))  # noqa: PTH207
            found += [match for name in names if _has_study(match := Path(name))]
        elif path.is_dir() and not _has_study(path):
            inside = [folder for folder in sorted(path.iterdir()) if _has_study(folder)]
            # Without any, the row says that there is none.
            found += inside or [path]
        else:
            found.append(path)
    if not found:
        shown = ", ".join(map(repr, map(str, wanted)))
        raise StudyError(f"there is no study that matches {shown}; name folders of studies, or a pattern as 'runs/*'")
    return list(dict.fromkeys(found))


def _has_study(path: Path) -> bool:
    try:
        return path.is_dir() and any((path / name).exists() for name in _MARKS)
    except OSError:
        # It is reported where it is read.
        return True


def studies_frame(folders: Sequence[Path]) -> pd.DataFrame:
    """Return one row per study, the oldest first; those that cannot be read are last, with the reason in ``error``."""
    import pandas as pd

    rows = [_row(folder) for folder in folders]
    rows.sort(key=lambda row: (row["error"] is not None, row["created"] or datetime.max.replace(tzinfo=UTC)))
    frame = pd.DataFrame(rows, columns=list(_COLUMNS)).set_index("study")
    for name in ("created", "changed"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    frame = frame.astype(dict.fromkeys(("trials", "complete", "failed", "trial"), "Int64"))
    return frame.astype(dict.fromkeys(("best", "gain", "cost_usd", "gpu_hours"), float))


def _row(folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_COLUMNS)
    row["study"] = str(folder)
    try:
        opened: StudyHandle = live_run(StudyFolder(folder).path) or OpenedStudy(folder)
        return row | _of_study(opened, StudyFolder(folder))
    except AutotuneError as error:
        text = str(error)
    except _DAMAGED as error:
        text = f"{folder} is damaged: {type(error).__name__}: {error}"
    return row | {"state": "unreadable", "error": " ".join(text.split())}


def _of_study(opened: StudyHandle, folder: StudyFolder) -> dict[str, Any]:
    from autotune_nb.trial.cost import cost_of

    task, trials, verdict, best = opened.task, opened.history, opened.verdict, opened.best_configuration
    cost = cost_of(trials, task.price)
    return {
        "state": str(opened.state),
        "task": task.name,
        "model": task.model.id_or_path or "random weights",
        "engine": task.engine.kind,
        "version": ", ".join(property_values(trials, "engine_version")) or None,
        "gpu": "; ".join(property_values(trials, "gpus")) or None,
        "trials": len(trials),
        "complete": sum(1 for one in trials if one.state is TrialState.COMPLETE),
        "failed": sum(1 for one in trials if one.state is TrialState.FAILED),
        "figure": task.goal.figure,
        "best": None if best is None else best.value,
        "trial": None if best is None else best.trial.number,
        "params": None if best is None else dict(best.params),
        "outcome": str(verdict.outcome),
        "gain": verdict.gain,
        "verdict": " ".join(str(verdict).split()),
        "created": _created(folder),
        "changed": _changed(folder),
        "cost_usd": cost.usd,
        "gpu_hours": cost.gpu_hours or None,
        "error": opened.lost or None,
    }


def _created(folder: StudyFolder) -> datetime | None:
    text = (folder.metadata() or {}).get("created")
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _changed(folder: StudyFolder) -> datetime | None:
    times = []
    for file in (folder.path / "results.json", folder.database):
        if file.is_file():
            times.append(file.stat().st_mtime)
    return datetime.fromtimestamp(max(times), UTC) if times else None
