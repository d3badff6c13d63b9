"""Sends the trials of a run to an MLflow server as they end, in a thread."""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
from collections.abc import Callable

from autotune_nb import events
from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.trial.trial import Trial
from autotune_nb.watching import mlflow_export
from autotune_nb.watching.mlflow_export import MlflowStudy, server_name
from autotune_nb.watching.watcher import WatchedStudy

#: How long the end of a run waits until everything is sent.
END_S = 60.0


class MlflowTracking:
    """A watcher that sends each trial. What a server that is away did not get is sent at the end, or by an export."""

    def __init__(
        self,
        study: WatchedStudy,
        uri: str,
        experiment: str,
        notify: Callable[[str], None],
        others_go_on: Callable[[], bool] = lambda: False,
    ) -> None:
        self._study = study
        self._uri = uri
        self._experiment = experiment
        self._notify = notify
        self._others_go_on = others_go_on
        self._trials: queue.SimpleQueue[Trial | None] = queue.SimpleQueue()
        self._runs: MlflowStudy | None = None
        self._is_away, self._is_last = False, True
        # A daemon: no server keeps a program from ending.
        self._thread = threading.Thread(target=self._send_on, name="autotune_nb-mlflow", daemon=True)

    def __call__(self, event: events.Event) -> None:
        if self._thread.ident is None:
            self._thread.start()
        if isinstance(event, events.TrialEnded) and event.trial.state.finished:
            self._trials.put(event.trial)

    async def close(self, error: BaseException | None) -> None:
        if self._thread.ident is None:
            return
        self._is_last = not await asyncio.to_thread(self._others_go_on)
        self._trials.put(None)
        deadline = asyncio.get_running_loop().time() + END_S
        while self._thread.is_alive() and asyncio.get_running_loop().time() < deadline:
            await asyncio.to_thread(self._thread.join, 0.5)
        if self._thread.is_alive():
            self._notify(f"MLflow at {server_name(self._uri)} takes longer than {END_S:g} s; {self._later}")

    @property
    def _later(self) -> str:
        return f"what is missing there is sent by: autotune-nb export {self._study.path} --as mlflow"

    def _send_on(self) -> None:
        # The client's import takes seconds: while the first engine starts, not while it is measured.
        self._try(lambda runs: runs.open(running=True), "the study")
        while (trial := self._trials.get()) is not None:
            self._try(functools.partial(self._send, trial), f"trial {trial.number}")
        if not self._is_last:
            # The last worker sends whatever is missing, and the end.
            return
        self._is_away = False
        self._try(lambda runs: runs.send_all(ended=True), "the end of the run", last=True)

    @staticmethod
    def _send(trial: Trial, runs: MlflowStudy) -> None:
        runs.open(running=True)
        runs.send(trial)
        runs.send_best()

    def _try(self, work: Callable[[MlflowStudy], object], what: str, *, last: bool = False) -> None:
        try:
            if self._runs is None:
                self._runs = MlflowStudy(mlflow_export.connect(self._uri), self._study, self._experiment)
            work(self._runs)
        except Exception as error:  # noqa: BLE001 - whatever a server does, the run goes on
            if not self._is_away:
                reason = " ".join(str(error).split())[:200]
                later = self._later if last else "what it misses is sent when it is back, at the latest at the end"
                self._notify(scrub(f"MLflow at {server_name(self._uri)} did not take {what}: {reason}; {later}"))
            self._is_away = True
            # What the server has of the last request is read anew.
            self._runs = None
        else:
            self._is_away = False
