"""The monitor: what a study does, live, in widgets; and by hand what it is to do next."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from autotune_nb.handle import StudyHandle
from autotune_nb.run import Run, live_run
from autotune_nb.widgets._front_end import front_end
from autotune_nb.widgets._study_view import StudyView

_views: dict[Path, StudyView] = {}
_making = threading.Lock()


class Monitor:
    """Progress, running trials, charts, the table of trials, and steering. ``box`` is the widget.

    Monitors of one study share their widgets, so that a second one costs nothing and shows the same. Where nobody
    looks (papermill, nbconvert) it shows lasting outputs instead: text and script-free HTML.
    """

    def __init__(self, study: StudyHandle | str | Path, *, live: bool | None = None) -> None:
        """``study`` is a run, what ``at.open`` gives, or a study's folder; ``live`` says whether to show widgets,
        by default wherever a front end started this kernel.

        Raises StudyNotFoundError, StudyError for a folder.
        """
        if not isinstance(study, StudyHandle):
            from autotune_nb.session import open as open_

            study = open_(study)
        self._handle = study
        self._shown = False
        self._live = front_end() if live is None else live

    @property
    def handle(self) -> StudyHandle:
        """The study that is shown; a new run of it after it was started again from here."""
        view = _views.get(self._handle.path.resolve())
        return view.handle if view is not None else self._handle

    @property
    def box(self) -> Any:
        """The widget, an ``ipywidgets.VBox``."""
        return self._view.box

    @property
    def _view(self) -> StudyView:
        with _making:
            path = self._handle.path.resolve()
            view = _views.get(path)
            if view is None:
                view = _views[path] = StudyView(self._handle)
            elif not self._shown and self._newer(view.handle):
                view.follow(self._handle)
            self._shown = True
        view.take_charts()
        return view

    def _newer(self, shown: StudyHandle) -> bool:
        """Whether this monitor's handle knows more than the one that is shown: an ended run may be of long ago."""
        if isinstance(self._handle, Run) and self._handle.ended:
            return False
        return self._handle is not shown and live_run(shown.path) is not shown

    def __repr__(self) -> str:
        return f"<Monitor of {self.handle!r}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if not self._live:
            return self._handle.lasting_bundle()
        bundle: dict[str, Any] = self.box._repr_mimebundle_()
        return {**bundle, "text/plain": repr(self)}
