"""The monitor's texts as HTML: progress, running trials, the table, edits. All values are escaped.

Times are given as times of day, not as ages, so that an unchanged text is not sent again.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from autotune_nb.errors import Failure
from autotune_nb.runner.live import RunningTrial
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.task.budget import Confirm
from autotune_nb.trial.configuration import (
    Configuration,
    configuration_key,
    configurations,
    pareto_front,
)
from autotune_nb.trial.formatting import level_text, params_text, value_text
from autotune_nb.trial.limiting_factor import limiting_factor
from autotune_nb.trial.score import Limit, Objective
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.verdict import chosen_configuration

#: Figures in the table besides the objective's, taken at the level of the score.
_FIGURES = {"ttft_p99_s": "TTFT p99", "tpot_mean_s": "TPOT", "e2e_latency_mean_s": "latency"}
_NOTICES = 6
#: Control characters, surrogates, and characters that change the direction of the text.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped(text: object) -> str:
    """Return a text escaped for HTML; control characters, surrogates and direction marks become ``\\uXXXX``."""
    return html.escape(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text)))


def config_text(trial: Trial, width: int = 600) -> str:
    """Return a configuration in one line, shortened to ``width``."""
    text = params_text(trial)
    return text if len(text) <= width else f"{text[:width]}… (shortened; .trials has all of it)"


def clock(at: float) -> str:
    """Return a time of day, with the date if it is another day."""
    try:
        then = datetime.fromtimestamp(at).astimezone()
    except (OverflowError, ValueError, OSError):
        # Out of range.
        return "?"
    today = datetime.now().astimezone().date()
    return then.strftime("%H:%M:%S" if then.date() == today else "%Y-%m-%d %H:%M")


def error_html(error: BaseException | None) -> str:
    """Return the run's error with its cause, or an empty text."""
    if error is None:
        return ""
    message = escaped(f"{error}" or type(error).__name__)
    cause = error.__cause__
    why = f"<br>caused by {escaped(type(cause).__name__)}: {escaped(cause)}" if cause is not None else ""
    return f'<div class="at-banner at-error" role="alert"><b>The run ended with an error.</b><br>{message}{why}</div>'


def message_html(message: str | None) -> str:
    """Return another error, such as a button's or that the folder is gone; empty without one."""
    return f'<div class="at-banner at-error" role="alert">{escaped(message)}</div>' if message else ""


def _chosen(reason: str | None) -> str:
    return f'<div class="at-dim">chosen: {escaped(reason)}</div>' if reason else ""


def skipped_html(skipped: Sequence[str]) -> str:
    """Return a line for each group of configurations that is skipped."""
    return "".join(f'<div class="at-dim">skipped: {escaped(text)}</div>' for text in skipped)


def notices_html(notices: Sequence[tuple[float, str]]) -> str:
    """Return the latest notices, each with its time."""
    rows = "".join(
        f'<div><span class="at-dim">{clock(at)}</span> {escaped(text)}</div>' for at, text in notices[-_NOTICES:]
    )
    return f'<div role="status">{rows}</div>' if rows else ""


ORDERS = ("latest first", "best first", "failed")


def sorted_trials(trials: Sequence[Trial], order: str, objective: Objective) -> list[Trial]:
    """Return the trials of the table in one of ``ORDERS``."""
    if order == "failed":
        return [t for t in reversed(trials) if t.state is TrialState.FAILED]
    if order == "best first":
        sign = -1.0 if objective.direction == "maximize" else 1.0
        ranked = sorted(configurations(trials).values(), key=lambda one: (not one.feasible, sign * one.value))
        # Those that were cut are not ranked: they were measured at fewer levels.
        return [*(trial for one in ranked for trial in one.complete), *(t for t in trials if t.state is TrialState.CUT)]
    return list(reversed(trials))


def table_html(
    trials: Sequence[Trial],
    page: Sequence[Trial],
    objective: Objective,
    running: Sequence[RunningTrial] = (),
    confirm: Confirm | None = None,
) -> str:
    """Return a page of trials: figures at the level of the score, limits, parameters, failures."""
    found = configurations(trials)
    best = chosen_configuration(trials, objective, confirm)
    key = configuration_key(best.trial) if best is not None else None
    marked = {trial.number for trial in found[key].complete} if key is not None else set()
    several_levels = len({trial.score.level for trial in trials if trial.score is not None}) > 1
    on_front = (
        {t.number for one in pareto_front(trials, objective) for t in one.complete} if objective.others else set()
    )
    doing = {one.trial.number: one.doing for one in running}
    others = {name: name for name in objective.figures[1:]}
    figures = others | {name: title for name, title in _FIGURES.items() if name not in objective.figures}
    checked = dict.fromkeys(name for trial in trials if trial.score for name in trial.score.limits)
    limits = {name: Limit.parse(name) for name in (*map(str, objective.limits), *checked)}
    heads = ["trial", "state", objective.figure, *figures.values(), *limits]
    numeric = 2 + len(figures)
    head = "".join(f'<th{_numeric(2 <= i <= numeric)} scope="col">{escaped(h)}</th>' for i, h in enumerate(heads))
    rows = []
    for trial in page:
        mark = ' class="best"' if trial.number in marked else ""
        state = _state_text(trial) + (", on the Pareto front" if trial.number in on_front else "")
        cells = [f"<td>{trial.number}</td>", f"<td>{escaped(doing.get(trial.number, state))}</td>"]
        value = value_text(trial.score.value, objective.figure) if trial.score else ""
        read = _scored(trial)
        cells += [f'<td class="n">{escaped(value)}</td>']
        cells += [f'<td class="n">{escaped(value_text(read[f], f)) if f in read else ""}</td>' for f in figures]
        for name, limit in limits.items():
            broken = trial.score.limits.get(name) if trial.score else None
            cells.append(
                "<td></td>" if broken is None else _limit_cell(broken, limit.figure, trial.undecided.get(name, ""))
            )
        failure = _failure(trial.failure) if trial.failure is not None else _cut(trial.cut_reason)
        failure += _answers(trial)
        # Parameters are in a row of their own, since a column would be too narrow for them.
        repeat = _repeat_text(trial, found.get(configuration_key(trial)), objective)
        if several_levels and trial.score is not None and trial.score.level is not None:
            repeat += f" · read under {trial.score.level}"
        if trial.worker:
            repeat += f" · by {trial.worker}"
        details = f'<td></td><td colspan="{len(heads) - 1}">{escaped(config_text(trial) + repeat)}{failure}</td>'
        rows.append(f"<tr{mark}>{''.join(cells)}</tr><tr{mark}>{details}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>" if rows else ""


def _repeat_text(trial: Trial, configuration: Configuration | None, objective: Objective) -> str:
    """Format which start of its configuration a trial is, and the mean; empty for the only start."""
    if configuration is not None and trial.in_round:
        # The mean of the rounds alone, since the verdict is about them.
        configuration = configuration.confirmed
    starts = configuration.complete if configuration is not None else ()
    if configuration is None or trial not in starts or (len(starts) == 1 and not configuration.failed):
        return ""
    mean = value_text(configuration.value, objective.figure)
    which = "confirmation, start" if trial.in_round else "start"
    return f" · {which} {starts.index(trial) + 1} of {len(starts)}, mean {mean}" + (
        f", {configuration.failed} failed" if configuration.failed else ""
    )


def _numeric(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def _limit_cell(violation: float, figure: str, undecided: str) -> str:
    if undecided:
        return f'<td class="at-dim">? undecided: {escaped(undecided)}</td>'
    by = value_text(abs(violation), figure)
    if violation > 0:
        return f'<td class="at-error">✗ broken by {escaped(by)}</td>'
    return f'<td class="at-ok">✓ kept by {escaped(by)}</td>'


def _state_text(trial: Trial) -> str:
    if trial.state is TrialState.COMPLETE and not trial.feasible:
        return "breaks a limit"
    return str(trial.state)


def _scored(trial: Trial) -> Mapping[str, float]:
    """Return the figures at the level of the score."""
    level = trial.score.level if trial.score else None
    return next((m.figures for m in trial.measurements if m.level == level), {})


def _cut(reason: str) -> str:
    return f'<div class="at-dim">cut: {escaped(reason)}</div>' if reason else ""


def _answers(trial: Trial) -> str:
    return f'<div class="at-dim">{escaped(trial.answers)}</div>' if trial.answers else ""


def _failure(failure: Failure) -> str:
    hint = f"<br>try: {escaped(failure.hint)}" if failure.hint else ""
    log = f"<pre>{escaped(chr(10).join(failure.log_lines))}</pre>" if failure.log_lines else ""
    return f'<div class="at-error">{escaped(failure)}{hint}</div>{log}'


def trial_html(trial: Trial | None, objective: Objective) -> str:
    """Return the details of the selected trial."""
    if trial is None:
        return '<span class="at-dim">Click on a trial in the charts to see it here.</span>'
    levels = "; ".join(escaped(level_text(m, objective)) for m in trial.measurements)
    about = f"<b>trial {trial.number}</b> ({escaped(_state_text(trial))}): {escaped(config_text(trial, 5000))}"
    limited = f'<div class="at-dim">limited by: {escaped(text)}</div>' if (text := limiting_factor(trial)) else ""
    return f"{about}{_chosen(trial.reason)}<div>{levels}</div>{limited}{_cut(trial.cut_reason)}{_answers(trial)}"


def edits_html(edits: Sequence[Edit], steering: Steering, waiting: int) -> str:
    """Return the edits with their times, the restrictions in force and the number of enqueued configurations."""
    if not edits:
        return '<div class="at-dim">No edits yet.</div>'
    rows = "".join(f"<li>{clock(edit.at)}: {escaped(edit.text)}</li>" for edit in edits[-20:])
    now = "; ".join(escaped(r.text) for r in steering.restrictions.values())
    in_force = f"<div>In force: {now}.</div>" if now else ""
    queued = f"<div>enqueued configurations: {waiting}</div>" if waiting else ""
    return f"<ul>{rows}</ul>{in_force}{queued}"
