"""The monitor's charts as tabs: only the chart of the selected tab is computed and sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ipywidgets

from autotune_nb.handle import StudyHandle
from autotune_nb.reports.metric_series import latest_attempt, metric_series
from autotune_nb.reports.metrics_chart import MetricsChart
from autotune_nb.reports.parallel_chart import parallel_chart
from autotune_nb.reports.plots import Curves, history
from autotune_nb.reports.progress_chart import ProgressChart
from autotune_nb.reports.slice_chart import slice_chart
from autotune_nb.reports.timeline_chart import timeline_chart
from autotune_nb.reports.traced_chart import TracedChart
from autotune_nb.reports.value_axis import ValueAxis
from autotune_nb.runner.runner import RunState
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.trial.trial import Trial
from autotune_nb.widgets._announcements import announcement
from autotune_nb.widgets._latency_chart import AXES, LatencyTraces, latency_caption
from autotune_nb.widgets._panels import escaped
from autotune_nb.widgets._parameter_menu import Offer, brush_offer, menu_edit, parameter_menus
from autotune_nb.widgets._selection import Selection

if TYPE_CHECKING:
    from autotune_nb.widgets._plot import Plot


@dataclass(frozen=True)
class ChartInput:
    """What the charts are drawn from; ``importances`` may take long, so only charts that need them call it."""

    handle: StudyHandle
    trials: Sequence[Trial]
    selected: tuple[int, ...]
    importances: Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class _Drawn:
    traces: Mapping[str, Mapping[str, Any]]
    axes: Mapping[str, Any]
    caption: str
    #: Those of parallel coordinates, from which parameters are steered.
    value_axes: Sequence[ValueAxis] = ()


class _Latency:
    """The chart of latency against throughput, for which unchanged trials are not computed again."""

    def __init__(self) -> None:
        self._of: object = None

    def __call__(self, given: ChartInput) -> _Drawn:
        task = given.handle.task
        if self._of is not task:
            self._of, self._curves, self._traces = task, Curves(task.goal.limits), LatencyTraces()
        curves = self._curves.of(given.trials, given.handle.best_trial)
        running = frozenset(one.trial.number for one in given.handle.running)
        return _Drawn(self._traces.of(curves, running), AXES, latency_caption(curves))


def _of(chart: TracedChart) -> _Drawn:
    traces = chart.traces()
    return _Drawn(traces, chart.axes() if traces else {}, chart.title)


def _progress(given: ChartInput) -> _Drawn:
    handle, goal = given.handle, given.handle.task.goal
    over = handle.state == RunState.FINISHED
    gain = None if over or handle.promise is None else handle.promise.gain
    return _of(ProgressChart(history(given.trials, goal), goal.direction, gain, handle.num_trials, over))


def _parallel(given: ChartInput) -> _Drawn:
    handle = given.handle
    chart = parallel_chart(given.trials, handle.best_trial, handle.task.goal, given.importances())
    return replace(_of(chart), value_axes=chart.axis_list if chart.lines else ())


def _slices(given: ChartInput) -> _Drawn:
    handle = given.handle
    return _of(slice_chart(given.trials, handle.best_trial, handle.task.goal, given.importances()))


def _timeline(given: ChartInput) -> _Drawn:
    return _of(timeline_chart(given.trials, given.handle.task.deploy.parallel))


def _metrics(given: ChartInput) -> _Drawn:
    chosen = [t for t in given.trials if given.selected and t.number == given.selected[-1]]
    chosen = chosen or [t for t in given.trials if t.measurements]
    if not chosen:
        return _Drawn({}, {}, "")
    number = chosen[-1].number
    folder = latest_attempt(StudyFolder(given.handle.path).trial_folder(number))
    return _of(MetricsChart(number, tuple(metric_series(folder))))


#: The tab of the parallel coordinates.
PARALLEL = "Parameters"
#: The tabs in their order, each with what makes the function that draws its chart.
TABS: dict[str, Callable[[], Callable[[ChartInput], _Drawn]]] = {
    "Latency and throughput": _Latency,
    "Progress": lambda: _progress,
    PARALLEL: lambda: _parallel,
    "Slices": lambda: _slices,
    "Timeline": lambda: _timeline,
    "Engine metrics": lambda: _metrics,
}


class Charts:
    """The tabs; a click on a point selects its trial. ``wake`` is called when another tab is selected.

    An axis of the parallel coordinates has the menu of its parameter, and a brush on it offers to narrow that. Both
    call ``act`` with a function of the study that makes an edit, as the table does.
    """

    def __init__(
        self,
        selection: Selection,
        wake: Callable[[], None],
        act: Callable[[Callable[[StudyHandle], Edit]], bool] = lambda _do: False,
    ) -> None:
        self._selection, self._act = selection, act
        self.plots: dict[str, Plot] = {}
        self._value_axes: Sequence[ValueAxis] = ()
        self._steering: Steering | None = None
        self._offered: Offer | None = None
        self.offer = ipywidgets.Button(icon="compress", layout=ipywidgets.Layout(width="auto", display="none"))
        self.offer.add_class("at-chart-offer")
        self.offer.on_click(lambda _button: self._accept())
        try:
            from autotune_nb.widgets._plot import Plot, PlotlyScript
        except ImportError as error:
            text = f"The charts need a package: pip install 'autotune_nb[lab]' ({error})"
            self.box: Any = ipywidgets.VBox([ipywidgets.HTML(f'<span class="at-warn">{escaped(text)}</span>')])
            self.box.add_class("at-monitor-charts")
            return
        self.plots = {title: Plot(self._select, on_steer=self._steer) for title in TABS}
        self._draw = {title: drawer() for title, drawer in TABS.items()}
        # After the charts, which are small and have to begin first.
        PlotlyScript.ensure()
        beside = ipywidgets.VBox([self.plots[PARALLEL], self.offer])
        tabs = [beside if title == PARALLEL else plot for title, plot in self.plots.items()]
        self.box = ipywidgets.Tab(tabs, titles=tuple(self.plots), selected_index=0)
        self.box.add_class("at-monitor-charts")
        self.box.observe(lambda _change: wake(), "selected_index")
        selection.observe(self._mark, "trials")

    @property
    def shown(self) -> str:
        """The title of the selected tab."""
        titles = list(TABS)
        index = self.box.selected_index if self.plots else None
        return titles[index or 0]

    def show(self, title: str) -> None:
        """Select a tab."""
        self.box.selected_index = list(TABS).index(title)

    def update(self, given: ChartInput) -> int:
        """Send what changed in the chart of the selected tab and return about how many bytes it was."""
        if not self.plots:
            return 0
        title = self.shown
        drawn = self._draw[title](given)
        waiting = "" if drawn.traces else announcement(title, given.handle, given.trials)
        menus: list[Any] = []
        if drawn.value_axes:
            self._value_axes, self._steering = drawn.value_axes, given.handle.steering
            of = parameter_menus(self._steering)
            menus = [{"key": axis.name, **of[axis.name]} if axis.name in of else None for axis in drawn.value_axes]
        return self.plots[title].show(drawn.traces, drawn.axes, drawn.caption, waiting, menus)

    def _steer(self, wanted: Mapping[str, Any]) -> None:
        """Make the edit of an axis's menu, or offer what follows from a brush on an axis."""
        if "brush" not in wanted:
            self._act(lambda handle: menu_edit(handle, wanted))
            return
        place, offer = int(wanted["brush"]), None
        if self._steering is not None and 0 <= place < len(self._value_axes):
            low, high = wanted["ends"]
            offer = brush_offer(self._steering, self._value_axes[place], float(low), float(high))
        self._show_offer(offer)

    def _show_offer(self, offer: Offer | None) -> None:
        self._offered = offer
        self.offer.description = offer.text if offer is not None else ""
        self.offer.layout.display = None if offer is not None else "none"

    def _accept(self) -> None:
        offer = self._offered
        # An offer that was refused stays, beside the reason.
        if offer is not None and self._act(lambda handle: menu_edit(handle, offer.wanted)):
            self._show_offer(None)

    def _select(self, numbers: list[int], add: bool) -> None:
        before = self._selection.trials if add else ()
        # A second click with the key held removes a trial.
        removed = set(numbers) & set(before)
        kept = [number for number in (*before, *numbers) if number not in removed]
        self._selection.trials = tuple(dict.fromkeys(kept))

    def _mark(self, _change: Any) -> None:
        for plot in self.plots.values():
            plot.selected = list(self._selection.trials)
