"""The form and the monitor: ipywidgets and Plotly in a live notebook.

Widgets read a ``StudyHandle`` and call its methods; they compute no figures. The only room that imports ipywidgets.
Charts that must last without a kernel are in ``reports``.
"""

__all__ = ["display", "form", "monitor"]
