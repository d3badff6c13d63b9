"""A study that this process does not work on: finished, interrupted, or running in another process."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune_nb.engines.registry import engine_of_study, space_for
from autotune_nb.errors import AutotuneError, StudyError, StudyNotFoundError
from autotune_nb.handle import StudyHandle
from autotune_nb.recorded import RecordedTable
from autotune_nb.results.recording import table_of_study
from autotune_nb.run import Run, live_run
from autotune_nb.runner.assembly import replayed_space
from autotune_nb.runner.live import RunningTrial
from autotune_nb.runner.runner import RunState
from autotune_nb.runner.single_stop import require_running
from autotune_nb.secrets.references import command_text
from autotune_nb.study import (
    DamagedStorageError,
    StorageBusyError,
    StudyFolder,
    StudyReader,
    to_results,
)
from autotune_nb.study.command_files import give_command
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.study.storage_url import is_shared
from autotune_nb.study.worker import RunCommand
from autotune_nb.task.external_results import is_imported
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState

if TYPE_CHECKING:
    from autotune_nb.search import Promise

#: How often a shared study is read at most, in seconds.
_SHARED_POLL_S = 2.0
_WORKING = ("starting", "running", "paused", "stopping")


class OpenedStudy(StudyHandle):
    """A study to read and steer, as returned by ``open``. ``poll`` reads what another process changed."""

    def __init__(
        self,
        folder: str | Path,
        *,
        storage: str | None = None,
        begin: Callable[[StudyHandle], Run] | None = None,
    ) -> None:
        """Raises StudyNotFoundError if the folder holds no study, StudyError if it cannot be read."""
        self._folder = StudyFolder(folder)
        self._folder.require_imported()
        if not self._folder.exists:
            raise StudyNotFoundError(_not_found_message(self._folder.path))
        self.storage = storage
        self._begin = begin
        self._task = self._folder.task()
        self._engine = engine_of_study(self._task)
        self._space = space_for(self._task, self._engine)
        self._reader = StudyReader(self._task, self._space, self._folder, storage)
        self._lock = threading.Lock()
        self._last_read: object = None
        self._version = 0
        self._running: tuple[RunningTrial, ...] = ()
        self._notices: tuple[tuple[float, str], ...] = ()
        self._promise: Promise | None = None
        self._lost = ""
        #: The space of the edits, and the recorded configurations of it.
        self._replayed: tuple[SearchSpace, SearchSpace] | None = None
        #: Of a shared study: when it was last read, the workers that are alive, and their last command.
        self._shared = is_shared(self._folder.storage(storage))
        self._shared_read_at = 0.0
        self._last_live: dict[str, Any] | None = None
        self._workers: tuple[str, ...] = ()
        self._command = ""
        self._refresh()

    @property
    def task(self) -> Task:
        return self._task

    @property
    def path(self) -> Path:
        return self._folder.path

    @property
    def state(self) -> RunState | str:
        return self._state

    @property
    def history(self) -> tuple[Trial, ...]:
        return self._trials

    @property
    def running(self) -> tuple[RunningTrial, ...]:
        return self._running

    @property
    def notices(self) -> tuple[tuple[float, str], ...]:
        return self._notices

    @property
    def promise(self) -> Promise | None:
        return self._promise

    @property
    def lost(self) -> str:
        return self._lost

    @property
    def steering(self) -> Steering:
        return self._steering

    @property
    def _searched_space(self) -> SearchSpace:
        space, table = self.steering.space, self._task.deploy.table
        if table is None:
            return space
        if self._replayed is None or self._replayed[0] is not space:
            self._replayed = (space, replayed_space(self._task, space, read_recorded(table)))
        return self._replayed[1]

    @property
    def elapsed_s(self) -> float:
        return self._elapsed_s

    @property
    def end_reason(self) -> str:
        return self._end_reason

    @property
    def error(self) -> BaseException | None:
        return None

    @property
    def version(self) -> int:
        return self._version

    @property
    def elsewhere(self) -> str | None:
        if self._workers:
            return ", ".join(self._workers)
        return self._folder.owner() if self._busy else None

    @property
    def has_workers(self) -> bool:
        return bool(self._workers)

    def start(self) -> Run:
        """Resume the study and return its run at once.

        Raises StudyBusyError if another process works on it, and what ``tune`` raises.
        """
        assert self._begin is not None, "not created by at.open"
        return self._begin(self)

    def stop(self, *, now: bool = False, wait_s: float = 0.0) -> None:
        """Stop its run, also in another process, of a shared study in all workers; with ``now`` kill the engines.

        Waits up to ``wait_s`` seconds for a run of this process. Raises StudyError if no process works on the study.
        """
        if not self._order("stop_now" if now else "stop"):
            self._run().stop(now=now, wait_s=wait_s)

    def stop_trial(self, number: int) -> None:
        """Stop one trial of its run, also in another process; the run continues, and the trial counts as failed.

        Raises TaskError if it is not running, StudyError if no process works on the study.
        """
        if live_run(self.path) is None and self.elsewhere is not None:
            require_running(self.history, number)
        if not self._order("stop_trial", number):
            self._run().stop_trial(number)

    def pause(self) -> None:
        """Pause its run, also in another process, of a shared study in all workers. Raises StudyError without one."""
        if not self._order("pause"):
            self._run().pause()

    def resume(self) -> None:
        """Continue after ``pause``. Raises StudyError if no process works on it."""
        if not self._order("resume"):
            self._run().resume()

    def _order(self, command: str, trial: int | None = None) -> bool:
        """Give a command to the processes that work on the study elsewhere; return False if there are none."""
        if live_run(self.path) is not None:
            return False
        if self._workers:
            with self._lock:
                self._reader.order(command, trial)
                self._shared_read_at = 0.0
            return True
        if not self._folder.busy:
            return False
        by = f"process {os.getpid()} on {socket.gethostname()}"
        give_command(self.path, RunCommand(command, by, trial=trial))
        return True

    def _run(self) -> Run:
        run = live_run(self.path)
        if run is not None:
            return run
        raise StudyError(f"{self.path}: no process works on it; start() resumes it")

    def poll(self) -> None:
        with self._lock, contextlib.suppress(AutotuneError):
            self._refresh()

    def _refresh(self) -> None:
        busy = self._folder.busy
        live_data = self._folder.read_live() if busy else None
        now_read = (busy, live_data, self._folder.stamp)
        if self._shared:
            # Its workers are on any host; each read is a dozen queries.
            if time.monotonic() - self._shared_read_at < _SHARED_POLL_S and live_data == self._last_live:
                return
            self._shared_read_at, self._last_live = time.monotonic(), live_data
        elif now_read == self._last_read and not (busy and self._folder.storage(self.storage)):
            return
        self._busy = busy
        self._read(busy)
        live = _parse_live(live_data)
        if live is not None:
            self._state: RunState | str = live.state
            self._notices = live.notices
            self._promise = live.promise
        elif self._workers:
            self._state = RunState.PAUSED if self._command == "pause" else RunState.RUNNING
        elif busy:
            self._state = RunState.RUNNING
        else:
            last = self._last_run.state if self._last_run else "new"
            self._state = "interrupted" if last in _WORKING else RunState(last) if last in list(RunState) else "new"
        self._running = live.running if live is not None else ()
        # A locked database is read again, although its file does not change when it is unlocked.
        self._last_read = None if self._locked else now_read
        self._version += 1

    def _read(self, busy: bool) -> None:
        lost, locked = "", False
        try:
            stored = self._reader.read()
        except (DamagedStorageError, StorageBusyError, StudyNotFoundError) as error:
            found = None if busy else self._reader.read_results(error)
            if found is None:
                raise
            stored, lost = found
            locked = isinstance(error, StorageBusyError)
            if stored.last_run is None or stored.last_run.state not in list(RunState):
                raise
        last_run = stored.last_run
        if last_run is None and not busy:
            last_run = self._reader.last_run_of_results()
        # A trial that is not stored as ended is running if a process works on the study, otherwise interrupted.
        if self._shared:
            self._trials = stored.trials
        else:
            self._trials = tuple(map(_as_running if busy else _as_interrupted, stored.trials))
        self._workers, self._command = stored.workers, stored.command
        self._numbers_by_edit = stored.trial_numbers_by_edit
        self._steering = stored.steering
        self._elapsed_s, self._end_reason = stored.elapsed_s, stored.end_reason
        self._last_run, self._lost, self._locked = last_run, lost, locked

    @property
    def _trial_numbers_by_edit(self) -> Mapping[str, int]:
        return self._numbers_by_edit

    def _command_of(self, trial: Trial) -> str | None:
        if is_imported(self._task):
            return None
        last = self._last_run
        if last is not None and last.best == trial.number and last.command:
            # As the run wrote it: this process may have another working directory, or no engine installed.
            return last.command
        return command_text(self.command(trial.params))

    def _manifest_of(self, trial: Trial) -> str | None:
        return None if is_imported(self._task) else self.manifest(trial.params)

    def results(self) -> dict[str, Any]:
        return to_results(
            self.path,
            self._task,
            self._trials,
            self._numbers_by_edit,
            self._steering.edits,
            state=str(self.state),
            elapsed_s=self.elapsed_s,
            end_reason=self.end_reason,
            command=self._command_of,
        )

    def _steer(self, edit: Edit) -> None:
        with self._lock:
            study = self._reader.open()
            # Other processes may have added edits meanwhile.
            study.apply_new_edits()
            study.steer(edit)
            self._steering = study.steering
            self._version += 1


def _not_found_message(path: Path) -> str:
    """The message for a folder without a study; it names studies in its subfolders, since users confuse the two."""
    message = f"there is no study in {path}"
    if not path.exists():
        return f"{message}: there is no such folder"
    names = sorted(file.parent.name for file in path.glob("*/study.json"))
    if not names:
        return message
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{message}; below it there {'are' if names[1:] else 'is'} {', '.join(names[:3])}{more}"


@dataclass(frozen=True)
class _LiveState:
    state: RunState
    running: tuple[RunningTrial, ...]
    notices: tuple[tuple[float, str], ...]
    promise: Promise | None


def _parse_live(data: dict[str, Any] | None) -> _LiveState | None:
    """Parse the state of a run in another process; None if there is none or it has an unknown form."""
    if not data:
        return None
    try:
        running = tuple(RunningTrial.from_dict(one) for one in data["running"])
        notices = tuple((float(at), str(text)) for at, text in data["notices"])
        from autotune_nb.search import Promise

        # A run of a previous version writes none.
        promise = data.get("promise")
        promised = None if promise is None else Promise(float(promise["gain"]), float(promise["seconds"]))
        return _LiveState(RunState(data["state"]), running, notices, promised)
    except (KeyError, TypeError, ValueError):
        return None


def _as_interrupted(trial: Trial) -> Trial:
    """Return the trial with state interrupted instead of running, for a study that no process works on."""
    return trial.with_(state=TrialState.INTERRUPTED) if trial.state is TrialState.RUNNING else trial


def _as_running(trial: Trial) -> Trial:
    """Return the trial with state running instead of interrupted, for a study that a process works on."""
    return trial.with_(state=TrialState.RUNNING) if trial.state is TrialState.INTERRUPTED else trial


def read_recorded(source: str | Path) -> RecordedTable:
    """Return the recorded table of a study's folder, or of a CSV or parquet file in long form. Raises StudyError."""
    path = Path(source).expanduser()
    if path.is_dir():
        return table_of_study(live_run(StudyFolder(path).path) or OpenedStudy(path), name=str(source))
    return replace(RecordedTable.of_file(path), name=str(source))
