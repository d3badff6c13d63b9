"""The watchers of a run: what its task names, and what costs nothing where nobody reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.task.task import Task
from autotune_nb.watching.event_log import EventLog
from autotune_nb.watching.spans import Spans, tracer
from autotune_nb.watching.watcher import WatchedStudy, Watcher


def require_watchers(task: Task) -> None:
    """Raise SetupError if a task names something to follow its runs that is not there."""
    if task.tracking.kind == "mlflow":
        from autotune_nb.watching.mlflow_export import require_mlflow

        require_mlflow(task.tracking)
    if task.artifacts.url:
        from autotune_nb.watching.artifact_copies import require_place

        require_place(task)


def watchers_of(
    study: WatchedStudy, notify: Callable[[str], None], others_go_on: Callable[[], bool] = lambda: False
) -> list[Watcher]:
    """Return the watchers of a run. They call ``notify`` with what fails.

    ``others_go_on`` returns at the end whether other workers of the study go on: the last one reports the end. It may
    block until that is certain.
    """
    watchers: list[Watcher] = [EventLog(study.path)]
    found, task = tracer(), study.task
    if found is not None:
        watchers.append(Spans(found, study.path))
    if task.on_end.command or task.on_end.webhook:
        from autotune_nb.watching.on_end import EndMessage

        watchers.append(EndMessage(study, notify, others_go_on))
    if task.tracking.kind == "mlflow":
        from autotune_nb.watching.mlflow_export import experiment_name, require_mlflow
        from autotune_nb.watching.mlflow_tracking import MlflowTracking

        uri, experiment = require_mlflow(task.tracking), experiment_name(task.tracking)
        watchers.append(MlflowTracking(study, uri, experiment, notify, others_go_on))
    if task.artifacts.url:
        from autotune_nb.watching.artifact_copies import ArtifactCopies

        watchers.append(ArtifactCopies(study, notify))
    return watchers


async def close_watchers(
    watchers: Sequence[Watcher], error: BaseException | None, notify: Callable[[str], None]
) -> None:
    """Close all watchers at once; an error of one is reported."""
    for failed in await asyncio.gather(*(one.close(error) for one in watchers), return_exceptions=True):
        if isinstance(failed, Exception):
            notify(scrub(f"what follows the run failed at its end: {type(failed).__name__}: {failed}"))
