"""Search strategies, and the lab that compares them on recorded tables.

What runs and stores trials is in ``runner`` and ``study``; nothing here starts an engine.
"""

__all__ = ["lab", "lab_problem"]
