"""A study that this process does not work on: finished, interrupted, or worked on by another process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune_nb.engines.registry import engine_of_study, space_for
from autotune_nb.errors import AutotuneError, StudyError, StudyNotFoundError
from autotune_nb.handle import StudyHandle
from autotune_nb.run import Run, live_run
from autotune_nb.runner.live import RunningTrial
from autotune_nb.runner.runner import RunState
from autotune_nb.secrets.reference import command_text
from autotune_nb.study import StudyFolder, database_problem, recovery_text, trial_from_results
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.task.external_results import measured_elsewhere
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState

if TYPE_CHECKING:
    from autotune_nb.study import Study

_WORKING = ("starting", "running", "paused", "stopping")


class OpenedStudy(StudyHandle):
    """A study to look at and to steer. What another process does with it is followed by ``poll``."""

    def __init__(
        self,
        folder: str | Path,
        *,
        storage: str | None = None,
        begin: Callable[[StudyHandle], Run] | None = None,
    ) -> None:
        """Raises StudyNotFoundError where there is none, StudyError where it cannot be read."""
        self._folder = StudyFolder(folder)
        self._folder.require_imported()
        if not self._folder.exists:
            raise StudyNotFoundError(_no_study(self._folder.path))
        self.storage = storage
        self._begin = begin
        self._task = self._folder.task()
        self._engine = engine_of_study(self._task)
        self._space = space_for(self._task, self._engine)
        self._study: Study | None = None
        self._lock = threading.Lock()
        self._seen: object = None
        self._version = 0
        self._running: tuple[RunningTrial, ...] = ()
        self._notices: tuple[tuple[float, str], ...] = ()
        self._kept: dict[str, Any] | None = None
        self._lost = ""
        self._look()

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
    def lost(self) -> str:
        return self._lost

    @property
    def steering(self) -> Steering:
        return self._steering

    @property
    def elapsed_s(self) -> float:
        return self._elapsed_s

    @property
    def error(self) -> BaseException | None:
        return None

    @property
    def version(self) -> int:
        return self._version

    @property
    def elsewhere(self) -> str | None:
        return self._folder.owner() if self._busy else None

    def start(self) -> Run:
        """Go on with the study; its run, at once. Raises StudyBusyError where another process works on it, and what
        ``tune`` raises."""
        assert self._begin is not None, "made by at.open"
        return self._begin(self)

    def stop(self, *, now: bool = False, wait_s: float = 0.0) -> None:
        """Stop its run, where that is in this process. Raises StudyError where it is not."""
        self._run().stop(now=now, wait_s=wait_s)

    def pause(self) -> None:
        """Pause its run, where that is in this process. Raises StudyError where it is not."""
        self._run().pause()

    def resume(self) -> None:
        """Go on after ``pause``. Raises StudyError where its run is not in this process."""
        self._run().resume()

    def _run(self) -> Run:
        run = live_run(self.path)
        if run is not None:
            return run
        who = self._folder.owner() if self._folder.busy else None
        told = f"{who} works on it: stop it there" if who else "nobody works on it; start() goes on with it"
        raise StudyError(f"{self.path}: {told}")

    def poll(self) -> None:
        with self._lock, contextlib.suppress(AutotuneError):
            self._look()

    def _look(self) -> None:
        busy = self._folder.busy
        told = self._folder.read_live() if busy else None
        seen = (busy, told, self._folder.stamp)
        if seen == self._seen and not (busy and self._folder.storage(self.storage)):
            return
        self._busy = busy
        self._read(busy)
        live = _read_live(told)
        if live is not None:
            self._state: RunState | str = live.state
            self._notices = live.notices
        elif busy:
            self._state = RunState.RUNNING
        else:
            kept = RunState(self._kept["state"]) if self._kept else None
            self._state = "interrupted" if kept in _WORKING else kept or "new"
        self._running = live.running if live is not None else ()
        self._seen = seen
        self._version += 1

    def _read(self, busy: bool) -> None:
        # Torn, it only lacks what the database has.
        self._kept = None
        with contextlib.suppress(StudyError):
            kept = self._folder.read("results.json")
            self._kept = kept if kept is not None and kept.get("state") in list(RunState) else None
        self._lost = ""
        if self._study is None and self._kept is not None and not busy:
            lost = database_problem(self._folder, self._folder.storage(self.storage))
            if lost or self._current(self._kept):
                with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
                    self._read_results(self._kept)
                    if lost:
                        self._lost = (
                            f"{lost}. What is shown is what results.json has; to go on, {recovery_text(self._folder)}"
                        )
                    return
                # Damaged: the database has the rest.
                self._kept = {"state": self._kept["state"], "edits": (), "best": None}
        study = self._opened()
        study.reload()
        study.take_edits()
        self._trials = tuple(map(_running, study.trials)) if busy else study.trials
        self._steering = study.steering
        self._elapsed_s = study.elapsed_s

    def _read_results(self, kept: dict[str, Any]) -> None:
        # Nobody works on it, whatever was at work when they were written.
        trials = tuple(_ended(trial_from_results(one, kept["fingerprints"])) for one in kept["trials"])
        steering = Steering(self._task, self._space, [Edit.from_dict(one) for one in kept["edits"]])
        best = kept["best"]
        sound = isinstance(kept["elapsed_s"], int | float) and (best is None or isinstance(best["number"], int))
        if not sound or any(not _is_sound(trial) for trial in trials):
            raise ValueError("results.json is damaged")
        self._elapsed_s = float(kept["elapsed_s"])
        self._trials, self._steering = trials, steering

    def _current(self, kept: dict[str, Any]) -> bool:
        """Whether ``results.json`` may stand for the study's own database, which takes far longer to read."""
        if self._folder.storage(self.storage) is not None or kept["state"] in _WORKING:
            return False
        return self._folder.results_are_current

    def _opened(self) -> Study:
        if self._study is None:
            from autotune_nb.study import Study

            self._study = Study.view(self._task, self._space, self._folder, storage=self.storage)
        return self._study

    @property
    def _begun(self) -> Mapping[str, int]:
        if self._study is not None:
            return self._study.begun
        told = self._kept["edits"] if self._kept else ()
        return {edit["id"]: edit["trial"] for edit in told if "trial" in edit}

    def _best_command(self) -> str | None:
        best = self.best_trial
        if best is None or measured_elsewhere(self._task):
            return None
        told = self._kept.get("best") if self._kept else None
        if told and told["number"] == best.number and told.get("command"):
            # As the run itself told it: this process may stand in another folder, or lack the engine.
            return str(told["command"])
        return command_text(self.command(best.params))

    def _best_manifest(self) -> str | None:
        best = self.best_trial
        return self.manifest(best.params) if best is not None and not measured_elsewhere(self._task) else None

    def results(self) -> dict[str, Any]:
        state, elapsed_s, command = str(self.state), self.elapsed_s, self._best_command()
        return self._study_results(state, elapsed_s, command)

    def _study_results(self, state: str, elapsed_s: float, command: str | None) -> dict[str, Any]:
        if self._study is None and self._kept is not None:
            trials = [dict(one) for one in self._kept["trials"]]
            results = {**self._kept, "study": str(self.path), "state": state, "trials": trials}
        else:
            results = self._opened().results(state=state, elapsed_s=elapsed_s, command=command)
        for kept, trial in zip(results["trials"], self._trials, strict=False):
            kept["state"] = str(trial.state)
        return results

    def _steer(self, edit: Edit) -> None:
        with self._lock:
            study = self._opened()
            # What it leaves depends on what others have made of it meanwhile.
            study.take_edits()
            study.steer(edit)
            self._steering = study.steering
            self._version += 1

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        live = self.display.mimebundle(self) if self.display is not None else None
        return live or self.lasting_bundle()


def _no_study(path: Path) -> str:
    """That there is no study, and where some are: the folder that holds them is easily taken for one."""
    told = f"there is no study in {path}"
    if not path.exists():
        return f"{told}: there is no such folder"
    below = sorted(file.parent.name for file in path.glob("*/study.json"))
    more = f" and {len(below) - 3} more" if len(below) > 3 else ""
    return f"{told}; below it there {'are' if below[1:] else 'is'} {', '.join(below[:3])}{more}" if below else told


def _is_sound(trial: Trial) -> bool:
    numbers = (*trial.seconds.values(), *(trial.score.values.values() if trial.score else ()))
    return isinstance(trial.params, dict) and all(isinstance(number, int | float) for number in numbers)


@dataclass(frozen=True)
class _Live:
    state: RunState
    running: tuple[RunningTrial, ...]
    notices: tuple[tuple[float, str], ...]


def _read_live(told: dict[str, Any] | None) -> _Live | None:
    """What another process tells of its running trials; None where it does not, or in a way of its own."""
    try:
        running = tuple(RunningTrial.from_dict(one) for one in told["running"]) if told else ()
        notices = tuple((float(at), str(text)) for at, text in told["notices"]) if told else ()
        return _Live(RunState(told["state"]), running, notices) if told else None
    except (KeyError, TypeError, ValueError):
        return None


def _ended(trial: Trial) -> Trial:
    """What a trial that was running is once nobody works on the study."""
    return trial.with_(state=TrialState.INTERRUPTED) if trial.state is TrialState.RUNNING else trial


def _running(trial: Trial) -> Trial:
    """What an unfinished trial is while some process works on the study."""
    return trial.with_(state=TrialState.RUNNING) if trial.state is TrialState.INTERRUPTED else trial
