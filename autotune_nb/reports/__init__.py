"""Charts and reports: the data of a chart first, then the figure, the report of a study, notebooks.

``plots`` has the data, ``charts`` the figures, ``study_report`` the report, ``notebook`` executes notebooks and
``share`` cleans one for others. Numbers are computed in ``results``; live widgets are in ``widgets``. The room is
not called ``report``, since ``at.report`` is a function.
"""

__all__ = ["charts", "drawing", "notebook", "plots", "share", "study_report"]
