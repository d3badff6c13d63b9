"""The bar that stays in view below the form: what the run takes and finds, what is wrong, and the Start button."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import ipywidgets

from autotune_nb.errors import TaskError
from autotune_nb.runner.estimate import Estimate, duration
from autotune_nb.trial.cost import usd_text
from autotune_nb.widgets._field_words import NEEDED, label_of, plain
from autotune_nb.widgets._layout import WidgetStyles

#: The most errors that are listed in the bar; all of them are beside their fields.
_MOST_ERRORS = 3


class RunBar:
    """The facts of the run, its state in words, the study's folder and Start, which is off while something is wrong."""

    def __init__(self, styles: WidgetStyles, start: Callable[[], None]) -> None:
        self.facts = styles.note("", "at-form-facts")
        self.state = styles.note("", "at-form-estimate")
        self.message = styles.note("", "at-form-started")
        self.study = ipywidgets.Text(
            description="Study folder",
            tooltip="the folder in which the study is stored",
            continuous_update=False,
            layout=styles.name,
            style=styles.short_label,
        )
        self.study.add_class("at-form-study")
        self.start = styles.button("Start", start, "at-form-start", tooltip="start the run in the background")
        self.start.button_style = "primary"
        right = ipywidgets.HBox([self.study, self.start], layout=styles.fixed)
        line = ipywidgets.HBox([self.facts, right], layout=styles.bar_line)
        line.add_class("at-form-bar-line")
        self.box = ipywidgets.VBox([line, self.state, self.message], layout=styles.full)
        self.box.add_class("at-form-bar")

    def show(self, problems: Sequence[TaskError], estimate: Estimate | None, *, timed: bool, complete: bool) -> None:
        """Show what is known of the run; with ``timed`` the time too. Not ``complete`` keeps the facts as they are."""
        if problems:
            count = f"{len(problems)} error{'s' * (len(problems) != 1)}"
            listed = "; ".join(error_text(error) for error in problems[:_MOST_ERRORS])
            more = f"; and {len(problems) - _MOST_ERRORS} more" if len(problems) > _MOST_ERRORS else ""
            text = html.escape(f"Start is off, {count}: {listed}{more}")
            self.state.value = f'<div class="at-error" role="status">{text}</div>'
        elif complete:
            self.state.value = '<div class="at-ok" role="status">ready to start</div>'
        self.start.disabled = bool(problems)
        if complete and estimate is not None:
            self.facts.value = facts_html(estimate, timed=timed)


def error_text(error: TaskError) -> str:
    """Return an error with the label of its field, or with its path if the field has none."""
    label = label_of(error.field) or label_of({"model": "model.id_or_path"}.get(error.field, ""))
    message = plain(error.message)
    return f"{label}{'' if message.startswith(NEEDED) else ':'} {message}" if label else str(error)


def facts_html(estimate: Estimate, *, timed: bool) -> str:
    """Return the size of the space, the time, the cost, and which gains are found."""
    facts = [(_configurations(estimate), "")]
    if timed:
        facts += [_time(estimate), _cost(estimate), _gain(estimate)]
    cells = "".join(
        f'<div class="at-fact"><b>{html.escape(value)}</b> <span class="at-dim">{html.escape(what)}</span></div>'
        for value, what in facts
    )
    return f'<div class="at-facts">{cells}</div>'


def _configurations(estimate: Estimate) -> str:
    if estimate.allowed.number is None:
        return "any number of configurations"
    return f"{estimate.allowed} configuration{'s' * (estimate.allowed.number != 1)}"


def _time(estimate: Estimate) -> tuple[str, str]:
    if estimate.minutes is None or estimate.trials is None:
        value = "no end" if estimate.minutes is None else f"at most {duration(estimate.minutes)}"
        return value, "with no bound on trials" if estimate.trials is None else ""
    trials = f"{estimate.trials:,} trial{'s' * (estimate.trials != 1)}"
    confirming = f" and {estimate.starts} starts to confirm the best" if estimate.starts else ""
    each = f", {estimate.each_trial}" if estimate.each_trial else ""
    return f"at most {duration(estimate.minutes)}", f"for {trials}{confirming}{each}"


def _cost(estimate: Estimate) -> tuple[str, str]:
    return ("cost unknown", "no price is set") if estimate.usd is None else (f"at most {usd_text(estimate.usd)}", "")


def _gain(estimate: Estimate) -> tuple[str, str]:
    if not estimate.gains:
        return "no confirmation", "so that gains may be noise"
    gain, noise = estimate.gains[0]
    return f"gains from {100 * gain:.2g} %", f"are found if starts of one configuration differ by {100 * noise:g} %"
