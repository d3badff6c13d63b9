"""The monitor's buttons: only those that the state of the run allows are shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ipywidgets

from autotune_nb.handle import StudyHandle
from autotune_nb.opened import OpenedStudy
from autotune_nb.run import Run
from autotune_nb.runner.runner import RunState
from autotune_nb.task.external_results import lacks_engine

_STOP, _KILL = "Stop", "Kill the engines"
#: Two clicks on Stop within this time are one.
_DOUBLE_CLICK_S = 1.0


class RunButtons:
    """Start, Pause, Resume and Stop; ``handle`` returns the study at the time of a click.

    ``start`` resumes the study. ``clicked`` is called after each click with the message of its error, or None.
    """

    def __init__(
        self,
        handle: Callable[[], StudyHandle],
        start: Callable[[], None],
        clicked: Callable[[str | None], None],
    ) -> None:
        self._handle, self._clicked = handle, clicked
        self._stopped_at = float("-inf")
        self.start = self._button("Start", "play", "resume this study", start)
        self.pause = self._button("Pause", "pause", "start no more trials; the running ones continue", self._pause)
        self.resume = self._button("Resume", "forward", "continue after a pause", self._resume)
        self.stop = self._button(_STOP, "stop", "take the running trials down and start no more", self._stop)
        row = ipywidgets.Layout(flex_flow="row wrap", align_items="center", width="auto")
        self.box = ipywidgets.HBox([self.start, self.pause, self.resume, self.stop], layout=row)
        self.box.add_class("at-monitor-buttons")

    def _button(self, text: str, icon: str, tip: str, act: Callable[[], None]) -> ipywidgets.Button:
        layout = ipywidgets.Layout(width="auto", display="none")
        button = ipywidgets.Button(description=text, icon=icon, tooltip=tip, layout=layout, disabled=True)
        button.add_class(f"at-monitor-{text.lower()}")

        def clicked(_button: Any) -> None:
            message = None
            try:
                act()
            except Exception as error:  # noqa: BLE001 - Jupyter shows no exception of a callback
                message = f"{error}" or type(error).__name__
            self._clicked(message)

        button.on_click(clicked)
        return button

    def _pause(self) -> None:
        if isinstance(handle := self._handle(), Run | OpenedStudy):
            handle.pause()

    def _resume(self) -> None:
        if isinstance(handle := self._handle(), Run | OpenedStudy):
            handle.resume()

    def _stop(self) -> None:
        if isinstance(handle := self._handle(), Run | OpenedStudy):
            # A double click on Stop does not kill the engines: its second click may find the new label.
            now = self.stop.description != _STOP and time.monotonic() - self._stopped_at >= _DOUBLE_CLICK_S
            self._stopped_at = time.monotonic()
            handle.stop(now=now)

    def update(self, handle: StudyHandle, *, starting: bool) -> int:
        """Show the buttons that the state allows and return about how many bytes were sent.

        ``starting`` is whether Start was clicked and the study is being opened.
        """
        state = handle.state if isinstance(handle, Run) or handle.elsewhere is not None else None
        over = not isinstance(handle, Run) or handle.ended
        startable = over and handle.elsewhere is None and not starting and not lacks_engine(handle.task)
        allowed = {
            self.start: startable and anything_left(handle),
            self.pause: state in (RunState.RUNNING, RunState.STARTING),
            self.resume: state is RunState.PAUSED,
            self.stop: state is not None and not RunState(state).ended,
        }
        changed = {button: able for button, able in allowed.items() if button.disabled is able}
        for button, able in changed.items():
            button.disabled = not able
            button.layout.display = None if able else "none"
        label = _KILL if state is RunState.STOPPING else _STOP
        if self.stop.description != label:
            self.stop.description = label
        return 250 * len(changed)


def anything_left(handle: StudyHandle) -> bool:
    """Return whether Start would run another trial, as far as the budget says."""
    if handle.state != RunState.FINISHED:
        return True
    searched = sum(1 for trial in handle.history if trial.state.finished and trial.confirmation is None)
    if handle.num_trials is not None and searched >= handle.num_trials:
        return False
    minutes = handle.budget.minutes
    if minutes is not None and handle.elapsed_s >= minutes * 60:
        return False
    # It ended for another reason, such as its patience or that every configuration was tried; an edit may change that.
    return handle.end_reason.startswith("the budget of") or not handle.end_reason or bool(handle.edits)
