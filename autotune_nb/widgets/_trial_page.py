"""The page of the selected trial, or up to five side by side: details, note and tags, and what may be tried next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets

from autotune_nb.errors import AutotuneError, TaskError
from autotune_nb.handle import StudyHandle
from autotune_nb.opened import OpenedStudy
from autotune_nb.run import Run
from autotune_nb.runner.runner import RunState
from autotune_nb.study.noted_trial import NotedTrial
from autotune_nb.study.steering import Edit
from autotune_nb.task.external_results import NO_ENGINE, lacks_engine
from autotune_nb.task.neighbour import neighbour
from autotune_nb.task.parameters import Value
from autotune_nb.task.space import point_key
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets._panels import escaped
from autotune_nb.widgets._run_buttons import anything_left
from autotune_nb.widgets._selection import Selection
from autotune_nb.widgets._sparklines import Sparklines
from autotune_nb.widgets._trial_html import NOTHING, TRIAL_CSS, compare_html, engine_or_none, page_html
from autotune_nb.widgets._try_next import TryNext

_MOST = 5


class TrialPage:
    """``box`` shows the selection of one monitor; ``redraw`` is called after an edit."""

    def __init__(self, selection: Selection, handle: Callable[[], StudyHandle], redraw: Callable[[], None]) -> None:
        self._selection, self._handle, self._redraw = selection, handle, redraw
        self._sparklines = Sparklines()
        self._shown: tuple[int, ...] = ()
        self.message = ipywidgets.HTML()
        self.message.add_class("at-trial-message")
        self.page = ipywidgets.HTML()
        self.page.add_class("at-trial-page")
        self.again = self._button("Run again", "repeat", "enqueue the same configuration once more", self._run_again)
        self.near = self._button(
            "Try a neighbour", "random", "edit a configuration next to it, and enqueue it", self._open_neighbour
        )
        self.edited = self._button("Edit and try", "edit", "edit its configuration, and enqueue it", self._open_edited)
        self._tips = {button: button.tooltip for button in (self.again, self.near, self.edited)}
        self.stop = self._button("Stop", "stop", "stop this trial; the run continues", self._stop)
        wide = ipywidgets.Layout(width="min(420px, 100%)")
        self.note = ipywidgets.Text(description="note", layout=wide, continuous_update=False)
        self.tags = ipywidgets.Text(
            description="tags", placeholder="production, eu", layout=wide, continuous_update=False
        )
        self.note.add_class("at-trial-note")
        self.tags.add_class("at-trial-tags")
        self.note.observe(lambda change: self._set_note("note", change), "value")
        self.tags.observe(lambda change: self._set_note("tags", change), "value")
        row = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
        self.actions = ipywidgets.HBox([self.again, self.near, self.edited, self.stop], layout=row)
        self.notes = ipywidgets.HBox([self.note, self.tags], layout=row)
        self.actions.layout.display = self.notes.layout.display = "none"
        #: The monitor shows it below this page.
        self.try_next = TryNext(handle, self.act)
        style = ipywidgets.HTML(f"<style>{TRIAL_CSS}</style>", layout=ipywidgets.Layout(height="0", margin="0"))
        self.box = ipywidgets.VBox([style, self.page, self.actions, self.notes, self.message])
        self.box.add_class("at-monitor-trial")
        #: The thread of a redraw while it sets fields.
        self._filling: int | None = None
        #: The trial, its note and its tags as they were stored at the last redraw.
        self._stored: tuple[int, str, str] | None = None

    def act(self, do: Callable[[StudyHandle], Any]) -> bool:
        """Call a function with the study, and show its edit or its error; return whether it worked."""
        try:
            done = do(self._handle())
        except AutotuneError as error:
            self._say(str(error), "at-error")
            return False
        except Exception as error:  # noqa: BLE001 - Jupyter shows no exception of a callback
            self._say(f"{type(error).__name__}: {error}", "at-error")
            return False
        if isinstance(done, Edit):
            self._say(f"{done.text}: {_when(self._handle())}", "at-ok")
        elif isinstance(done, str):
            self._say(done, "at-ok")
        self._redraw()
        return True

    def _say(self, text: str, kind: str) -> None:
        self.message.value = f'<span class="{kind}" role="status">{escaped(text)}</span>'

    def _button(self, text: str, icon: str, tip: str, do: Callable[[StudyHandle, Trial], Any]) -> ipywidgets.Button:
        button = ipywidgets.Button(description=text, icon=icon, tooltip=tip, layout=ipywidgets.Layout(width="auto"))
        button.add_class(f"at-trial-{text.split()[0].lower()}")
        button.on_click(lambda _button: self.act(lambda handle: do(handle, self._trial(handle))))
        return button

    def _trial(self, handle: StudyHandle) -> Trial:
        if len(self._selection.trials) != 1:
            raise TaskError("select one trial", field="trial")
        return handle.trial(self._selection.trials[0]).trial

    def _run_again(self, handle: StudyHandle, trial: Trial) -> Edit:
        return handle.enqueue(_point(trial))

    def _open_neighbour(self, handle: StudyHandle, trial: Trial) -> None:
        point = _point(trial)
        tried = {point_key(one.params) for one in handle.history} | {point_key(one) for one in handle.queue}
        near = neighbour(handle.steering.space, point, tried)
        if near is None:
            raise TaskError("every neighbour that the space allows was tried; edit the configuration", field="trial")
        self.try_next.open(near, f"A neighbour of trial {trial.number}", point)

    def _open_edited(self, handle: StudyHandle, trial: Trial) -> None:
        best = handle.best_trial
        point = dict(trial.params) if trial.params or best is None else dict(best.params)
        self.try_next.open(point, f"The configuration of trial {trial.number}, edited", point)

    def _stop(self, handle: StudyHandle, trial: Trial) -> str:
        if not isinstance(handle, Run | OpenedStudy):
            raise TaskError("no run works on this study", field="trial")
        handle.stop_trial(trial.number)
        return f"trial {trial.number} is being stopped"

    def _set_note(self, name: str, change: Mapping[str, Any]) -> None:
        if self._filling == threading.get_ident() or len(self._shown) != 1:
            return

        def store(handle: StudyHandle) -> str:
            noted = handle.trial(self._shown[0])
            setattr(noted, name, change["new"])
            # It may be stored without secrets.
            self._stored = None
            return f"the {name} of trial {noted.trial.number} {'is' if name == 'note' else 'are'} stored"

        self.act(store)

    def update(self, handle: StudyHandle, trials: Sequence[Trial]) -> int:
        """Show the selected trials as they are now, and return about how many bytes were sent; 0 if none."""
        known = {trial.number: trial for trial in trials}
        chosen = [known[number] for number in self._selection.trials if number in known][:_MOST]
        engine = engine_or_none(handle.task)
        if not chosen:
            text = f'<div class="at-dim">{NOTHING}</div>' if any(trial.measurements for trial in trials) else ""
        elif len(chosen) == 1:
            metrics = self._sparklines.html(handle.path, chosen[0])
            text = page_html(handle, trials, chosen[0], engine, metrics)
        else:
            text = compare_html(handle, chosen, engine)
        sent = 0
        if text != self.page.value:
            self.page.value, sent = text, len(text) + 200
        shown = tuple(trial.number for trial in chosen)
        one = chosen[0] if len(chosen) == 1 else None
        sent += self._fill(handle, one, changed=shown != self._shown)
        self._shown = shown
        return sent + self.try_next.update(handle)

    def _fill(self, handle: StudyHandle, one: Trial | None, *, changed: bool) -> int:
        """Set the buttons and the fields of the note, and return about how many bytes were sent."""
        display, stored = "none" if one is None else "", None
        wanted: list[tuple[Any, str, Any]] = [
            (self.actions.layout, "display", display),
            (self.notes.layout, "display", display),
        ]
        lacking = lacks_engine(handle.task)
        if one is not None:
            stops = isinstance(handle, Run) or handle.elsewhere is not None
            noted = NotedTrial(handle, one)
            stored = (one.number, noted.note, ", ".join(noted.tags))
            # While a note is being stored, and if it could not be, the field keeps what was typed.
            fields = [(self.note, "value", stored[1]), (self.tags, "value", stored[2])]
            wanted += fields if stored != self._stored else []
            wanted += [
                (self.again, "disabled", lacking or one.baseline or not one.params),
                (self.near, "disabled", lacking or one.baseline or not one.params),
                (self.edited, "disabled", lacking),
                *((button, "tooltip", NO_ENGINE if lacking else tip) for button, tip in self._tips.items()),
                (
                    self.stop.layout,
                    "display",
                    "" if one.state is TrialState.RUNNING and stops else "none",
                ),
            ]
        self._stored = stored
        if changed and self.message.value:
            wanted.append((self.message, "value", ""))
        found = [(widget, name, value) for widget, name, value in wanted if getattr(widget, name) != value]
        self._filling = threading.get_ident()
        try:
            for widget, name, value in found:
                setattr(widget, name, value)
        finally:
            self._filling = None
        return 150 * len(found)


def _when(handle: StudyHandle) -> str:
    """Return when an edit applies: a finished study tries an enqueued configuration only once it is continued."""
    if handle.state in (RunState.STARTING, RunState.RUNNING, RunState.PAUSED):
        return "applies from the next trial on"
    if anything_left(handle):
        return "applies once the study is continued with Start"
    return "applies once the budget is raised and the study is continued with Start"


def _point(trial: Trial) -> dict[str, Value]:
    if trial.baseline or not trial.params:
        raise TaskError(
            "the engine's default sets no parameter and cannot be enqueued; confirm: true in the task starts it again",
            field="trial",
        )
    return dict(trial.params)
