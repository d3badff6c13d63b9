"""The monitor's texts as HTML: progress, running trials, the table, what was steered. All that comes in is escaped.

Times are times of day, not ages: what did not change is not sent again.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from autotune_nb.errors import Failure
from autotune_nb.handle import StudyHandle
from autotune_nb.runner.live import RunningTrial
from autotune_nb.runner.runner import RunState
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.trial.formatting import level_text, params_text, value_text
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial, TrialState, best_trial

_COLOUR = {RunState.RUNNING: "at-ok", RunState.FAILED: "at-error", RunState.PAUSED: "at-warn"}
#: Beside the objective's own figure, read at the level that the score was read at.
_FIGURES = {"ttft_p99_s": "TTFT p99", "tpot_mean_s": "TPOT", "e2e_latency_mean_s": "latency"}
_NOTICES = 6
#: Control characters, half characters, and those that turn the direction of what follows.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_EVER_S = 365 * 24 * 3600


def escaped(text: object) -> str:
    """Text as HTML shows it, without what would be read as markup, turn the text around it, or break the message."""
    return html.escape(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text)))


def config_text(trial: Trial, width: int = 600) -> str:
    """A configuration in one line, cut where hundreds of parameters would make a page of it."""
    text = params_text(trial)
    return text if len(text) <= width else f"{text[:width]}… (cut; all of it is in .trials)"


def clock(at: float) -> str:
    """A time of day, with its date where that is another day."""
    try:
        then = datetime.fromtimestamp(at).astimezone()
    except (OverflowError, ValueError, OSError):
        # Beyond what a calendar has.
        return "?"
    today = datetime.now().astimezone().date()
    return then.strftime("%H:%M:%S" if then.date() == today else "%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """``48 s``, ``12 min``, ``3 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if not seconds < _EVER_S:
        return "over a year"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def progress_html(handle: StudyHandle, *, now: float | None = None) -> str:
    """State, counts, a bar, the budget and when it is about to be over."""
    trials = handle.history
    done = sum(1 for t in trials if t.state is TrialState.COMPLETE)
    failed = sum(1 for t in trials if t.state is TrialState.FAILED)
    running = len(handle.running)
    wanted = handle.num_trials
    state = str(handle.state)
    broken = sum(1 for t in trials if t.state is TrialState.COMPLETE and not t.feasible)
    counts = [
        f"<b>{done}</b> done" + (f" ({broken} break a limit)" if broken else ""),
        f"<b>{running}</b> running",
        f"<b>{failed}</b> failed",
    ]
    stopped = sum(1 for t in trials if t.state in (TrialState.STOPPED, TrialState.INTERRUPTED))
    if stopped:
        counts.append(f"<b>{stopped}</b> cut short")
    ended = done + failed
    of = f"{ended} of {wanted} trials" if wanted else f"{ended} trials"
    bar = (
        f'<progress aria-label="{of}" value="{ended}" max="{max(wanted or 0, ended, 1)}"></progress>' if wanted else ""
    )
    kind = _COLOUR.get(RunState(state), "at-dim") if state in list(RunState) else "at-dim"
    parts = [
        f'<h3>{escaped(handle.task.name)} <span class="{kind}">{escaped(state)}</span></h3>',
        f'<div class="at-dim">{escaped(handle.path)}</div>',
        f"<div>{of}: {', '.join(counts)}. {_budget_text(handle)}</div>",
        bar,
        f"<div>{_time_text(handle, now if now is not None else time.time())}</div>",
    ]
    best = handle.best_trial
    if best is not None and best.score is not None:
        value = value_text(best.score.value, handle.task.goal.figure)
        parts.append(f"<div>best so far: trial {best.number}, <b>{value}</b>, {escaped(config_text(best))}</div>")
    return "".join(parts)


def _budget_text(handle: StudyHandle) -> str:
    budget = handle.budget
    told = [f"{handle.num_trials} trials" if handle.num_trials else ""]
    told.append(f"{budget.minutes:g} min" if budget.minutes else "")
    told.append(f"patience of {budget.patience} trials" if budget.patience else "")
    return f"Budget: {', '.join(filter(None, told)) or 'the whole space'}."


def seconds_left(handle: StudyHandle) -> float | None:
    """About how long the rest of the budget takes, as long as trials took so far; None where nothing tells."""
    ended = [t for t in handle.history if t.state.finished]
    if not ended:
        return None
    mean_s = sum(sum(t.seconds.values()) for t in ended[-20:]) / len(ended[-20:])
    bounds = []
    if handle.num_trials is not None:
        # Somebody may ask for more trials than a float counts.
        to_go = min(max(0, handle.num_trials - len(ended)), 10**12)
        bounds.append(to_go * mean_s / handle.task.deploy.parallel)
    if handle.budget.minutes is not None:
        bounds.append(max(0.0, handle.budget.minutes * 60 - handle.elapsed_s))
    return min(bounds, default=None)


def _time_text(handle: StudyHandle, now: float) -> str:
    took = f"{duration(handle.elapsed_s)} of work so far"
    if handle.state not in (RunState.RUNNING, RunState.PAUSED):
        return f"{took}."
    left = seconds_left(handle)
    if left is None:
        return f"{took}; how long it takes is known after the first trial."
    if handle.state is RunState.PAUSED:
        return f"{took}; about {duration(left)} left once it goes on."
    if not left < _EVER_S:
        return f"{took}; about {duration(left)} left."
    until = clock(now + left)
    # Of another day it has no seconds.
    return f"{took}; about {duration(left)} left, until {until[:5] if len(until) == 8 else until}."


def error_html(error: BaseException | None) -> str:
    """What went wrong, with its cause; empty where nothing did."""
    if error is None:
        return ""
    told = escaped(f"{error}" or type(error).__name__)
    cause = error.__cause__
    why = f"<br>caused by {escaped(type(cause).__name__)}: {escaped(cause)}" if cause is not None else ""
    return f'<div class="at-banner at-error" role="alert"><b>The work ended before its time.</b><br>{told}{why}</div>'


def said_html(said: str | None) -> str:
    """What has to be known beside: why a button did nothing, that the folder is gone."""
    return f'<div class="at-banner at-error" role="alert">{escaped(said)}</div>' if said else ""


def running_html(running: Sequence[RunningTrial], logs: Mapping[int, Sequence[str]], objective: Objective) -> str:
    """Each running trial's phase, the levels it has measured, and the last lines of its log."""
    parts = []
    for one in running:
        levels = "".join(f"<div>{escaped(level_text(m, objective))}</div>" for m in one.trial.measurements)
        lines = logs.get(one.trial.number)
        log = f"<pre>{escaped(chr(10).join(lines))}</pre>" if lines else ""
        parts.append(
            f"<div><b>trial {one.trial.number}</b>: {escaped(one.doing)}"
            f' <span class="at-dim">since {clock(one.phase_since or one.since)}</span></div>'
            f'<div class="at-dim">{escaped(config_text(one.trial))}</div>{levels}{log}'
        )
    return f"<h4>Running</h4>{''.join(parts)}" if parts else ""


def notices_html(notices: Sequence[tuple[float, str]]) -> str:
    """The latest notices, each with its time."""
    rows = "".join(
        f'<div><span class="at-dim">{clock(at)}</span> {escaped(text)}</div>' for at, text in notices[-_NOTICES:]
    )
    return f'<div role="status">{rows}</div>' if rows else ""


ORDERS = ("latest first", "best first", "failed")


def chosen(trials: Sequence[Trial], order: str, objective: Objective) -> list[Trial]:
    """The trials of the table in the order that is asked for."""
    if order == "failed":
        return [t for t in reversed(trials) if t.state is TrialState.FAILED]
    if order == "best first":
        scored = [t for t in trials if t.score is not None]
        sign = -1.0 if objective.direction == "maximize" else 1.0
        return sorted(scored, key=lambda t: (not t.feasible, sign * t.score.value if t.score else 0.0))
    return list(reversed(trials))


def table_html(
    trials: Sequence[Trial], page: Sequence[Trial], objective: Objective, running: Sequence[RunningTrial] = ()
) -> str:
    """A page of trials: figures at the level of the score, each limit kept or broken, parameters, failures."""
    best = best_trial(trials, objective)
    doing = {one.trial.number: one.doing for one in running}
    figures = {name: title for name, title in _FIGURES.items() if name != objective.figure}
    heads = ["trial", "state", objective.figure, *figures.values(), *map(str, objective.limits)]
    numeric = 2 + len(figures)
    head = "".join(f'<th{_numeric(2 <= i <= numeric)} scope="col">{escaped(h)}</th>' for i, h in enumerate(heads))
    rows = []
    for trial in page:
        mark = ' class="best"' if best is not None and trial.number == best.number else ""
        cells = [f"<td>{trial.number}</td>", f"<td>{escaped(doing.get(trial.number, _state_text(trial)))}</td>"]
        value = value_text(trial.score.value, objective.figure) if trial.score else ""
        read = _scored(trial)
        cells += [f'<td class="n">{escaped(value)}</td>']
        cells += [f'<td class="n">{escaped(value_text(read[f], f)) if f in read else ""}</td>' for f in figures]
        for limit in objective.limits:
            broken = trial.score.limits.get(str(limit)) if trial.score else None
            cells.append("<td></td>" if broken is None else _limit_cell(broken, limit.figure))
        failure = _failure(trial.failure) if trial.failure is not None else ""
        # In a line of its own: eight parameters in a column's width would be eight lines.
        told = f'<td></td><td colspan="{len(heads) - 1}">{escaped(config_text(trial))}{failure}</td>'
        rows.append(f"<tr{mark}>{''.join(cells)}</tr><tr{mark}>{told}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>" if rows else ""


def _numeric(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def _limit_cell(violation: float, figure: str) -> str:
    by = value_text(abs(violation), figure)
    if violation > 0:
        return f'<td class="at-error">✗ broken by {escaped(by)}</td>'
    return f'<td class="at-ok">✓ kept by {escaped(by)}</td>'


def _state_text(trial: Trial) -> str:
    if trial.state is TrialState.COMPLETE and not trial.feasible:
        return "breaks a limit"
    return str(trial.state)


def _scored(trial: Trial) -> Mapping[str, float]:
    """The figures of the level that the score was read at."""
    level = trial.score.level if trial.score else None
    return next((m.figures for m in trial.measurements if m.level == level), {})


def _failure(failure: Failure) -> str:
    hint = f"<br>try: {escaped(failure.hint)}" if failure.hint else ""
    said = f"<pre>{escaped(chr(10).join(failure.log_lines))}</pre>" if failure.log_lines else ""
    return f'<div class="at-error">{escaped(failure)}{hint}</div>{said}'


def trial_html(trial: Trial | None, objective: Objective) -> str:
    """One trial in full: what the pointer is over in the charts."""
    if trial is None:
        return '<span class="at-dim">Point at a trial to see its parameters here.</span>'
    levels = "; ".join(escaped(level_text(m, objective)) for m in trial.measurements)
    return (
        f"<b>trial {trial.number}</b> ({escaped(_state_text(trial))}): {escaped(config_text(trial, 5000))}<br>{levels}"
    )


def edits_html(edits: Sequence[Edit], steering: Steering, waiting: int) -> str:
    """Every edit with its time, and what they come to."""
    if not edits:
        return '<div class="at-dim">Nothing was steered yet.</div>'
    rows = "".join(f"<li>{clock(edit.at)}: {escaped(edit.text)}</li>" for edit in edits[-20:])
    now = "; ".join(escaped(r.text) for r in steering.restrictions.values())
    told = f"<div>In force: {now}.</div>" if now else ""
    queued = f"<div>{waiting} enqueued configuration{'s' * (waiting != 1)} wait.</div>" if waiting else ""
    return f"<ul>{rows}</ul>{told}{queued}"
