"""Finished trials as tables: DataFrames, import and export, comparison and verdict.

Everything here is computed from stored trials. Charts and reports are in ``reports``.
"""

__all__ = ["comparison", "exporting", "importing", "recording", "table"]
