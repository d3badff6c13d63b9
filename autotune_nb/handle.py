"""The common base of ``Run`` and ``OpenedStudy``: reading a study, its reports and charts, and steering it."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from autotune_nb import events
from autotune_nb.deploy import Deployer
from autotune_nb.deploy.container.deployer import ContainerDeployer
from autotune_nb.engines.registry import engine_of_study
from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.reports.building import brief_report, chart_of, full_report
from autotune_nb.reports.charts import ChartKind
from autotune_nb.reports.drawing import Chart
from autotune_nb.reports.study_report import Report
from autotune_nb.results.capacity import HEADROOM, Capacity, Load
from autotune_nb.results.configurations import configuration_table
from autotune_nb.results.exporting import Best as Best
from autotune_nb.results.exporting import study_capacity
from autotune_nb.results.front import front_frame
from autotune_nb.results.suggestions import suggestions_frame
from autotune_nb.results.table import levels_frame, trials_frame
from autotune_nb.runner.assembly import deployer_for
from autotune_nb.runner.live import RunningTrial
from autotune_nb.runner.runner import RunState
from autotune_nb.study import StudyFolder
from autotune_nb.study.noted_trial import NotedTrial
from autotune_nb.study.steerable import SteerableStudy
from autotune_nb.study.steering import named_point
from autotune_nb.task.external_results import is_imported, require_engine
from autotune_nb.task.parameters import Value
from autotune_nb.task.space import SearchSpace
from autotune_nb.trial.configuration import Configuration
from autotune_nb.trial.formatting import counts_text
from autotune_nb.trial.trial import Trial
from autotune_nb.verdict import Verdict, chosen_configuration, study_verdict

if TYPE_CHECKING:
    import pandas as pd

    from autotune_nb.runner.suggestions import Suggester
    from autotune_nb.search import Promise


#: Public names that tab completion leaves out: what displays, exports and the command line call.
_NOT_LISTED = frozenset(
    {
        *("display", "elsewhere", "lasting_bundle", "lost", "notices", "path", "poll", "progress_lines", "promise"),
        *("has_workers", "steer", "storage", "subscribe", "version"),
    }
)


class Display(Protocol):
    """Shows studies as widgets in a notebook."""

    def show(self, study: StudyHandle) -> bool:
        """Display the widgets of a study; return False, without an output, if no front end shows widgets."""

    async def follow(self, study: StudyHandle) -> None:
        """Show the progress of a run in the cell that awaits it, until the run ends."""


class StudyHandle(SteerableStudy):
    """A study to read, show and steer. Every method may be called from any thread; none blocks a cell."""

    #: The URL of the Optuna storage, or None for the folder's own database. It may hold a password: never write it.
    storage: str | None = None
    #: Set by ``widgets`` in a notebook's kernel, otherwise None.
    display: ClassVar[Display | None] = None

    @property
    @abstractmethod
    def path(self) -> Path:
        """The study's folder."""

    @property
    @abstractmethod
    def state(self) -> RunState | str:
        """A ``RunState``, ``interrupted`` if the process of the run was killed, or ``new``."""

    @property
    @abstractmethod
    def history(self) -> tuple[Trial, ...]:
        """Every trial so far, as it is stored."""

    @property
    @abstractmethod
    def running(self) -> tuple[RunningTrial, ...]:
        """The running trials, with their phase, levels measured so far and log."""

    @property
    @abstractmethod
    def notices(self) -> tuple[tuple[float, str], ...]:
        """The latest notices, each with its time in epoch seconds."""

    @property
    def promise(self) -> Promise | None:
        """What the strategy expects of another trial while a run is going on; None if it does not predict that."""
        return None

    @property
    @abstractmethod
    def elapsed_s(self) -> float:
        """The seconds of all runs of the study together."""

    @property
    def ended(self) -> bool:
        """Whether no run of this process works on the study any more."""
        return True

    @property
    def end_reason(self) -> str:
        """Why the last run ended by itself, such as that its budget is spent; empty if that is unknown."""
        return ""

    @property
    @abstractmethod
    def error(self) -> BaseException | None:
        """The error that ended the run, or None."""

    @property
    @abstractmethod
    def version(self) -> int:
        """A number that grows with every change."""

    @abstractmethod
    def poll(self) -> None:
        """Read what another process changed, if anything did."""

    @abstractmethod
    def _command_of(self, trial: Trial) -> str | None:
        """Return the command line of a trial as its run wrote it, or None if it is unknown."""

    def _manifest_of(self, trial: Trial) -> str | None:
        return None

    def command(self, params: Mapping[str, Value]) -> list[str]:
        """Return the engine's command line for one configuration, on the engine's default port.

        Raises TaskError for an unknown parameter, or if the results were imported.
        """
        return self._deployer().command(self._named(params))

    def manifest(self, params: Mapping[str, Value]) -> str | None:
        """Return the InferenceService of one configuration as YAML, or None for a study of local processes."""
        return self._deployer().manifest(self._named(params))

    def compose(self, params: Mapping[str, Value]) -> str | None:
        """Return one configuration as a file for ``docker compose``, or None for a study without containers."""
        deployer, named = self._deployer(), self._named(params)
        return deployer.compose(named) if isinstance(deployer, ContainerDeployer) else None

    def _named(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Return the configuration under the names of the space; it need not set every parameter."""
        known = self.steering.full_space.parameters
        named = named_point(params)
        for name in named:
            if name not in known:
                raise UnknownNameError("parameter", name, known, field="point")
        return named

    def _deployer(self) -> Deployer:
        require_engine(self.task)
        # Used for its command line and manifest only; it starts nothing.
        return deployer_for(self.task, engine_of_study(self.task), study_label="", folder=self.path)

    @abstractmethod
    def results(self) -> dict[str, Any]:
        """Return the study in the form of ``results.json``."""

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.path

    @property
    def elsewhere(self) -> str | None:
        """The other process that works on the study, or None."""
        return None

    @property
    def has_workers(self) -> bool:
        """Whether workers of a shared study are alive elsewhere, which ``pause``, ``resume`` and ``stop`` command."""
        return False

    @property
    def lost(self) -> str:
        """Why the study is read-only: its database is missing and ``results.json`` is shown. Otherwise empty."""
        return ""

    @property
    def trials(self) -> pd.DataFrame:
        """Every trial so far, one row per trial; see ``table.trials_frame``."""
        return trials_frame(self.history, self.task.goal)

    def trial(self, number: int) -> NotedTrial:
        """Return a trial with its ``note`` and ``tags``, which may be set. Raises TaskError if there is none."""
        self.poll()
        found = next((one for one in self.history if one.number == number), None)
        if found is None:
            raise TaskError(f"there is no trial {number!r}; there are {len(self.history)}", field="trial")
        return NotedTrial(self, found)

    def filled_up(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Return a configuration with the parameters that it leaves out as in the best one, to enqueue it.

        Raises TaskError for an unknown parameter, or if nothing can fill it up.
        """
        named, best = self._named(params), self.best_trial
        space = self.steering.full_space.parameters
        missing = [name for name in space if name not in named]
        known = dict(best.params) if best is not None else {}
        if unknown := [name for name in missing if name not in known]:
            why = "the best configuration so far does not set it" if known else "there is no best configuration yet"
            raise TaskError(f"give {', '.join(unknown)} too: {why}", field="point")
        return {name: named[name] if name in named else known[name] for name in space}

    @property
    def configurations(self) -> pd.DataFrame:
        """One row per configuration, with the units in the names of columns; see ``results.configurations``."""
        task, notes = self.task, self.steering.notes
        tags = {number: one.tags for number, one in notes.items()}
        texts = {number: one.note for number, one in notes.items()}
        names = list(self.steering.full_space.parameters)
        engine = None if is_imported(task) else engine_of_study(task)
        return configuration_table(self.history, task.goal, task.confirmation, engine, names, tags, texts).frame()

    @property
    def levels(self) -> pd.DataFrame:
        """Every measurement so far, one row per trial and load level."""
        return levels_frame(self.history)

    @property
    def best(self) -> Best | None:
        """The best configuration so far that keeps every limit, with its command line, or None."""
        found = self.best_configuration
        if found is None:
            return None
        command, manifest = self._command_of(found.trial) or "", self._manifest_of(found.trial)
        return Best(found.trial.number, dict(found.params), found.figures, command, manifest)

    @property
    def best_trial(self) -> Trial | None:
        """The trial of the best configuration whose value is closest to the configuration's mean, or None."""
        found = self.best_configuration
        return found.trial if found is not None else None

    @property
    def best_configuration(self) -> Configuration | None:
        """The configuration to run, or None: the best mean over its starts that keeps every limit.

        Of several objectives it is the knee. Once a confirmation has ended it is the one that its verdict recommends.
        """
        return chosen_configuration(self.history, self.task.goal, self.task.confirmation)

    @property
    def front(self) -> pd.DataFrame:
        """The Pareto front of several objectives and its knee, one row per configuration; see ``front_frame``."""
        return front_frame(self.history, self.task.goal)

    @property
    def importances(self) -> dict[str, float]:
        """The share of each parameter in what distinguishes the best trials; empty before ten complete trials."""
        # Optuna takes a second to import.
        from autotune_nb.study.importance import importances

        return importances(self.history, self.steering.full_space, self.task.goal)

    def suggestions(self, n: int = 5) -> pd.DataFrame:
        """Return the configurations that the strategy ``auto`` would try next, without running them.

        There is one row per configuration, the first to try first: predicted figures with 90 % intervals, the expected
        gain over the best, and the reason; see ``suggestions.suggestions_frame``. It warns if nothing can be predicted
        yet, and if the study has another strategy.

        Raises TaskError for an invalid number, StudyError if the results were imported without a task.
        """
        from autotune_nb.runner.suggestions import SuggestionWarning

        suggested = self._suggester.suggest(self._searched_space, self.history, self.queue, n)
        for note in suggested.notes:
            warnings.warn(note, SuggestionWarning, stacklevel=2)
        return suggestions_frame(suggested.proposals, list(self.steering.full_space.parameters), self.task.goal)

    def skipped(self) -> list[str]:
        """Return in words which untried configurations ``auto`` skips, since they resemble trials that failed."""
        return self._suggester.skipped(self._searched_space, self.history)

    def reason(self, trial: Trial) -> str:
        """Return in one line why the configuration of a trial was chosen."""
        if trial.reason:
            return trial.reason
        if trial.baseline:
            return "the engine's default configuration, with which the others are compared"
        enqueued = trial.number in self._trial_numbers_by_edit.values()
        if is_imported(self.task) and not enqueued:
            return "it was imported"
        return "it was enqueued" if enqueued else f"by the strategy {self.task.strategy.sampler}"

    @cached_property
    def _suggester(self) -> Suggester:
        # NumPy is not needed to open a study.
        from autotune_nb.runner.suggestions import Suggester
        from autotune_nb.runner.warm_start import stored_warm_start

        warm = stored_warm_start(self.task, StudyFolder(self.path))
        return Suggester(self.task, engine_of_study(self.task), warm.studies if warm is not None else ())

    @property
    def _searched_space(self) -> SearchSpace:
        """The space of the next trials: with the edits, and of a replay the recorded configurations."""
        return self.steering.space

    def capacity(
        self,
        *,
        requests_per_s: float | None = None,
        concurrency: float | None = None,
        headroom: float = HEADROOM,
        scenario: str | None = None,
        trial: int | None = None,
    ) -> Capacity:
        """Return how many replicas of the best configuration, or that of ``trial``, carry a load within the limits.

        The load is in requests per second or concurrent requests, at its peak. ``headroom`` is the share of each
        replica's capacity that stays free. Nothing beyond the measured levels is assumed; see ``Capacity``.

        Raises TaskError for an invalid argument, StudyError if the levels do not show it.
        """
        return study_capacity(self, Load(requests_per_s, concurrency, headroom, scenario), trial=trial)

    def report(self) -> Report:
        """Return the report of the results so far: verdict, charts, trials, task and environment."""
        return full_report(self)

    def chart(self, kind: ChartKind = "latency") -> Chart:
        """Return a chart: ``latency`` against throughput, the objective's ``history``, parameters' ``importance``, its
        ``dependence`` on the most important ones as ``auto`` models it, or the ``front`` of several objectives.

        Its ``frame()`` returns the data, to plot it yourself. Raises ValueError for another kind.
        """
        return chart_of(self, kind)

    @property
    def verdict(self) -> Verdict:
        """Whether the best configuration is better than the engine's default, and how sure that is; prints as text."""
        return study_verdict(self.history, self.task.goal, self.task.confirmation)

    def subscribe(self, listener: events.Listener) -> Callable[[], None]:
        """Call a listener with every event, in the run's thread; returns a function that removes the listener."""
        return lambda: None

    def __dir__(self) -> list[str]:
        """List what people call, for tab completion, without what displays and other processes use."""
        return sorted({name for name in super().__dir__() if not name.startswith("_")} - _NOT_LISTED)

    def __repr__(self) -> str:
        replayed = f", {self.task.deploy.replayed}" if self.task.deploy.replayed else ""
        return f"<{type(self).__name__} {self.path.name!r}: {self.state}, {counts_text(self.history)}{replayed}>"

    @property
    def _shown_live(self) -> bool:
        """Whether the monitor is displayed for this handle where a front end shows widgets."""
        return True

    def _ipython_display_(self) -> None:
        if not (self._shown_live and self.display is not None and self.display.show(self)):
            # IPython then displays the text and HTML.
            raise NotImplementedError

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self.lasting_bundle()

    def lasting_bundle(self) -> dict[str, Any]:
        """Return the output to save in a notebook: text and script-free HTML."""
        if not any(t.state.finished for t in self.history):
            return {"text/plain": repr(self)}
        report = brief_report(self)
        text = "\n".join(filter(None, [repr(self), self.lost, report.text()]))
        return {"text/plain": text, "text/html": report.summary_html()}
