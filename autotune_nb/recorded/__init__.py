"""Recorded measurements: the long form in files, tables of configurations, and the simulated time of their replay.

What replays a table as an engine is in ``deploy``, as a benchmark in ``bench``; this folder has what both share.
"""

from autotune_nb.recorded.clock import Clock, SimulatedClock, WallClock
from autotune_nb.recorded.table import RecordedConfiguration, RecordedTable

__all__ = ["Clock", "RecordedConfiguration", "RecordedTable", "SimulatedClock", "WallClock"]
