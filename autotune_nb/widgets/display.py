"""Displays runs and studies in a notebook: the monitor as a cell's output, and the progress of an awaited run."""

from __future__ import annotations

from typing import Any

from autotune_nb.handle import StudyHandle
from autotune_nb.widgets._front_end import has_front_end


class NotebookDisplay:
    """The display of studies in a notebook's kernel."""

    def mimebundle(self, study: StudyHandle) -> dict[str, Any] | None:
        """Return the study's monitor; None in a notebook that is executed headless."""
        if not has_front_end():
            return None
        # Plotly and its widgets take seconds to import.
        from autotune_nb.widgets.monitor import Monitor

        return Monitor(study)._repr_mimebundle_()

    async def follow(self, study: StudyHandle) -> None:
        """Show the progress of a run in the cell that awaits it."""
        from autotune_nb.widgets._progress import show_progress

        await show_progress(study)


def install() -> None:
    """Display the studies of this kernel as widgets."""
    StudyHandle.display = NotebookDisplay()
