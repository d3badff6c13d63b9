"""The monitor: shows a study live in widgets, and steers it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from IPython.display import display

from autotune_nb.handle import StudyHandle
from autotune_nb.run import Run, live_run
from autotune_nb.widgets._front_end import FrontEnd, front_end
from autotune_nb.widgets._html_view import HtmlView
from autotune_nb.widgets._study_view import StudyView

_views: dict[Path, StudyView] = {}
_making = threading.Lock()


class Monitor:
    """Shows progress, running trials, charts and the table of trials, and steers the study.

    Monitors of one study share their widgets. In a notebook that is executed headless (papermill, nbconvert) the
    monitor is displayed as text and HTML without scripts; where widgets do not work (Colab, Databricks, Kaggle,
    SageMaker), as the same HTML, which is replaced while the study goes on. ``box`` is the widget.
    """

    def __init__(self, study: StudyHandle | str | Path, *, live: bool | None = None) -> None:
        """``study`` is a run, a study from ``at.open``, or a study's folder; ``live`` is whether to show widgets, by
        default whether the front end shows them, which the variable AUTOTUNE_NB_FRONT_END (widgets, html, none) names
        if it is not recognized.

        Raises StudyNotFoundError, StudyError for a folder.
        """
        if not isinstance(study, StudyHandle):
            from autotune_nb.session import open as open_

            study = open_(study)
        self._handle = study
        self._shown = False
        self._front_end = front_end() if live is None else FrontEnd.WIDGETS if live else FrontEnd.NONE

    @property
    def handle(self) -> StudyHandle:
        """The study that is shown; the new run after a click on Start."""
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
        return view

    def _newer(self, shown: StudyHandle) -> bool:
        """Return whether this monitor's handle is newer than the one that is shown; an ended run may be outdated."""
        if isinstance(self._handle, Run) and self._handle.ended:
            return False
        return self._handle is not shown and live_run(shown.path) is not shown

    def __repr__(self) -> str:
        return f"<Monitor of {self.handle!r}>"

    def _ipython_display_(self) -> None:
        if self._front_end is FrontEnd.HTML:
            HtmlView(self._handle).display()
            return
        if self._front_end is FrontEnd.NONE:
            display(self._handle.lasting_bundle(), raw=True)
            return
        view = self._view
        # Where the notebook is opened without its kernel, the saved table follows.
        display({**view.box._repr_mimebundle_(), "text/plain": repr(self), "text/html": ""}, raw=True)
        view.saved.display(view.handle)
