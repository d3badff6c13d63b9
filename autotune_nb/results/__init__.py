"""Finished trials as tables: DataFrames, the long form for files, import and export, and the verdict.

Everything here is computed from trials that are stored already. Charts and documents are in ``reports``.
"""

__all__ = ["comparison", "exporting", "importing", "long_table", "table"]
