"""Several studies: a table of them, the comparison of two of them, and whether one is worse than a baseline.

What concerns one study only is in ``handle``, ``results`` and ``reports``.
"""

__all__ = ["comparability", "comparison", "regression", "study_table"]
