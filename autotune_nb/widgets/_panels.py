"""The monitor's texts as HTML: progress, running trials, the table, edits. All values are escaped.

Times are given as times of day, not as ages, so that an unchanged text is not sent again.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from datetime import datetime

from autotune_nb.reports.chart_text import visible
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.trial.formatting import params_text
from autotune_nb.trial.trial import Trial

_NOTICES = 6


def escaped(text: object) -> str:
    """Return a text escaped for HTML; control characters, surrogates and direction marks become ``\\uXXXX``."""
    return html.escape(visible(text))


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


def skipped_html(skipped: Sequence[str]) -> str:
    """Return a line for each group of configurations that is skipped."""
    return "".join(f'<div class="at-dim">skipped: {escaped(text)}</div>' for text in skipped)


def notices_html(notices: Sequence[tuple[float, str]]) -> str:
    """Return the latest notices, each with its time."""
    rows = "".join(
        f'<div><span class="at-dim">{clock(at)}</span> {escaped(text)}</div>' for at, text in notices[-_NOTICES:]
    )
    return f'<div role="status">{rows}</div>' if rows else ""


def edits_html(edits: Sequence[Edit], steering: Steering) -> str:
    """Return the edits with their times, and the restrictions in force."""
    if not edits:
        return '<div class="at-dim">No edits yet.</div>'
    rows = "".join(f"<li>{clock(edit.at)}: {escaped(edit.text)}</li>" for edit in edits[-20:])
    now = "; ".join(escaped(r.text) for r in steering.restrictions.values())
    in_force = f"<div>In force: {now}.</div>" if now else ""
    return f"<ul>{rows}</ul>{in_force}"
