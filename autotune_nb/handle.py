"""What can be read of a study and done to it, whether this process works on it, another one does, or nobody."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from autotune_nb import events
from autotune_nb.deploy import Deployer
from autotune_nb.engines.registry import engine_of_study
from autotune_nb.errors import StudyError, TaskError, UnknownNameError
from autotune_nb.reports import plots
from autotune_nb.reports.charts import ChartKind, HistoryChart, ImportanceChart
from autotune_nb.reports.drawing import Chart
from autotune_nb.reports.study_report import Report
from autotune_nb.results.table import levels_frame, trials_frame
from autotune_nb.runner.assembly import deployer_for
from autotune_nb.runner.live import RunningTrial
from autotune_nb.runner.runner import RunState
from autotune_nb.study import StudyFolder
from autotune_nb.study.steering import (
    Edit,
    Steering,
    ban_edit,
    budget_edit,
    enqueue_edit,
    free_edit,
    named_point,
    narrow_edit,
    pin_edit,
)
from autotune_nb.task.external_results import require_engine
from autotune_nb.task.parameters import Value
from autotune_nb.task.sections import Budget
from autotune_nb.task.space import Point
from autotune_nb.task.task import Task
from autotune_nb.trial.formatting import counts_text
from autotune_nb.trial.trial import Trial, best_trial

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Best:
    """The best configuration, and how to run it.

    ``command`` is the engine's command line (empty where it was measured elsewhere), ``manifest`` its InferenceService
    as YAML to apply; None for a study of local processes.
    """

    number: int
    params: dict[str, Value]
    values: dict[str, float]
    command: str
    manifest: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.command


class _Unchanged:
    def __repr__(self) -> str:
        return "unchanged"


UNCHANGED: Any = _Unchanged()


class Display(Protocol):
    """Shows studies in a notebook's live front end."""

    def mimebundle(self, study: StudyHandle) -> dict[str, Any] | None:
        """The widgets that show a study; None where no front end shows widgets."""

    async def follow(self, study: StudyHandle) -> None:
        """Show the progress of a run in the cell that awaits it, until the run has ended."""


class StudyHandle(ABC):
    """A study to look at and to steer. Every method may be called from any thread; none blocks a cell."""

    #: An Optuna storage's URL, where the study does not live in its folder; with its password, never written down.
    storage: str | None = None
    #: Set in a notebook's kernel, by ``widgets``; None elsewhere.
    display: ClassVar[Display | None] = None

    @property
    @abstractmethod
    def task(self) -> Task:
        """The task that is worked on."""

    @property
    @abstractmethod
    def path(self) -> Path:
        """The study's folder."""

    @property
    @abstractmethod
    def state(self) -> RunState | str:
        """Where the work on it stands: a ``RunState``, ``interrupted`` where its process was killed, or ``new``."""

    @property
    @abstractmethod
    def history(self) -> tuple[Trial, ...]:
        """Every trial so far, as it is kept."""

    @property
    @abstractmethod
    def running(self) -> tuple[RunningTrial, ...]:
        """The trials that run now: phase, levels measured so far, log."""

    @property
    @abstractmethod
    def notices(self) -> tuple[tuple[float, str], ...]:
        """The latest lines for the person who watches, each with its time (epoch seconds)."""

    @property
    @abstractmethod
    def steering(self) -> Steering:
        """What people's edits come to: the space that is left, the queue, the budget."""

    @property
    @abstractmethod
    def elapsed_s(self) -> float:
        """Seconds of all runs of the study."""

    @property
    def ended(self) -> bool:
        """Whether no run of this process works on it any more."""
        return True

    @property
    @abstractmethod
    def error(self) -> BaseException | None:
        """What ended the work before its time; None while it goes on or where nothing did."""

    @property
    @abstractmethod
    def version(self) -> int:
        """Grows whenever there is something new to show."""

    @abstractmethod
    def poll(self) -> None:
        """Look for news where they do not come by themselves. May read files and a database: not for a cell."""

    @property
    @abstractmethod
    def _begun(self) -> Mapping[str, int]:
        """The trial of each enqueued configuration that has one, by the edit's id."""

    @abstractmethod
    def _best_command(self) -> str | None: ...

    def _best_manifest(self) -> str | None:
        return None

    def command(self, params: Mapping[str, Value]) -> list[str]:
        """The command line to paste for one configuration, on the engine's usual port.

        Raises TaskError for a parameter that the study does not have, or where it was measured elsewhere.
        """
        return self._deployer().command(self._named(params))

    def manifest(self, params: Mapping[str, Value]) -> str | None:
        """One configuration's InferenceService as YAML to apply; None for a study of local processes."""
        return self._deployer().manifest(self._named(params))

    def _named(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """The configuration by the names of the space; what it leaves out is not set."""
        known = self.steering.whole.parameters
        named = named_point(params)
        for name in named:
            if name not in known:
                raise UnknownNameError("parameter", name, known, field="point")
        return named

    def _deployer(self) -> Deployer:
        require_engine(self.task)
        # To ask only: it starts nothing.
        return deployer_for(self.task, engine_of_study(self.task), study_label="", folder=self.path)

    @abstractmethod
    def results(self) -> dict[str, Any]:
        """As ``results.json`` has it."""

    @abstractmethod
    def _steer(self, edit: Edit) -> None: ...

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.path

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Every edit of the study, the earliest first."""
        return self.steering.edits

    @property
    def queue(self) -> list[Point]:
        """The enqueued configurations that were not tried yet."""
        return [point for _, point in self.steering.waiting(self._begun)]

    @property
    def elsewhere(self) -> str | None:
        """Who works on it, where that is another process; None where nobody else does."""
        return None

    @property
    def lost(self) -> str:
        """Why it can only be looked at: what holds its trials is gone, and ``results.json`` is shown; else empty."""
        return ""

    @property
    def budget(self) -> Budget:
        """The budget, as far as edits have changed it."""
        return self.steering.budget

    @property
    def num_trials(self) -> int | None:
        """How many trials there are to be, the baseline counted in; None where only the space's end stops it."""
        return self.steering.num_trials

    @property
    def trials(self) -> pd.DataFrame:
        """Every trial so far, one row each; see ``table.trials_frame``."""
        return trials_frame(self.history, self.task.goal)

    @property
    def levels(self) -> pd.DataFrame:
        """Every measurement so far, one row a trial and load level."""
        return levels_frame(self.history)

    @property
    def best(self) -> Best | None:
        """The best configuration so far that keeps every limit, with its command line; None where there is none."""
        trial = self.best_trial
        if trial is None or trial.score is None:
            return None
        command, manifest = self._best_command() or "", self._best_manifest()
        return Best(trial.number, dict(trial.params), dict(trial.score.values), command, manifest)

    @property
    def best_trial(self) -> Trial | None:
        """The best trial so far that keeps every limit."""
        return best_trial(self.history, self.task.goal)

    @property
    def importances(self) -> dict[str, float]:
        """The share of each parameter in what sets the best trials apart; empty before ten complete trials."""
        # Optuna takes a second to import.
        from autotune_nb.study.importance import importances

        return importances(self.history, self.steering.whole, self.task.goal)

    def report(self) -> Report:
        """What was found so far: the answer, charts, trials, what was asked and what it ran on."""
        best = self.best
        return Report(
            trials=self.history,
            best=self.best_trial,
            objective=self.task.goal,
            command=best.command if best else None,
            edits=self.edits,
            task=self.task,
            importances=self.importances,
            name=self.path.name,
            state=str(self.state),
            elapsed_s=self.elapsed_s,
            manifest=best.manifest if best else None,
            storage=self._kept_in(),
        )

    def chart(self, kind: ChartKind = "latency") -> Chart:
        """Latency against throughput, a curve a trial; the objective's ``history``; each parameter's ``importance``.

        Its ``frame()`` is the data, for a plot of your own. Raises ValueError for another kind.
        """
        if kind == "latency":
            return self._brief().chart()
        if kind == "history":
            return HistoryChart(plots.history(self.history, self.task.goal), self.task.goal.direction)
        if kind == "importance":
            return ImportanceChart(self.importances)
        raise ValueError(f"there is no chart {kind!r}; there are latency, history and importance")

    def _kept_in(self) -> str | None:
        """The URL of the storage that keeps it, without a password; None for its own folder."""
        with contextlib.suppress(StudyError):
            about = StudyFolder(self.path).about()
            return about["storage"] if about is not None else None
        return None

    @property
    def verdict(self) -> str:
        """The answer in a sentence or two."""
        return self._brief().verdict

    def _brief(self) -> Report:
        """The report without what takes its time."""
        best = self.best
        return Report(self.history, self.best_trial, self.task.goal, best.command if best else None, self.edits)

    def enqueue(self, params: dict[str, Value]) -> Edit:
        """Try a configuration next; it names every parameter. It counts against the budget of trials.

        Raises TaskError where the space or an edit does not allow it.
        """
        return self.steer(enqueue_edit(params))

    def ban(self, parameter: str, *values: Value) -> Edit:
        """Leave values of a parameter out from now on. Raises TaskError where nothing would be left."""
        return self.steer(ban_edit(parameter, *values))

    def pin(self, parameter: str, value: Value) -> Edit:
        """Try only this value of a parameter from now on. Raises TaskError where the space does not have it."""
        return self.steer(pin_edit(parameter, value))

    def narrow(
        self,
        parameter: str,
        low: float | None = None,
        high: float | None = None,
        *,
        values: Sequence[Value] = (),
    ) -> Edit:
        """Try only part of a parameter's range, or only these of its values, from now on. Raises TaskError."""
        return self.steer(narrow_edit(parameter, low, high, values))

    def free(self, parameter: str) -> Edit:
        """Take back every edit of a parameter. Raises TaskError for one that is not known."""
        return self.steer(free_edit(parameter))

    def set_budget(
        self, *, trials: int | None = UNCHANGED, minutes: float | None = UNCHANGED, patience: int | None = UNCHANGED
    ) -> Edit:
        """Change when to stop; None lifts a bound. It holds until the task itself asks for another budget.

        Raises TaskError for what is no budget.
        """
        asked = {"trials": trials, "minutes": minutes, "patience": patience}
        return self.steer(budget_edit(self.task, **{k: v for k, v in asked.items() if v is not UNCHANGED}))

    def steer(self, edit: Edit) -> Edit:
        """Make an edit an entry of the study; it counts from the next trial on. Raises TaskError, StudyError."""
        if not isinstance(edit, Edit):
            raise TaskError(f"expected an Edit, as enqueue, ban, narrow and pin return one, not {edit!r}", field="edit")
        steering = self.steering
        edit = steering.last(edit)
        steering.with_(edit)
        self._steer(edit)
        return edit

    def subscribe(self, listener: events.Listener) -> Callable[[], None]:
        """Be told every event from now on, in the run's thread; what is returned ends it."""
        return lambda: None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path.name!r}: {self.state}, {counts_text(self.history)}>"

    def lasting_bundle(self) -> dict[str, Any]:
        """What it shows where outputs have to last: text and script-free HTML."""
        if not any(t.state.finished for t in self.history):
            return {"text/plain": repr(self)}
        report = self._brief()
        told = "\n".join(filter(None, [repr(self), self.lost, report.text()]))
        return {"text/plain": told, "text/html": report.summary_html()}
