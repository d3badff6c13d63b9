"""Batches: a grid of tasks, such as models, engines and workloads, each its own study in its own executed notebook.

The grid is read here, its studies are executed by papermill in processes of their own, and the summary is written.
What concerns a single study is in ``session``, comparisons of studies are in ``history``.
"""

__all__ = ["grid", "running", "summary"]
