"""What it takes until a monitor shows a finished study of thousands of trials, over the parts that are not ours.

In CPU seconds of the kernel: others on the machine hardly change them.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.benchmarks.kept import write_study
from tests.benchmarks.kernel import Kernel

_TRIALS, _GOAL = 5000, 3.0
_IMPORTS = """
import optuna.importance, autotune_nb.session, autotune_nb.widgets.monitor
from plotly.graph_objects import FigureWidget
"""
#: Its format checks build a grammar in one or in ten seconds, as its objects happen to be hashed; Plotly imports it.
_UNSTEADY = "import jsonschema"
_OPEN = """
cpu, began = time.process_time(), time.time()
at.open({folder!r})
"""
#: Without either there is no picture.
_YARDSTICK = """
import json, time
began = time.process_time()
from plotly.graph_objects import FigureWidget
imported = time.process_time()
json.loads(open({file!r}, encoding="utf-8").read())
parsed = time.process_time()
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
        import_s, parse_s = _yardstick(folder / "results.json")
        fresh, fresh_wall = _open(folder)
        imported, imported_wall = _open(folder, before=_IMPORTS)
        # Newer than results.json, and so read in its stead.
        later = time.time() + 5
        os.utime(folder / "study.db", (later, later))
        database, _ = _open(folder, before=_IMPORTS)
    told = f"parsing its results.json of {megabytes:.0f} MB ({parse_s:.2f} s)"
    return [
        Figure(
            f"opening_{_TRIALS}_trials_ratio",
            fresh / (import_s + parse_s),
            _GOAL,
            f"over importing FigureWidget ({import_s:.2f} s) and {told}, in a kernel that had imported autotune_nb and "
            f"nothing else ({fresh:.2f} s; {fresh_wall:.1f} s by the clock)",
        ),
        Figure(
            f"opening_{_TRIALS}_trials_imported_ratio",
            imported / parse_s,
            _GOAL,
            f"over {told}, with every import done ({imported:.2f} s; {imported_wall:.1f} s by the clock); "
            f"{database / parse_s:.1f} out of the database instead",
        ),
    ]


def _yardstick(file: Path) -> tuple[float, float]:
    """CPU seconds that importing FigureWidget and parsing a file take in a fresh kernel."""
    with Kernel() as kernel:
        kernel.run(_UNSTEADY)
        kernel.run(_YARDSTICK.format(file=str(file)))
        import_s, parse_s = kernel.value("[imported - began, parsed - imported]")
        return import_s, parse_s


def _open(folder: Path, *, before: str = "") -> tuple[float, float]:
    """CPU seconds of the kernel, and seconds, from the cell's first line to the last message of the whole picture."""
    with Kernel() as kernel:
        kernel.run(f"import time\nimport autotune_nb as at\n{_UNSTEADY}")
        kernel.run(before)
        since = len(kernel.sent())
        kernel.run(_OPEN.format(folder=str(folder)))
        # A view may look again after half a second; two seconds of quiet end its first picture.
        drawn = kernel.until_quiet(2)
        cpu_s: float = kernel.value("time.process_time() - cpu")
        kernel.run(_STATE)
        assert kernel.value("[len(view.handle.history), whole]") == [_TRIALS, True], "not everything is drawn"
        began: float = kernel.value("began")
        return cpu_s, max(one.at for one in kernel.sent()[since:drawn]) - began
