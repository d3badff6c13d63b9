"""The monitor without widgets: read-only HTML in one output, replaced by its display id while the study goes on."""

from __future__ import annotations

import html
import threading
import time
from typing import Any

from IPython.display import DisplayHandle

from autotune_nb.handle import StudyHandle
from autotune_nb.runner.runner import RunState
from autotune_nb.widgets._progress import table_html

#: The output is replaced at most so often.
EVERY_S = 1.0
#: And for a share of the time at most, since a table of thousands of trials takes long to write.
_SHARE = 10
_open_views: set[HtmlView] = set()


class HtmlView:
    """An output with the running trials and the latest ones; once the study rests, with its report in brief."""

    def __init__(self, study: StudyHandle) -> None:
        self._study = study
        self._handle = DisplayHandle()
        self._changed = threading.Event()
        self._shown: dict[str, Any] = {}
        self._refreshing = threading.Lock()

    def display(self) -> None:
        """Add the output to the cell that is being executed, and update it from a thread."""
        self._shown = view_bundle(self._study)
        self._handle.display(self._shown, raw=True)
        if is_working(self._study):
            _open_views.add(self)
            threading.Thread(target=self._follow, name="autotune_nb HTML view", daemon=True).start()

    def _follow(self) -> None:
        unsubscribe = self._study.subscribe(lambda _event: self._changed.set())
        try:
            while is_working(self._study):
                # Of a study in another process there are no events.
                self._changed.wait(EVERY_S)
                self._changed.clear()
                time.sleep(max(EVERY_S, _SHARE * self._refresh()))
        finally:
            unsubscribe()
            self._refresh()
            _open_views.discard(self)

    def refresh_if_of(self, study: StudyHandle) -> None:
        """Replace the output at once if it shows this study."""
        if self._study is study:
            self._refresh()

    def _refresh(self) -> float:
        """Replace the output if it changed; return how long that took."""
        began = time.monotonic()
        with self._refreshing:
            self._study.poll()
            bundle = view_bundle(self._study)
            if bundle != self._shown:
                self._shown = bundle
                self._handle.update(bundle, raw=True)
        return time.monotonic() - began


def refresh_views(study: StudyHandle) -> None:
    """Replace the outputs that show the study now, since the notebook may end before their next update."""
    for view in tuple(_open_views):
        view.refresh_if_of(study)


def is_working(study: StudyHandle) -> bool:
    """Return whether a run works on the study, in this process or another one."""
    state = str(study.state)
    return state in list(RunState) and not RunState(state).ended


def view_bundle(study: StudyHandle) -> dict[str, Any]:
    """Return the output: what a notebook that is executed headless saves, and before that the progress."""
    if not is_working(study):
        return study.lasting_bundle()
    lines = [f"trial {one.trial.number}: {one.doing}" for one in study.running]
    notices = [text for _, text in study.notices[-3:]]
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    last = "".join(f"<div>{html.escape(text)}</div>" for text in notices)
    text = "\n".join([repr(study), *lines, *notices])
    return {"text/plain": text, "text/html": f"{table_html(study)}<ul>{items}</ul>{last}"}
