"""Shows the progress of an awaited run in the output of the awaiting cell, where it is saved with the notebook."""

from __future__ import annotations

import asyncio
import html
import textwrap

from IPython.display import DisplayHandle

from autotune_nb.handle import StudyHandle
from autotune_nb.trial.formatting import counts_text, params_text, value_text
from autotune_nb.trial.trial import Trial, TrialState

_EVERY_S = 0.5
_ROWS = 15
_CELL = "padding:1px 10px 1px 0;text-align:left;vertical-align:top"


async def show_progress(run: StudyHandle) -> None:
    """Update one output of the awaiting cell until the run is over, at most twice a second and only on change."""
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wake(_event: object) -> None:
        loop.call_soon_threadsafe(changed.set)

    handle = DisplayHandle()
    unsubscribe = run.subscribe(wake)
    shown = _bundle(run)
    handle.display(shown, raw=True)
    try:
        while not run.ended:
            try:
                async with asyncio.timeout(_EVERY_S):
                    await changed.wait()
            except TimeoutError:
                continue
            changed.clear()
            shown = _refresh(handle, run, shown)
            await asyncio.sleep(_EVERY_S)
    finally:
        unsubscribe()
        _refresh(handle, run, shown)


def _refresh(handle: DisplayHandle, run: StudyHandle, shown: dict[str, str]) -> dict[str, str]:
    bundle = _bundle(run)
    if bundle != shown:
        handle.update(bundle, raw=True)
    return bundle


def table_html(study: StudyHandle) -> str:
    """Return the latest trials of a study as HTML without scripts."""
    return _bundle(study)["text/html"]


def _bundle(run: StudyHandle) -> dict[str, str]:
    trials = run.history
    replayed = f", {run.task.deploy.replayed}" if run.task.deploy.replayed else ""
    title = f"{run.folder.name}: {run.state} ({counts_text(trials)}){replayed}"
    several_levels = len({trial.score.level for trial in trials if trial.score is not None}) > 1
    rows = [_row(trial, several_levels) for trial in trials[-_ROWS:]]
    figures = html.escape(", ".join(run.task.goal.figures))
    text = "\n".join([title, *("  ".join(row) for row in rows)])
    head = "".join(f'<th style="{_CELL}">{name}</th>' for name in ("trial", "state", figures, "parameters"))
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{html.escape(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    return {
        "text/plain": text,
        "text/html": f"<p><b>{html.escape(title)}</b></p><table><tr>{head}</tr>{body}</table>",
    }


def _row(trial: Trial, with_level: bool) -> tuple[str, str, str, str]:
    value = ", ".join(value_text(v, name) for name, v in trial.score.values.items()) if trial.score else ""
    if with_level and trial.score is not None and trial.score.level is not None:
        value += f", under {trial.score.level}"
    if trial.state is TrialState.FAILED and trial.failure is not None:
        value = textwrap.shorten(trial.failure.message, 90, placeholder="…")
    by = f", by {trial.worker}" if trial.worker else ""
    return str(trial.number), f"{trial.state}{by}", value, params_text(trial)
