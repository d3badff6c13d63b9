"""The monitor's widgets for one study, and the thread that updates them: only on change, on average twice a second."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import ipywidgets

from autotune_nb.errors import AutotuneError
from autotune_nb.handle import StudyHandle
from autotune_nb.run import Run, live_run
from autotune_nb.runner.runner import RunState
from autotune_nb.trial.trial import Trial
from autotune_nb.widgets import _panels
from autotune_nb.widgets._budget_and_edits import BudgetAndEdits
from autotune_nb.widgets._charts import ChartInput, Charts
from autotune_nb.widgets._disclosure import Disclosure
from autotune_nb.widgets._header import Header
from autotune_nb.widgets._pace import EVERY_S, Pace
from autotune_nb.widgets._recomputed import Recomputed
from autotune_nb.widgets._running_strip import RunningStrip
from autotune_nb.widgets._saved_table import SavedTable
from autotune_nb.widgets._selection import Selection
from autotune_nb.widgets._state_announcer import StateAnnouncer
from autotune_nb.widgets._style import stylesheet
from autotune_nb.widgets._texts import send_texts, text_widget
from autotune_nb.widgets._trial_page import TrialPage
from autotune_nb.widgets._trial_table import TrialTable

_log = logging.getLogger(__name__)
T = TypeVar("T")
#: Events that come within this time are drawn together.
_GATHER_S = 0.03
#: With more ended trials, the first redraw comes before what takes long to compute.
_MANY = 500


class StudyView:
    """The widgets of one study; they are changed by the view's own thread and by clicks."""

    def __init__(self, handle: StudyHandle) -> None:
        self.handle = handle
        self.redraws = 0
        self.saved = SavedTable()
        #: What the charts, the table and the trial page share.
        self.selection = Selection()
        self.drawn = threading.Event()
        self._pace = Pace()
        self._wake = threading.Event()
        self._clicked = threading.Event()
        self._unsubscribe: Callable[[], None] = lambda: None
        self._jobs: list[Callable[[], None]] = []
        self._drawn: object = None
        #: Errors of the parts that could not be drawn.
        self._failed: dict[str, str] = {}
        self._over = self._only_logs = self._table_waits = False
        self._importances: Recomputed[dict[str, float]] = Recomputed({}, self._wake.set)
        self._skipped: Recomputed[list[str]] = Recomputed([], self._wake.set)
        self._make_widgets()
        self.selection.observe(lambda _change: self._redraw_now(), "trials")
        self.follow(handle)
        threading.Thread(target=self._update_loop, name="autotune_nb-monitor", daemon=True).start()

    def _make_widgets(self) -> None:
        self.header = Header(lambda: self.handle, self._start, self._redraw_now)
        self.strip = RunningStrip(self._redraw_now)
        self.notices, self.skipped = text_widget("notices"), text_widget("skipped")
        self.page = TrialPage(self.selection, lambda: self.handle, self._redraw_now)
        self.charts = Charts(self.selection, self._redraw_now, self.page.act)
        self.table = TrialTable(self.selection, self.page.act)
        self.budget = BudgetAndEdits(self.page.act)
        self.announcer = StateAnnouncer()
        try_next = self.page.try_next
        budget = Disclosure(
            "Budget and edits",
            self.budget.box,
            "at-monitor-budget",
            beside=[try_next.button],
            below=[try_next.box],
        )
        self.box = ipywidgets.VBox(
            [
                stylesheet(self.saved.css(self.handle)),
                self.header.box,
                self.strip.box,
                self.notices,
                self.charts.box,
                self.skipped,
                self.table.box,
                self.page.box,
                budget.box,
                *([self.announcer.box] if self.announcer.box is not None else []),
            ]
        )
        self.box.add_class("at-root")
        self.box.add_class("at-monitor")

    def follow(self, handle: StudyHandle) -> None:
        """Show this run or study from now on."""
        self._unsubscribe()
        self.handle = handle
        # The folder may have been deleted and contain another study.
        numbers = {trial.number for trial in handle.history}
        self.selection.trials = tuple(number for number in self.selection.trials if number in numbers)
        self._importances.reset()
        self._skipped.reset()
        self.strip.follow()
        self._unsubscribe = handle.subscribe(lambda _event: self._wake.set())
        self._wake.set()

    def _redraw_now(self) -> None:
        """Redraw after a click, without waiting for earlier redraws."""
        self._wake.set()
        self._clicked.set()

    def _start(self) -> None:
        # Opening a study may take long, so it is done in the view's thread; a second click has no effect.
        self.header.buttons.start.disabled, self._drawn = True, None
        self._jobs.append(self._resume_study)

    def _resume_study(self) -> None:
        from autotune_nb.session import resume_study

        self.follow(resume_study(self.handle))

    def _update_loop(self) -> None:
        while True:
            try:
                while self._jobs:
                    self._jobs.pop(0)()
            except Exception as error:  # noqa: BLE001 - shown in the monitor
                self.header.message = f"{error}" or type(error).__name__
            sent = 0
            try:
                sent = self._redraw()
            except Exception:  # noqa: BLE001 - the view draws again at the next change
                _log.exception("the monitor could not be drawn")
            self.drawn.set()
            if sent or not self._only_logs:
                self._pace.redrawn(sent)
            if not self._table_waits:
                self._clicked.wait(self._pace.wait_s)
            self._wake.wait(self._poll_interval_s())
            self._clicked.wait(_GATHER_S)
            self._clicked.clear()
            self._wake.clear()

    def _poll_interval_s(self) -> float | None:
        """How soon to poll without an event: growing logs and other processes send none."""
        if self.handle.running:
            return max(EVERY_S, self._pace.rest_s)
        pending = [one.due_in_s for one in (self._importances, self._skipped) if one.pending]
        if pending:
            return min(pending)
        if isinstance(self.handle, Run):
            # The last event comes before the run has taken everything down and has its error.
            return None if self._over or not self.handle.state.ended else EVERY_S
        return 2 * EVERY_S

    def _trials(self) -> list[Trial]:
        """All trials, the running ones with the levels they have measured."""
        measured = {one.trial.number: one.trial.measurements for one in self.handle.running}
        return [t.with_(measurements=measured[t.number]) if t.number in measured else t for t in self.handle.history]

    def _redraw(self) -> int:
        """Send what changed and return about how many bytes it was."""
        run = live_run(self.handle.path)
        if run is not None and run is not self.handle:
            # A run that was started elsewhere in this process has more details than the files and can be stopped.
            self.follow(run)
        handle = self.handle
        handle.poll()
        gone = not (handle.path / "study.json").exists()
        self._over = isinstance(handle, Run) and handle.ended
        clicks = (self.charts.shown, self.selection.trials)
        key = (handle, handle.version, self._over, gone, self.header.message, handle.elsewhere, *clicks)
        if key == self._drawn and not (self._importances.due or self._skipped.due):
            # Only a log may have grown, or the table waits for the first redraw.
            self._only_logs = not self._table_waits
            sent = self.strip.update(handle) + self._draw_waiting_table()
            self.redraws += bool(sent)
            return sent
        self._drawn, self._only_logs = key, False
        trials = self._trials()
        given = ChartInput(handle, trials, self.selection.trials, lambda: self._importance(trials))
        # A level that has ended is seen first: its point, then what runs now, then what takes long.
        sent = self._part("chart", lambda: self.charts.update(given))
        sent += self._part("running trials", lambda: self.strip.update(handle))
        sent += self._part("header", lambda: self.header.update(handle, gone=gone, starting=bool(self._jobs)))
        sent += self._part("trial page", lambda: self.page.update(handle, trials))
        sent += self._part("budget and edits", lambda: self.budget.update(handle))
        # The table of thousands of trials takes as long as the header and the chart together.
        self._table_waits = not self.drawn.is_set() and len(trials) > _MANY
        if self._table_waits:
            self._wake.set()
        else:
            sent += self._part("table", lambda: self.table.update(handle, trials))
        sent += self._part("skipped configurations", lambda: self._show_skipped(trials))
        sent += send_texts({self.notices: _panels.notices_html(self._notices())}) + self.announcer.update(handle)
        self.saved.update(handle, resting=self._over or handle.state is RunState.PAUSED)
        self.redraws += bool(sent)
        return sent

    def _part(self, name: str, draw: Callable[[], int]) -> int:
        """Draw a part; what fails in it is a notice, and the other parts are drawn."""
        try:
            sent = draw()
        except Exception as error:  # noqa: BLE001 - the part is drawn again at the next change
            if name not in self._failed:
                _log.exception("the %s of the monitor could not be drawn", name)
            self._failed[name] = f"the {name} of the monitor could not be drawn: {type(error).__name__}: {error}"
            return 0
        self._failed.pop(name, None)
        return sent

    def _show_skipped(self, trials: list[Trial]) -> int:
        return send_texts({self.skipped: _panels.skipped_html(self._skipped_regions(trials))})

    def _draw_waiting_table(self) -> int:
        if not self._table_waits:
            return 0
        self._table_waits = False
        return self._part("table", lambda: self.table.update(self.handle, self._trials()))

    def _notices(self) -> list[tuple[float, str]]:
        notices = list(self.handle.notices)
        process = self.handle.elsewhere
        if process is not None:
            text = f"another process, {process}, is running this study: edits, pause and stop reach it"
            if self.handle.has_workers:
                text = f"workers of this study: {process}; edits, pause and stop reach them all"
            notices.append((time.time() if not notices else notices[-1][0], text))
        return [*notices, *((notices[-1][0] if notices else time.time(), text) for text in self._failed.values())]

    def _importance(self, trials: list[Trial]) -> dict[str, float]:
        handle = self.handle

        def compute() -> dict[str, float]:
            # Imports Optuna, which is not needed to draw a finished study.
            from autotune_nb.study.importance import importances

            return importances(trials, handle.steering.full_space, handle.task.goal)

        # The first ones at once, since the order of a chart's axes is that of the importances.
        return self._recomputed(self._importances, trials, compute, may_wait=self._importances.known)

    def _skipped_regions(self, trials: list[Trial]) -> list[str]:
        handle = self.handle

        def compute() -> list[str]:
            try:
                return handle.skipped()
            except AutotuneError:
                # The table of a replay may be gone.
                return []

        # Other strategies skip nothing.
        return self._recomputed(self._skipped, trials, compute) if handle.task.strategy.sampler == "auto" else []

    def _recomputed(
        self, value: Recomputed[T], trials: list[Trial], compute: Callable[[], T], *, may_wait: bool = True
    ) -> T:
        ended = sum(1 for t in trials if t.state.finished)
        if not self.drawn.is_set() and ended > _MANY:
            return value.postpone()
        # Without further trials it is computed at once; later it would be sent although nothing has changed.
        more = bool(self.handle.running) or self.handle.state in (RunState.STARTING, RunState.RUNNING)
        return value.update(ended, compute, may_wait=may_wait and more)
