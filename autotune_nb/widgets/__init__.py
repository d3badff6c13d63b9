"""The task form and the monitor: ipywidgets and Plotly figures in a live notebook.

Widgets read a ``StudyHandle`` and call its methods; they compute no figures. Only this folder imports ipywidgets.
Charts that are shown without a kernel are in ``reports``.
"""

__all__ = ["display", "form", "monitor"]
