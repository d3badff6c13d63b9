"""The text of the monitor's header: the state, the progress, the time left, the cost, the budget.

Times are given as times of day, not as ages, so that an unchanged text is not sent again.
"""

from __future__ import annotations

import time

from autotune_nb.handle import StudyHandle
from autotune_nb.runner.runner import RunState
from autotune_nb.trial.cost import cost_of, usd_text
from autotune_nb.trial.formatting import YEAR_S, duration_text
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets._best_text import best_html
from autotune_nb.widgets._panels import clock, escaped

_COLOUR = {
    RunState.RUNNING: "at-ok",
    RunState.FINISHED: "at-ok",
    RunState.FAILED: "at-error",
    RunState.PAUSED: "at-warn",
}


def header_html(handle: StudyHandle, *, now: float | None = None) -> str:
    """Return the state, the progress with a bar, the time left, the cost, the best configuration, and the budget."""
    state = str(handle.state)
    kind = _COLOUR.get(RunState(state), "at-dim") if state in list(RunState) else "at-dim"
    ended = [trial for trial in handle.history if trial.state.finished]
    if state == RunState.FINISHED and ended and all(trial.state is TrialState.FAILED for trial in ended):
        # It did not go well.
        kind = "at-error"
    replayed = handle.task.deploy.replayed
    first = [
        f'<h3>{escaped(handle.task.name)} <span class="{kind}">{escaped(state)}</span></h3>',
        _progress(handle),
        f"<span>{_time_text(handle, now if now is not None else time.time())}</span>",
    ]
    return "".join(
        [
            '<div role="group" aria-label="progress and best configuration">',
            f'<div class="at-row">{"".join(first)}</div>',
            f"<div><b>{escaped(replayed)}</b>, nothing is measured</div>" if replayed else "",
            best_html(handle),
            f'<div class="at-dim">{_counts(handle)}. {_budget_text(handle)}{_promise_text(handle)} '
            f"{escaped(handle.path)}</div></div>",
        ]
    )


def _searched(handle: StudyHandle) -> int:
    """Return how many trials count against the budget: those that ended, without those of the confirmation."""
    return sum(1 for trial in handle.history if trial.state.finished and trial.confirmation is None)


def _progress(handle: StudyHandle) -> str:
    ended, wanted = _searched(handle), handle.num_trials
    if not wanted:
        return f"<span><b>{ended}</b> trial{'s' * (ended != 1)}</span>"
    # It may have been lowered, and the default is repeated after the last configuration of a small space.
    of = f"{ended} trials, the budget is {wanted}" if ended > wanted else f"{ended} of {wanted} trials"
    bar = f'<progress aria-label="{of}" value="{ended}" max="{max(wanted, ended, 1)}"></progress>'
    return f"<span><b>{of}</b></span>{bar}"


def _counts(handle: StudyHandle) -> str:
    trials = handle.history
    by_state = {state: sum(1 for t in trials if t.state is state) for state in TrialState}
    broken = sum(1 for t in trials if t.state is TrialState.COMPLETE and not t.feasible)
    done = f"{by_state[TrialState.COMPLETE]} complete" + (f" ({broken} break a limit)" if broken else "")
    early = by_state[TrialState.STOPPED] + by_state[TrialState.INTERRUPTED]
    confirming = sum(1 for trial in trials if trial.confirmation is not None)
    # Those of other workers are known by their state only.
    elsewhere = {t.number for t in trials if t.state is TrialState.RUNNING and t.worker}
    running = len({one.trial.number for one in handle.running} | elsewhere)
    counts = [
        done,
        f"{by_state[TrialState.CUT]} cut" if by_state[TrialState.CUT] else "",
        f"{running} running" if running else "",
        f"{by_state[TrialState.FAILED]} failed" if by_state[TrialState.FAILED] else "",
        f"{early} ended early" if early else "",
        f"{confirming} of them starts of the confirmation" if confirming else "",
    ]
    return ", ".join(filter(None, counts))


def _promise_text(handle: StudyHandle) -> str:
    promise = handle.promise if handle.state in (RunState.RUNNING, RunState.PAUSED) else None
    if promise is None:
        return ""
    return f" Another trial of about {duration_text(promise.seconds)} is expected to gain {promise.gain:.1%}."


def _budget_text(handle: StudyHandle) -> str:
    budget = handle.budget
    parts = [f"{handle.num_trials} trials" if handle.num_trials else ""]
    parts.append(f"{budget.minutes:g} min" if budget.minutes else "")
    parts.append(f"{budget.gpu_hours:g} GPU-hours" if budget.gpu_hours else "")
    parts.append(usd_text(budget.usd) if budget.usd else "")
    if budget.patience == "auto":
        parts.append("as long as a trial is worth its time")
    else:
        parts.append(f"{budget.patience} trials without gain" if budget.patience else "")
    return f"Budget: {', '.join(filter(None, parts)) or 'the whole space'}."


def seconds_left(handle: StudyHandle) -> float | None:
    """Estimate how long the rest of the budget takes from the latest trials; None without an ended trial."""
    ended = [t for t in handle.history if t.state.finished]
    if not ended:
        return None
    mean_s = sum(t.work_s for t in ended[-20:]) / len(ended[-20:])
    bounds = []
    if handle.num_trials is not None:
        # A float cannot hold every number of trials that a user may set.
        confirming = sum(1 for trial in ended if trial.confirmation is not None)
        to_go = min(max(0, handle.num_trials - (len(ended) - confirming)), 10**12)
        if (rules := handle.task.confirmation) is not None:
            to_go += max(0, rules.budget - confirming)
        bounds.append(to_go * mean_s / handle.task.deploy.parallel)
    if handle.budget.minutes is not None:
        bounds.append(max(0.0, handle.budget.minutes * 60 - handle.elapsed_s))
    return min(bounds, default=None)


def _time_text(handle: StudyHandle, now: float) -> str:
    ended: list[Trial] = [trial for trial in handle.history if trial.state is not TrialState.RUNNING]
    running = [one.trial.with_(seconds={one.phase: max(now - one.since, 0.0)}) for one in handle.running]
    cost = str(cost_of([*ended, *running], handle.task.price))
    spent = f"{duration_text(handle.elapsed_s)} of work{f' · {escaped(cost)}' if cost else ''}"
    if handle.state not in (RunState.RUNNING, RunState.PAUSED):
        return spent
    left = seconds_left(handle)
    if left is None:
        return f"{spent} · the time left is estimated after the first trial"
    if handle.state is RunState.PAUSED:
        return f"<b>{duration_text(left)} left</b> after the pause · {spent}"
    if not left < YEAR_S:
        return f"<b>{duration_text(left)} left</b> · {spent}"
    until = clock(now + left)
    # The time of another day has no seconds to remove.
    return f"<b>{duration_text(left)} left</b>, until {until[:5] if len(until) == 8 else until} · {spent}"
