"""Displays runs and studies in a notebook: the monitor as a cell's output, and the progress of an awaited run."""

from __future__ import annotations

from autotune_nb.handle import StudyHandle
from autotune_nb.widgets._front_end import FrontEnd, front_end


class NotebookDisplay:
    """The display of studies in a notebook's kernel."""

    def show(self, study: StudyHandle) -> bool:
        """Display the study's monitor; return False, without an output, in a notebook that is executed headless."""
        if front_end() is FrontEnd.NONE:
            return False
        # Plotly and its widgets take seconds to import.
        from autotune_nb.widgets.monitor import Monitor

        Monitor(study)._ipython_display_()
        return True

    async def follow(self, study: StudyHandle) -> None:
        """Show the progress of a run in the cell that awaits it."""
        from autotune_nb.widgets._html_view import refresh_views
        from autotune_nb.widgets._progress import show_progress

        await show_progress(study)
        refresh_views(study)


def install() -> None:
    """Display the studies of this kernel as widgets."""
    StudyHandle.display = NotebookDisplay()
