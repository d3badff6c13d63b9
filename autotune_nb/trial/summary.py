"""A trial and a measurement in one line, and a trial as a card for a notebook."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from autotune_nb.trial.formatting import duration_text, figure_head, level_text, params_text, value_text
from autotune_nb.trial.html_card import card_html, folded_html, preformatted_html, table_html
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.trial import Trial

#: The figures of the table of levels.
_FIGURES = ("output_tokens_per_s", "ttft_mean_s", "ttft_p99_s", "tpot_mean_s", "e2e_latency_mean_s")


def trial_line(trial: Trial) -> str:
    """Return a trial in one line, as its repr."""
    return f"<Trial {trial.number}: {', '.join(filter(None, [str(trial.state), _values(trial), params_text(trial)]))}>"


def measurement_line(measured: Measurement) -> str:
    """Return a measurement in one line, as its repr."""
    return f"<Measurement {level_text(measured)}>"


def trial_html(trial: Trial, *, note: str = "", tags: Iterable[str] = ()) -> str:
    """Return a trial as a card: its configuration, result and failure, with its levels folded."""
    failure = trial.failure
    log = preformatted_html("\n".join(failure.log_lines)) if failure is not None else ""
    count = len(trial.measurements)
    rows = [*_rows(trial), ("Tags", ", ".join(tags)), ("Note", note)]
    levels = folded_html(f"{count} level{'s' * (count != 1)}", levels_html(trial.measurements))
    return card_html(f"Trial {trial.number}: {trial.state}", rows, log, levels)


def levels_html(measured: Iterable[Measurement]) -> str:
    """Return a table with a row per level and the figures that most people compare."""
    found = list(measured)
    names = [name for name in _FIGURES if any(name in one.figures for one in found)]
    heads = ["level", *(figure_head(name)[0] for name in names), "requests"]
    rows = [
        [
            str(one.level),
            *(value_text(one.figures[name], name) if name in one.figures else "" for name in names),
            f"{one.num_completed_requests}" + (f", {one.num_failed_requests} failed" * bool(one.num_failed_requests)),
        ]
        for one in found
    ]
    return table_html(heads, rows)


def _rows(trial: Trial) -> Iterator[tuple[str, str]]:
    yield "Configuration", params_text(trial)
    yield "Result", _values(trial)
    if trial.score is not None and trial.score.limits:
        undecided = trial.undecided
        words = (
            f"{name}: {'undecided' if name in undecided else 'broken' if violation > 0 else 'kept'}"
            for name, violation in trial.score.limits.items()
        )
        yield "Limits", ", ".join(words)
    yield "Failure", str(trial.failure) if trial.failure is not None else ""
    yield "To try", trial.failure.hint if trial.failure is not None else ""
    yield "Cut", trial.cut_reason
    seconds = math.fsum(trial.seconds.values())
    yield "Took", duration_text(seconds) if seconds else ""
    yield "Chosen", trial.reason


def _values(trial: Trial) -> str:
    if trial.score is None:
        return ""
    values = ", ".join(f"{value_text(value, name)} ({name})" for name, value in trial.score.values.items())
    return f"{values} under {trial.score.level}" if trial.score.level is not None else values
