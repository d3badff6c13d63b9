"""How soon a monitor shows a finished study of thousands of trials."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.benchmarks.kept import write_study
from tests.benchmarks.kernel import Kernel

_TRIALS, _GOAL_S = 5000, 1.5
_IMPORTS = """
import optuna.importance, autotune_nb.session, autotune_nb.widgets.monitor
from plotly.graph_objects import FigureWidget
"""
_OPEN = """
began = time.time()
at.open({folder!r})
"""
_STATE = """
from autotune_nb.widgets._chart import LiveChart
from autotune_nb.widgets.monitor import _views
[view] = _views.values()
curves = [trace for trace in LiveChart.get().figure.data if trace.type == "scattergl"][:6]
shown = {int(n) for trace in curves if trace.customdata is not None for n in trace.customdata}
whole = view.drawn.is_set() and shown == {t.number for t in view.handle.history if t.measurements}
"""


def opening() -> list[Figure]:
    """From the cell's first line to the last message of the first whole picture, in a fresh kernel."""
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name:
        folder = Path(name) / "study"
        write_study(folder, _TRIALS)
        megabytes = (folder / "results.json").stat().st_size / 1e6
        fresh = _open(folder)
        imported = _open(folder, before=_IMPORTS)
        # Newer than results.json, and so read in its stead.
        later = time.time() + 5
        os.utime(folder / "study.db", (later, later))
        database = _open(folder, before=_IMPORTS)
    note = (
        f"from results.json of {megabytes:.0f} MB, in a kernel that had imported autotune_nb and nothing else; "
        f"{imported:.2f} s with every import done, {database:.2f} s out of the database instead"
    )
    return [Figure(f"opening_{_TRIALS}_trials", fresh, _GOAL_S, note, "s")]


def _open(folder: Path, *, before: str = "") -> float:
    with Kernel() as kernel:
        kernel.run("import time\nimport autotune_nb as at")
        kernel.run(before)
        since = len(kernel.sent())
        kernel.run(_OPEN.format(folder=str(folder)))
        # A view may look again after half a second; two seconds of quiet end its first picture.
        drawn = kernel.until_quiet(2)
        kernel.run(_STATE)
        assert kernel.value("[len(view.handle.history), whole]") == [_TRIALS, True], "not everything is drawn"
        began: float = kernel.value("began")
        return max(one.at for one in kernel.sent()[since:drawn]) - began
