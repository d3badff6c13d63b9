"""The page of a trial, and several trials side by side, as HTML. All values are escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune_nb.engines.base import Engine
from autotune_nb.engines.registry import engine_of_study
from autotune_nb.errors import AutotuneError
from autotune_nb.handle import StudyHandle
from autotune_nb.results.comparison import spread_text
from autotune_nb.results.configuration_columns import figure_names
from autotune_nb.results.figure_words import direction_of
from autotune_nb.secrets.references import command_text
from autotune_nb.study.folder import StudyFolder
from autotune_nb.task.external_results import is_imported
from autotune_nb.task.restriction import value_text as parameter_text
from autotune_nb.task.task import Task
from autotune_nb.trial.configuration import configurations, default_configuration
from autotune_nb.trial.formatting import duration_text, figure_head, value_text
from autotune_nb.trial.limiting_factor import limiting_factor
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial, TrialState, Value
from autotune_nb.widgets._panels import escaped

#: What stands for a parameter that is not set.
_UNSET = "default"
_MOST_FILES = 12
TRIAL_CSS = """
.at-trial-parts { display: grid; gap: 4px 28px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); }
.at-trial-parts > * { overflow-x: auto; }
.at-monitor-trial mark { color: inherit; padding: 0 3px; border-radius: 2px;
  background: color-mix(in srgb, var(--jp-brand-color1, #1976d2) 24%, transparent); }
.at-monitor-trial th { font-weight: 500; }
.at-monitor-trial td.n span { display: block; font-size: 11px; font-weight: 400; }
.at-compare { width: auto !important; }
.at-root .at-compare td.n { text-align: left; }
.at-try-fields { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 290px), 1fr)); }
/* Names above their fields, whole: a label has no tooltip. */
.at-root .at-try-fields > * { width: auto; height: auto; flex-direction: column; align-items: stretch; }
.at-root .at-try-fields > * > .widget-label { height: auto; line-height: 1.4; text-align: left; white-space: normal;
  overflow-wrap: anywhere; }
"""
NOTHING = "Select a trial in the table or a chart. To compare up to five, hold Ctrl or use the boxes."


def engine_or_none(task: Task) -> Engine | None:
    """Return the engine of a task for its flags' defaults; None if this version does not have it."""
    try:
        return None if is_imported(task) else engine_of_study(task)
    except AutotuneError:
        return None


def page_html(handle: StudyHandle, trials: Sequence[Trial], trial: Trial, engine: Engine | None, metrics: str) -> str:
    """Return everything about one trial; ``metrics`` are its small charts."""
    goal = handle.task.goal
    best = handle.best_trial
    reason = escaped(handle.reason(trial))
    parts = [
        f"<h4>Trial {trial.number}: {escaped(_state(trial, best))}</h4>",
        f'<div class="at-dim">why it was chosen: {reason}</div>',
        _starts(trials, trial, goal),
        _failure(trial),
        *(_line(name, text) for name, text in _remarks(trial).items()),
        '<div class="at-trial-parts">',
        _difference(trials, trial, best, engine),
        # It may scroll sideways, also by the keyboard.
        f'<div tabindex="0" role="group" aria-label="levels">{_levels(trial, goal)}{_phases(trial)}</div>',
        "</div>",
        metrics,
        _command(trial),
        _files(handle.path, trial),
    ]
    return "".join(parts)


def compare_html(handle: StudyHandle, chosen: Sequence[Trial], engine: Engine | None) -> str:
    """Return trials side by side: first what differs, marked, then their figures; what is the same in one line."""
    goal, best = handle.task.goal, handle.best_trial
    head = "".join(f"<th>trial {one.number}<br>{escaped(_state(one, best))}</th>" for one in chosen)
    rows, same, changed = [], [], False
    names = dict.fromkeys(name for one in chosen for name in one.params)
    for name in names:
        texts = [_parameter(one, name, engine) for one in chosen]
        if len(set(texts)) == 1:
            same.append(f"{name} = {texts[0]}")
            continue
        common = max(set(texts), key=texts.count)
        cells = "".join(f"<td>{_marked(text, text != common or texts.count(common) == 1)}</td>" for text in texts)
        rows.append(f"<tr><th>{escaped(name)}</th>{cells}</tr>")
    for figure in figure_names(goal):
        first, *others = (_scored(one).get(figure) for one in chosen)
        if any(value is not None for value in (first, *others)):
            texts = ["", *(_change(first, value, figure, goal) for value in others)]
            changed = changed or any(texts)
            cells = "".join(map(_figure, (first, *others), [figure] * len(chosen), texts))
            rows.append(f"<tr><th>{escaped(figure_head(figure)[0])}</th>{cells}</tr>")
    levels = [str(one.score.level) if one.score and one.score.level else "" for one in chosen]
    rows.append(f"<tr><th>at</th>{''.join(f'<td>{escaped(level)}</td>' for level in levels)}</tr>")
    for limit in map(str, goal.limits):
        rows.append(f"<tr><th>{escaped(limit)}</th>{''.join(f'<td>{_kept(one, limit)}</td>' for one in chosen)}</tr>")
    failures = [str(one.failure) if one.failure else "" for one in chosen]
    if any(failures):
        rows.append(f"<tr><th>failure</th>{''.join(f'<td>{escaped(text)}</td>' for text in failures)}</tr>")
    rest = f'<div class="at-dim">the same: {escaped(", ".join(same))}</div>' if same else ""
    if changed:
        rest += f'<div class="at-dim">% are differences to trial {chosen[0].number}, of one start each</div>'
    table = f'<table class="at-compare"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f"<h4>{len(chosen)} trials side by side</h4>{table}{rest}"


def _state(trial: Trial, best: Trial | None) -> str:
    words = [str(trial.state)]
    if trial.state is TrialState.COMPLETE and not trial.feasible:
        words = ["breaks a limit"]
    if trial.baseline:
        words.insert(0, "the engine's default")
    if best is not None and best.configuration_key == trial.configuration_key:
        words.insert(0, "best")
    return ", ".join(words)


def _starts(trials: Sequence[Trial], trial: Trial, goal: Objective) -> str:
    """Return the other starts of its configuration with their values."""
    own = [one for one in trials if one.configuration_key == trial.configuration_key]
    if len(own) < 2:
        return ""
    texts = [
        f"trial {one.number} {value_text(one.score.value, goal.figure) if one.score else one.state}" for one in own
    ]
    found = configurations(trials).get(trial.configuration_key)
    text = f"; {found.starts_text}" if found is not None and found.starts_text else ""
    return _line("starts of this configuration", f"{', '.join(texts)}{text}")


def _remarks(trial: Trial) -> Mapping[str, str]:
    found = {
        "limited by": limiting_factor(trial),
        "cut": trial.cut_reason,
        "answers": trial.answers,
        "worker": trial.worker,
        "undecided": "; ".join(f"{name}: {why}" for name, why in trial.undecided.items()),
        "doubtful": "; ".join(f"{one.level}: {note}" for one in trial.measurements for note in one.notes),
    }
    return {name: text for name, text in found.items() if text}


def _line(name: str, text: str) -> str:
    return f'<div><span class="at-dim">{escaped(name)}:</span> {escaped(text)}</div>'


def _failure(trial: Trial) -> str:
    failure = trial.failure
    if failure is None:
        return ""
    hint = f"<div>try: {escaped(failure.hint)}</div>" if failure.hint else ""
    log = f"<pre>{escaped(chr(10).join(failure.log_lines))}</pre>" if failure.log_lines else ""
    return f'<div class="at-error">{escaped(failure)}</div>{hint}{log}'


def _parameter(trial: Trial, name: str, engine: Engine | None) -> str:
    value = trial.params.get(name)
    if value is None:
        flag = engine.flag_named(name) if engine is not None else None
        known = flag.default if flag is not None else None
        return _UNSET if known is None else f"{_text(known)} ({_UNSET})"
    return _text(value)


def _text(value: Value) -> str:
    return value if isinstance(value, str) else parameter_text(value)


def _marked(text: str, marked: bool) -> str:
    return f"<mark>{escaped(text)}</mark>" if marked else escaped(text)


def _difference(trials: Sequence[Trial], trial: Trial, best: Trial | None, engine: Engine | None) -> str:
    """Return the parameters that differ from the default or from the best, beside their values there."""
    default = default_configuration(trials)
    others = [("default", default.trial if default is not None else Trial(-1, {}, baseline=True))]
    if best is not None and best.configuration_key not in (trial.configuration_key, others[0][1].configuration_key):
        others.append((f"best (trial {best.number})", best))
    names = dict.fromkeys((*trial.params, *(name for _, one in others for name in one.params)))
    rows, same = [], []
    for name in names:
        own, theirs = _parameter(trial, name, engine), [_parameter(one, name, engine) for _, one in others]
        if all(text.removesuffix(f" ({_UNSET})") == own.removesuffix(f" ({_UNSET})") for text in theirs):
            same.append(name)
            continue
        cells = "".join(f"<td>{_marked(text, text != own)}</td>" for text in theirs)
        rows.append(f"<tr><th>{escaped(name)}</th><td><b>{escaped(own)}</b></td>{cells}</tr>")
    if not rows:
        return "<div>All its parameters have the default's values.</div>"
    head = "".join(f"<th>{escaped(name)}</th>" for name, _ in others)
    rest = f'<div class="at-dim">the same: {escaped(", ".join(same))}</div>' if same else ""
    return (
        f"<div><table><thead><tr><th>parameter</th><th>trial {trial.number}</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>{rest}</div>"
    )


def _levels(trial: Trial, goal: Objective) -> str:
    """Return each level's figures with their spread over its requests; the level of the score is marked."""
    if not trial.measurements:
        return '<div class="at-dim">No level is measured yet.</div>' if trial.state is TrialState.RUNNING else ""
    figures = [name for name in figure_names(goal) if any(name in one.figures for one in trial.measurements)]
    head = "".join(f'<th class="n">{escaped(figure_head(name)[0])}</th>' for name in figures)
    rows = []
    for one in trial.measurements:
        scored = trial.score is not None and trial.score.level == one.level
        cells = "".join(
            f'<td class="n">{escaped(value_text(one.figures[name], name))}'
            f'<span class="at-dim">{escaped(spread_text(name, one))}</span></td>'
            if name in one.figures
            else "<td></td>"
            for name in figures
        )
        broken = [str(limit) for limit in goal.limits if limit.figure in one.figures and limit.violation(one) > 0]
        note = f'<td class="at-warn">breaks {escaped(", ".join(broken))}</td>' if broken else "<td></td>"
        mark = ' class="best"' if scored else ""
        rows.append(f"<tr{mark}><th>{escaped(one.level)}{' (its score)' if scored else ''}</th>{cells}{note}</tr>")
    return f"<table><thead><tr><th>level</th>{head}<td></td></tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _phases(trial: Trial) -> str:
    texts = [
        f"{phase} {duration_text(seconds) if seconds >= 10 else f'{seconds:.2g} s'}"
        for phase, seconds in trial.seconds.items()
    ]
    return _line("phases", ", ".join(texts)) if texts else ""


def _command(trial: Trial) -> str:
    if not trial.command:
        return ""
    return (
        f'<div class="at-dim">command:</div><pre class="at-trial-command">{escaped(command_text(trial.command))}</pre>'
    )


def _files(study: Path, trial: Trial) -> str:
    folder = StudyFolder(study).trial_folder(trial.number)
    try:
        names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    except OSError:
        return ""
    if not names:
        return ""
    more = f" and {len(names) - _MOST_FILES} more" if len(names) > _MOST_FILES else ""
    return _line(f"files in {folder}", f"{', '.join(names[:_MOST_FILES])}{more}")


def _scored(trial: Trial) -> Mapping[str, float]:
    measured = trial.scored_measurement
    return measured.figures if measured is not None else trial.score.values if trial.score is not None else {}


def _figure(value: float | None, figure: str, change: str) -> str:
    more = f'<span class="at-dim">{escaped(change)}</span>' if change else ""
    return "<td></td>" if value is None else f'<td class="n">{escaped(value_text(value, figure))}{more}</td>'


def _change(first: float | None, value: float | None, figure: str, goal: Objective) -> str:
    """Return the difference to the first in %, and whether it is for the better; empty if it is unknown or none."""
    if not first or value is None or value_text(first, figure) == value_text(value, figure):
        return ""
    share = (value - first) / abs(first)
    direction = direction_of(figure, goal)
    word = "" if direction is None else ", better" if (share > 0) is (direction == "maximize") else ", worse"
    return f"{100 * share:+.3g} %{word}" if abs(share) < 10 else f"{100 * share:+,.0f} %{word}"


def _kept(trial: Trial, limit: str) -> str:
    violation = trial.score.limits.get(limit) if trial.score is not None else None
    if violation is None:
        return ""
    if limit in trial.undecided:
        return '<span class="at-warn">? undecided</span>'
    return '<span class="at-error">✗ broken</span>' if violation > 0 else '<span class="at-ok">✓ kept</span>'
