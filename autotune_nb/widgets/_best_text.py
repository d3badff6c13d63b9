"""The monitor's line on the best configuration: its value, its gain over the default, its limits."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_nb.handle import StudyHandle
from autotune_nb.runner.runner import RunState
from autotune_nb.trial.configuration import Configuration, configurations, default_configuration, pareto_front
from autotune_nb.trial.formatting import numbers_text, value_text
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.verdict.closest import closest_text
from autotune_nb.verdict.gains import Gain, gains_to_default
from autotune_nb.widgets._panels import config_text, escaped

_CONFIG_WIDTH = 220
_FAILURE_WIDTH = 300


def best_html(handle: StudyHandle) -> str:
    """Return the best configuration against the default, or why there is none yet."""
    trials, goal = handle.history, handle.task.goal
    best = handle.best_configuration
    if best is None:
        return f"<div>{_none_text(handle)}</div>"
    over = handle.state == RunState.FINISHED
    verdict = handle.verdict if handle.task.confirmation is not None else None
    confirmed = verdict is not None and verdict.confirmed
    name = "best" if over or confirmed else "best so far"
    if goal.others:
        count = len(pareto_front(trials, goal))
        name = f"Pareto front: {count} configuration{'s' * (count != 1)}; its knee{'' if over else ' so far'}"
    value = ", ".join(value_text(number, figure) for figure, number in best.figures.items())
    parts = [f"{name}: trial {best.trial.number}", f"<b>{escaped(value)}</b>"]
    if best.baseline:
        parts.append("the engine's default" + ("; nothing else is better" if len(configurations(trials)) > 1 else ""))
    elif gain := _gain_text(trials, best, handle):
        parts.append(gain)
    parts += _limits(best)
    config = "" if best.baseline else escaped(config_text(best.trial, _CONFIG_WIDTH))
    # With its rounds, its noise and what cannot be told apart.
    about = f'<div class="at-dim">{escaped(verdict)}</div>' if confirmed else ""
    line = f'<div class="at-line at-dim" title="{config}">{config}</div>'
    return f'<div class="at-best">{" · ".join(parts)}</div>{line}{about}'


def _gain_text(trials: Sequence[Trial], best: Configuration, handle: StudyHandle) -> str:
    goal = handle.task.goal
    if goal.others:
        return ""
    default = default_configuration(trials)
    if default is None:
        failed = any(trial.baseline and trial.state is TrialState.FAILED for trial in trials)
        return "the engine's default failed, so there is nothing to compare with" if failed else ""
    found = gains_to_default(trials, goal, handle.task.confirmation).get(best.trial.configuration_key)
    if found is None:
        return ""
    starts = f"{len(best.values)} starts" if len(best.values) > 1 else "measured once"
    better = "better" if found.share >= 0 else "worse"
    breaks = "" if default.feasible else ", which breaks a limit"
    percent = 100 * abs(found.share)
    text = f"{percent:,.0f}" if percent >= 10 else f"{percent:.1f}"
    return f"<b>{text} % {better}</b> than the default{breaks} ({_interval(found)}{starts})"


def _interval(gain: Gain) -> str:
    if gain.low is None or gain.high is None:
        return ""
    return f"95 %: {100 * gain.low:.2g} to {100 * gain.high:.2g} %, "


def _limits(best: Configuration) -> list[str]:
    found = []
    for name, violation in best.limits.items():
        undecided = best.undecided.get(name, "")
        if undecided:
            found.append(f'<span class="at-dim" title="{escaped(undecided)}">? {escaped(name)} undecided</span>')
        elif violation > 0:
            found.append(f'<span class="at-error">✗ {escaped(name)} broken</span>')
        else:
            found.append(f'<span class="at-ok">✓ {escaped(name)} kept</span>')
    return found


def _none_text(handle: StudyHandle) -> str:
    trials = [trial for trial in handle.history if trial.state is not TrialState.RUNNING]
    failed = [trial for trial in trials if trial.state is TrialState.FAILED]
    scored = [trial for trial in trials if trial.state.scored and trial.score is not None]
    if scored:
        return f"no configuration keeps every limit yet; {escaped(closest_text(scored))}"
    if failed:
        every = "the only trial failed" if len(failed) == 1 else f"all {len(failed)} trials failed"
        last = failed[-1]
        # The page of the trial has all of it.
        why = f": {_shortened(str(last.failure))}" if last.failure is not None else ""
        if last.failure is not None and str(last.failure) in f"{handle.end_reason} {handle.error or ''}":
            # It is in the line of why the run ended.
            return f'<span class="at-error">{every}</span>'
        return f'<span class="at-error">{every}</span>; {escaped(numbers_text([last]))}{escaped(why)}'
    if handle.running and handle.running[0].trial.baseline:
        return "the engine's default is measured first: the others are compared with it"
    return "the best configuration is shown here, against the engine's default, once a trial is complete"


def _shortened(text: str) -> str:
    return text if len(text) <= _FAILURE_WIDTH else f"{text[:_FAILURE_WIDTH]}…"
