"""The timeline: what each slot for trials was used for, so that one sees where the hours went."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from autotune_nb.reports.traced_chart import TracedChart
from autotune_nb.trial.formatting import duration_text
from autotune_nb.trial.trial import QUEUE, WAIT, Trial, TrialState

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: The phases of a trial in their order, each with its name in the legend and its colour.
PHASES: dict[str, tuple[str, str]] = {
    QUEUE: ("waits for GPUs", "#d0d0d0"),
    WAIT: ("waits for the surroundings", "#b3b3b3"),
    "deploy": ("start of the engine", "#E69F00"),
    "probe": ("warm-up", "#F0E442"),
    "benchmark": ("load levels", "#0072B2"),
    "level": ("load levels, alternating", "#56B4E9"),
    "stop": ("teardown", "#009E73"),
    "failed": ("of trials that failed", "#CC79A7"),
}
#: The latest trials that are drawn.
_MAX_TRIALS = 150
_MINUTE_S, _HOUR_S = 60.0, 3600.0


@dataclass(frozen=True)
class Span:
    """A phase of a trial, in seconds of work since the first trial that is drawn."""

    trial: int
    slot: int
    phase: str
    began_s: float
    seconds: float
    text: str


@dataclass(frozen=True)
class TimelineChart(TracedChart):
    """The phases of the trials on each slot, one after the other; pauses between runs are left out."""

    spans: tuple[Span, ...]
    #: The seconds of each phase over all trials.
    totals: tuple[tuple[str, float], ...]
    left_out: int = 0
    #: How many ended trials have no times, such as those of an imported table.
    untimed: int = 0
    height_in: ClassVar[float] = 3.0

    @property
    def title(self) -> str:
        everything = sum(seconds for _, seconds in self.totals)
        if not everything:
            return "The trials have no times" if self.untimed else "No trial has ended"
        largest = sorted(self.totals, key=lambda item: -item[1])[:4]
        shares = ", ".join(f"{PHASES[phase][0]} {seconds / everything:.0%}" for phase, seconds in largest if seconds)
        notes = [f"the latest {_MAX_TRIALS} trials"] if self.left_out else []
        notes += [f"{self.untimed} without times left out"] if self.untimed else []
        note = f" ({'; '.join(notes)})" if notes else ""
        return f"{duration_text(everything)} of trials: {shares}{note}"

    @cached_property
    def _unit(self) -> tuple[str, float]:
        last = max((span.began_s + span.seconds for span in self.spans), default=0.0)
        return ("h", _HOUR_S) if last > 3 * _HOUR_S else ("min", _MINUTE_S) if last > 5 * _MINUTE_S else ("s", 1.0)

    def frame(self) -> pd.DataFrame:
        """Return one row per phase: trial, slot, phase, began_s, seconds."""
        import pandas as pd

        rows = [(one.trial, one.slot, one.phase, one.began_s, one.seconds) for one in self.spans]
        return pd.DataFrame(rows, columns=["trial", "slot", "phase", "began_s", "seconds"])

    def traces(self) -> dict[str, dict[str, Any]]:
        found, per = {}, self._unit[1]
        for phase, (name, colour) in PHASES.items():
            own = [span for span in self.spans if span.phase == phase]
            if own:
                found[phase] = {
                    "type": "bar",
                    "orientation": "h",
                    "name": name,
                    "x": [round(span.seconds / per, 4) for span in own],
                    "base": [round(span.began_s / per, 4) for span in own],
                    "y": [span.slot for span in own],
                    "customdata": [span.trial for span in own],
                    "text": [span.text for span in own],
                    "textposition": "none",
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {"color": colour},
                }
        return found

    def axes(self) -> dict[str, Any]:
        slots = sorted({span.slot for span in self.spans})
        starts = {span.trial: span for span in reversed(self.spans)}
        named = list(starts.values()) if len(starts) <= 40 else []
        per = self._unit[1]
        return {
            "barmode": "overlay",
            "xaxis": {"title": {"text": f"{self._unit[0]} of work, pauses left out"}},
            "yaxis": {
                "tickvals": slots,
                "ticktext": [f"slot {slot}" for slot in slots],
                "range": [max(slots, default=1) + 0.6, 0.3],
                "showgrid": False,
            },
            "annotations": [
                {
                    "x": round(span.began_s / per, 4),
                    "y": span.slot - 0.44,
                    "text": str(span.trial),
                    "showarrow": False,
                    "xanchor": "left",
                    "yanchor": "bottom",
                    "font": {"size": 10},
                }
                for span in named
            ],
            "legend": {
                "orientation": "h",
                "y": 1.02,
                "yanchor": "bottom",
                "x": 0,
                "font": {"size": 11},
                "traceorder": "normal",
            },
            "bargap": 0.15,
        }

    def _draw_in(self, figure: Figure) -> None:
        axes, per = figure.add_subplot(), self._unit[1]
        for phase, (name, colour) in PHASES.items():
            own = [span for span in self.spans if span.phase == phase]
            if own:
                widths, lefts = [s.seconds / per for s in own], [s.began_s / per for s in own]
                axes.barh([s.slot for s in own], widths, 0.8, lefts, color=colour, label=name)
        slots = sorted({span.slot for span in self.spans})
        axes.set_yticks(slots, [f"slot {slot}" for slot in slots])
        axes.invert_yaxis()
        axes.set_xlabel(f"{self._unit[0]} of work, pauses left out")
        axes.set_title(self.title, loc="left", fontsize=11, parse_math=False)
        if self.spans:
            axes.legend(fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.2))


def timeline_chart(trials: Sequence[Trial], parallel: int) -> TimelineChart:
    """Return the timeline of ended trials on ``parallel`` slots: each starts on the slot that is free first.

    Studies store how long each phase took, not when it began, so that the order of the trials decides.
    """
    ended = [trial for trial in sorted(trials, key=lambda t: t.number) if sum(trial.seconds.values()) > 0]
    totals = dict.fromkeys(PHASES, 0.0)
    for trial in ended:
        for phase, seconds in trial.seconds.items():
            own = "failed" if trial.state is TrialState.FAILED else phase if phase in totals else "deploy"
            totals[own] += seconds
    free = [(0.0, slot) for slot in range(1, max(1, parallel) + 1)]
    spans: list[Span] = []
    shown = ended[-_MAX_TRIALS:]
    for trial in shown:
        began, slot = heapq.heappop(free)
        for phase, seconds in _phases(trial):
            name = PHASES["benchmark" if phase == "level" else phase][0]
            text = f"trial {trial.number}: {name}, {duration_text(seconds)}"
            kind = "failed" if trial.state is TrialState.FAILED and phase not in (QUEUE, WAIT) else phase
            spans.append(Span(trial.number, slot, kind, began, seconds, text))
            began += seconds
        heapq.heappush(free, (began, slot))
    untimed = sum(1 for trial in trials if trial.state.finished) - sum(1 for trial in ended if trial.state.finished)
    known = tuple((phase, seconds) for phase, seconds in totals.items() if seconds)
    return TimelineChart(tuple(spans), known, len(ended) - len(shown), untimed)


def _phases(trial: Trial) -> list[tuple[str, float]]:
    """Return the phases in their order; the benchmark by level, in two alternating colours."""
    known = [name for name in PHASES if name in trial.seconds]
    others = [name for name in trial.seconds if name not in PHASES]
    found: list[tuple[str, float]] = [("deploy", trial.seconds[name]) for name in others]
    for phase in known:
        seconds = trial.seconds[phase]
        durations = [m.duration_s for m in trial.measurements]
        if phase != "benchmark" or not 0 < sum(durations) <= seconds * 1.01:
            found.append((phase, seconds))
            continue
        # What is not in a level is the start of the benchmark.
        scale = seconds / sum(durations)
        found += [("benchmark" if i % 2 == 0 else "level", d * scale) for i, d in enumerate(durations)]
    return [(phase, seconds) for phase, seconds in found if seconds > 0]
