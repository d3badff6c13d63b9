"""The text of what runs now: a line per running trial. All values are escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune_nb.handle import StudyHandle
from autotune_nb.runner.live import RunningTrial
from autotune_nb.runner.runner import RunState
from autotune_nb.trial.formatting import duration_text, level_text, params_text
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets._panels import clock, config_text, escaped

#: With more running trials, each has a single line.
_WITH_LOG = 3
#: The width of its configuration, of which a single line has room for less.
_CONFIG_WIDTH, _BRIEF_WIDTH = 200, 100


@dataclass(frozen=True)
class Latest:
    """What a running trial's files have last: the line of its log, and the small chart of its current level."""

    log_line: str = ""
    chart: str = ""


def running_html(handle: StudyHandle, latest: Mapping[int, Latest]) -> str:
    """Return a line per running trial, or in one line why none runs."""
    if not handle.running:
        return _idle_text(handle)
    usual = _usual_start_s(handle.history)
    brief = len(handle.running) > _WITH_LOG
    return "".join(_line(one, handle, latest.get(one.trial.number, Latest()), usual, brief) for one in handle.running)


def _line(one: RunningTrial, handle: StudyHandle, latest: Latest, usual: float | None, brief: bool) -> str:
    doing = one.doing
    if one.phase == "deploy":
        doing += "; the model is being loaded" if usual is None else f"; {duration_text(usual)} last time"
    why = f"chosen: {escaped(handle.reason(one.trial))}"
    config = escaped(_shortened(params_text(one.trial)) if brief else config_text(one.trial, _CONFIG_WIDTH))
    if brief and latest.log_line:
        config = f'<span class="at-log">{escaped(latest.log_line)}</span>'
    text = (
        f'<div class="at-row" title="{why}"><b>trial {one.trial.number}</b><span>{escaped(doing)} '
        f'<span class="at-dim">since {clock(one.phase_since or one.since)}</span></span>{latest.chart}'
        f'<span class="at-line at-dim">{config}</span></div>'
    )
    if brief:
        return text
    measured = one.trial.measurements
    level = f" · {escaped(level_text(measured[-1], handle.task.goal))}" if measured else ""
    text += f'<div class="at-line at-dim">{why}{level}</div>'
    return text + (f'<div class="at-line at-log">{escaped(latest.log_line)}</div>' if latest.log_line else "")


def _shortened(text: str) -> str:
    return text if len(text) <= _BRIEF_WIDTH else f"{text[:_BRIEF_WIDTH]}…"


def _usual_start_s(trials: Sequence[Trial]) -> float | None:
    """Return how long the engine took to start in the latest trial that did not fail."""
    done = [t.seconds["deploy"] for t in trials if t.state is not TrialState.FAILED and t.seconds.get("deploy")]
    return done[-1] if done else None


def _idle_text(handle: StudyHandle) -> str:
    elsewhere = handle.elsewhere is not None
    match handle.state:
        case RunState.STARTING:
            text = "the run starts; the first trial is next"
        case RunState.RUNNING:
            text = "the next trial is being chosen"
        case RunState.PAUSED:
            text = "paused: no trial runs" + ("" if elsewhere else "; Resume continues")
        case RunState.STOPPING:
            text = "stopping"
        case RunState.FINISHED:
            text = f"finished: {handle.end_reason or 'no trial is left'}"
        case RunState.STOPPED:
            text = "stopped before its budget was spent; Start continues"
        case "interrupted":
            text = "the process of the run was killed; Start continues"
        case "new":
            text = "not started yet; Start begins with the engine's default"
        case _:
            return ""
    return f'<div class="at-dim">{escaped(text)}</div>'
