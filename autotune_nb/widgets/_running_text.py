"""The text of what runs now: a line per running trial. All values are escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune_nb.handle import StudyHandle
from autotune_nb.runner.live import RunningTrial
from autotune_nb.runner.runner import RunState
from autotune_nb.trial.formatting import duration_text, level_text, params_text
from autotune_nb.trial.trial import WAIT, Trial, TrialState
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
        text = idle_text(handle)
        return _group(f'<div class="at-dim">{escaped(text)}</div>') if text else ""
    usual = _usual_start_s(handle.history)
    brief = len(handle.running) > _WITH_LOG
    latests = ((one, latest.get(one.trial.number, Latest())) for one in handle.running)
    return _group("".join(_line(one, handle, own, usual, brief) for one, own in latests))


def _group(lines: str) -> str:
    return f'<div role="group" aria-label="what runs now">{lines}</div>'


def _line(one: RunningTrial, handle: StudyHandle, latest: Latest, usual: float | None, brief: bool) -> str:
    doing = one.doing
    waits = ' class="at-warn"' if one.phase == WAIT else ""
    if one.phase == "deploy":
        doing += "; the model is being loaded" if usual is None else f"; {duration_text(usual)} last time"
    why = f"chosen: {escaped(handle.reason(one.trial))}"
    config = escaped(_shortened(params_text(one.trial)) if brief else config_text(one.trial, _CONFIG_WIDTH))
    if brief and latest.log_line:
        config = f'<span class="at-log">{escaped(latest.log_line)}</span>'
    if one.trial.baseline:
        # Why it was chosen says it, too.
        config = ""
    # It is cut off where the page is narrow; why it was chosen is in a line of its own.
    tip = why if brief else config
    text = (
        f'<div class="at-row" title="{tip}"><b>trial {one.trial.number}</b><span{waits}>{escaped(doing)} '
        f'<span class="at-dim">since {clock(one.phase_since or one.since)}</span></span>{latest.chart}'
        f'<span class="at-line at-dim">{config}</span></div>'
    )
    if brief:
        return text
    measured = one.trial.measurements
    level = f" · {escaped(level_text(measured[-1], handle.task.goal))}" if measured else ""
    text += f'<div class="at-line at-dim" title="{why}{level}">{why}{level}</div>'
    line = escaped(latest.log_line)
    return text + (f'<div class="at-line at-log" title="{line}">{line}</div>' if line else "")


def _shortened(text: str) -> str:
    return text if len(text) <= _BRIEF_WIDTH else f"{text[:_BRIEF_WIDTH]}…"


def _usual_start_s(trials: Sequence[Trial]) -> float | None:
    """Return how long the engine took to start in the latest trial that did not fail."""
    done = [t.seconds["deploy"] for t in trials if t.state is not TrialState.FAILED and t.seconds.get("deploy")]
    return done[-1] if done else None


def idle_text(handle: StudyHandle) -> str:
    """Return in one line why no trial runs; empty if the state says all."""
    elsewhere = handle.elsewhere is not None
    match handle.state:
        case RunState.STARTING:
            return "the run starts; the first trial is next"
        case RunState.RUNNING:
            return "the next trial is being chosen"
        case RunState.PAUSED:
            return "paused: no trial runs" + ("" if elsewhere else "; Resume continues")
        case RunState.STOPPING:
            return "stopping"
        case RunState.FINISHED:
            return f"finished: {handle.end_reason or 'no trial is left'}"
        case RunState.STOPPED:
            return "stopped before its budget was spent; Start continues"
        case "interrupted":
            return "the process of the run was killed; Start continues"
        case "new":
            return "not started yet; Start begins with the engine's default"
    return ""
