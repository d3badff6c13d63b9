"""Charts and reports of a study, and executed notebooks.

``plots`` has the data of charts, ``charts`` the figures, ``study_report`` the report. ``notebook`` executes notebooks,
``share`` removes secrets from them. Numbers are computed in ``results``; live widgets are in ``widgets``. The folder is
not called ``report``, since ``at.report`` is a function.
"""

__all__ = ["charts", "drawing", "notebook", "plots", "share", "study_report"]
