"""Sends a study to an MLflow server: one run for the study, and one below it for each trial that has finished."""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autotune_nb.errors import SetupError, StudyError
from autotune_nb.secrets.references import command_text, resolved
from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.study import StudyFolder
from autotune_nb.task.file import task_yaml
from autotune_nb.task.task import Task
from autotune_nb.task.tracking import Tracking
from autotune_nb.trial.formatting import params_text
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.watching.watcher import WatchedStudy

EXPERIMENT = "autotune_nb"
#: Tags by which the runs of a study are found again.
_STUDY, _TRIAL, _ENDED, _PARENT = "autotune_nb.study", "autotune_nb.trial", "autotune_nb.ended_ms", "mlflow.parentRunId"
#: The limits of MLflow's server.
_PARAM_LENGTH, _TAG_LENGTH, _PARAMS, _METRICS = 6000, 5000, 100, 800
_MINOR = re.compile(r"_(min|max|stddev|p25|p75)(_s)?$")
_NOT_IN_NAME = re.compile(r"[^\w\-. /:]")
#: Larger files of a trial stay in the study's folder.
_MOST_BYTES = 32 * 1024 * 1024
#: Settings of MLflow, if none are given: its own try a server that is gone for minutes, and print each attempt and run.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_AT_ONCE = 4


def require_mlflow(tracking: Tracking) -> str:
    """Return the URI of the server. Raises SetupError if there is none, or if MLflow's client is not installed."""
    uri = resolved(tracking.uri, field="tracking.uri") if tracking.uri else os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        raise SetupError(
            "no MLflow server is named; give its address, such as http://127.0.0.1:5000, or set MLFLOW_TRACKING_URI",
            field="tracking.uri",
        )
    if find_spec("mlflow") is None:
        raise SetupError("MLflow's client is not installed: pip install 'autotune_nb[mlflow]'", field="tracking.kind")
    return uri


def experiment_name(tracking: Tracking) -> str:
    """Return the name of the experiment of a study."""
    return tracking.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT


def server_name(uri: str) -> str:
    """Return the address of a server without a user and a password."""
    parts = urlsplit(uri)
    return parts.hostname + (f":{parts.port}" if parts.port else "") if parts.hostname else uri


def connect(uri: str) -> Any:
    """Return a client of a server; no request is sent. It takes seconds to import."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    class Client(MlflowClient):  # type: ignore[misc]
        def log_batch(self, run_id: str, metrics: _Rows, params: _Rows, tags: _Rows) -> None:
            rows = [Metric(*row) for row in metrics], [Param(*row) for row in params], [RunTag(*row) for row in tags]
            super().log_batch(run_id, *rows)

    return Client(tracking_uri=uri)


_Rows = Sequence[tuple[Any, ...]]


@dataclass(frozen=True)
class Sent:
    """What an export sent: the parent's id, how many trials it sent, and how many were there before."""

    experiment_id: str
    run_id: str
    num_sent: int
    num_present: int


class MlflowStudy:
    """The runs of one study on a server. Each method may be called again: what is there is not sent again.

    ``client`` is what ``connect`` returns. Errors of the client are raised as they are.
    """

    def __init__(self, client: Any, study: WatchedStudy, experiment: str) -> None:
        self._client = client
        self._study = study
        self._experiment = experiment
        self.experiment_id = self.run_id = ""
        #: The ids of the runs of trials with the times of their figures, and the trials that were sent to their end.
        self._runs: dict[int, tuple[str, int]] = {}
        self._complete: set[int] = set()
        self._lock = threading.Lock()

    def open(self, *, running: bool = False) -> None:
        """Find the study's run and those of its trials, or create the study's; with ``running`` it goes on."""
        if self.run_id:
            return
        client, study = self._client, self._study
        metadata = StudyFolder(study.path).metadata()
        key = str(metadata["id"]) if metadata else study.path.name
        self.experiment_id = self._find_experiment()
        found = list(client.search_runs([self.experiment_id], f"tags.`{_STUDY}` = '{key}'", max_results=1))
        if found:
            run_id = found[0].info.run_id
            for run in _pages(client, self.experiment_id, f"tags.`{_PARENT}` = '{run_id}'"):
                self._add(run)
            if running:
                client.update_run(run_id, status="RUNNING")
        else:
            tags = {_STUDY: key, "mlflow.source.name": "autotune_nb", "mlflow.note.content": study.task.description}
            run_id = client.create_run(self.experiment_id, run_name=study.path.name, tags=tags).info.run_id
        self._log(run_id, params=_study_params(study.task))
        self.run_id = run_id

    def _add(self, run: Any) -> None:
        number, tags = int(run.data.tags.get(_TRIAL, -1)), run.data.tags
        if number not in self._complete:
            self._runs[number] = run.info.run_id, int(tags.get(_ENDED, 0))
            if run.info.status in ("FINISHED", "FAILED"):
                self._complete.add(number)

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            return str(self._client.create_experiment(self._experiment))
        if found.lifecycle_stage != "active":
            raise StudyError(
                f"the experiment {self._experiment!r} was deleted in MLflow; restore it, or name another one with "
                "tracking.experiment or MLFLOW_EXPERIMENT_NAME"
            )
        return str(found.experiment_id)

    def send(self, trial: Trial) -> bool:
        """Send a trial that has finished; return False if it was there."""
        if trial.number in self._complete:
            return False
        run_id, ended_ms = self._run_of(trial)
        levels = {one.level: step for step, one in enumerate(sorted(trial.measurements, key=_load), 1)}
        metrics = [
            (name, value, ended_ms, levels[one.level]) for one in trial.measurements for name, value in _figures(one)
        ]
        metrics += [(name, value, ended_ms, 0) for name, value in _trial_figures(trial)]
        params = {
            name: json.dumps(v) if not isinstance(v, str) else v for name, v in trial.params.items() if v is not None
        }
        self._log(run_id, metrics=metrics, params=params)
        for file, folder in _files(StudyFolder(self._study.path).trial_folder(trial.number)):
            self._client.log_artifact(run_id, str(file), folder)
        # Last: a run that did not come so far is sent again.
        status = "FAILED" if trial.state is TrialState.FAILED else "FINISHED"
        self._client.set_terminated(run_id, status, ended_ms)
        with self._lock:
            self._complete.add(trial.number)
        return True

    def _run_of(self, trial: Trial) -> tuple[str, int]:
        """Return the run of a trial and the time of its figures; create the run if there is none."""
        with self._lock:
            known = self._runs.get(trial.number)
        if known is not None:
            return known
        ended_ms = _ended_ms(self._study.path, trial)
        tags = {_PARENT: self.run_id, _TRIAL: str(trial.number), _ENDED: str(ended_ms), **_trial_tags(trial)}
        run = self._client.create_run(
            self.experiment_id,
            start_time=ended_ms - round(sum(trial.seconds.values()) * 1000),
            run_name="default" if trial.baseline else f"trial {trial.number}",
            tags=tags,
        )
        with self._lock:
            self._runs[trial.number] = run.info.run_id, ended_ms
        return run.info.run_id, ended_ms

    def send_best(self) -> None:
        """Send the best values so far as figures of the study's run, by the number of finished trials."""
        best = self._study.best
        if best is None:
            return
        known = self._client.get_run(self.run_id).data.metrics
        step, now = sum(trial.state.finished for trial in self._study.history), round(time.time() * 1000)
        changed = {name: value for figure, value in best.values.items() if known.get(name := f"best.{figure}") != value}
        self._log(self.run_id, metrics=[(name, value, now, step) for name, value in changed.items()])

    def send_all(self, *, ended: bool, progress: Callable[[int, int], None] = lambda _done, _total: None) -> Sent:
        """Send every finished trial that is not there, and the result; with ``ended`` also that the run has ended."""
        # Other workers of the study may have sent theirs.
        self.run_id = ""
        self.open()
        trials, num_sent = [trial for trial in self._study.history if trial.state.finished], 0
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="autotune_nb-mlflow") as pool:
            for done, was_sent in enumerate(pool.map(self.send, trials), 1):
                num_sent += was_sent
                progress(done, len(trials))
        self.send_best()
        best, state = self._study.best, str(self._study.state)
        tags = {"state": state, "verdict": str(self._study.verdict), "end_reason": self._study.end_reason}
        if best is not None:
            tags |= {"best": str(best.number), "best_command": best.command}
        self._log(self.run_id, tags=tags)
        self._client.log_text(self.run_id, scrub(task_yaml(self._study.task)), "task.yaml")
        if (results := self._study.path / "results.json").is_file():
            self._client.log_artifact(self.run_id, str(results))
        if trials:
            self._client.log_text(self.run_id, scrub(_page(self._study)), "report.html")
        if ended:
            status = {"stopped": "KILLED", "interrupted": "KILLED", "failed": "FAILED"}.get(state, "FINISHED")
            self._client.set_terminated(self.run_id, status)
        return Sent(self.experiment_id, self.run_id, num_sent, len(trials) - num_sent)

    def _log(
        self,
        run_id: str,
        *,
        metrics: Iterable[tuple[str, float, int, int]] = (),
        params: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Log in batches that the server accepts, without known secrets."""
        all_metrics = [(_name(n), v, at, step) for n, v, at, step in metrics if math.isfinite(v)]
        all_params = [(_name(n), scrub(str(v))[:_PARAM_LENGTH]) for n, v in (params or {}).items()]
        all_tags = [(name, scrub(value)[:_TAG_LENGTH]) for name, value in (tags or {}).items() if value]
        while all_metrics or all_params or all_tags:
            self._client.log_batch(run_id, all_metrics[:_METRICS], all_params[:_PARAMS], all_tags[:_PARAMS])
            del all_metrics[:_METRICS], all_params[:_PARAMS], all_tags[:_PARAMS]


def _pages(client: Any, experiment_id: str, filter_string: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment_id], filter_string, max_results=1000, page_token=token)
        yield from page
        token = getattr(page, "token", None)
        if not token:
            return


def _name(name: str) -> str:
    return _NOT_IN_NAME.sub("_", name)[:250]


def _study_params(task: Task) -> dict[str, Any]:
    return {
        "task": task.name,
        "engine": task.engine.kind,
        "model": task.model.id_or_path or task.model.served_name or "random weights",
        "objective": f"{task.goal.direction} {task.goal.figure}",
        "limits": "; ".join(task.limits) or "none",
        "strategy": task.strategy.sampler,
    }


def _trial_tags(trial: Trial) -> dict[str, str]:
    tags = {
        "state": str(trial.state),
        "feasible": str(trial.feasible).lower(),
        "mlflow.note.content": params_text(trial),
        "reason": trial.reason,
        "cut_reason": trial.cut_reason,
        "failure": str(trial.failure or ""),
        "command": command_text(trial.command) if trial.command else "",
        "confirmation_round": "" if trial.confirmation is None else str(trial.confirmation[0]),
    }
    return {name: scrub(value)[:_TAG_LENGTH] for name, value in tags.items() if value}


def _load(one: Measurement) -> tuple[str, float]:
    return one.level.scenario, one.level.rate or one.level.concurrency or 0


def _figures(one: Measurement) -> Iterator[tuple[str, float]]:
    """Yield the figures of a level, without the extremes and quartiles that the server would take long to store."""
    yield from ((name, value) for name, value in one.figures.items() if not _MINOR.search(name))
    yield from ((f"condition.{name}", value) for name, value in one.conditions.items())
    yield "load.rate" if one.level.rate else "load.concurrency", float(one.level.rate or one.level.concurrency or 0)


def _trial_figures(trial: Trial) -> Iterator[tuple[str, float]]:
    if trial.score is not None:
        yield from ((f"value.{name}", value) for name, value in trial.score.values.items())
    yield from ((f"seconds.{phase}", value) for phase, value in trial.seconds.items())
    if trial.gpus is not None:
        yield "gpus", float(trial.gpus)


def _ended_ms(path: Path, trial: Trial) -> int:
    """Return when a trial ended, by the last change in its folder, or now."""
    times = [file.stat().st_mtime for file, _ in _files(StudyFolder(path).trial_folder(trial.number))]
    return round(max(times, default=time.time()) * 1000)


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of a trial, and the folder of each in MLflow."""
    for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if file.is_file() and not file.is_symlink() and 0 < file.stat().st_size <= _MOST_BYTES:
            yield file, str(Path("artifacts") / file.parent.relative_to(folder))


def _page(study: WatchedStudy) -> str:
    return f'<!doctype html><meta charset="utf-8"><title>{study.path.name}</title>{study.report().to_html()}'
