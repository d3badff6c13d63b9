"""The time until a monitor shows a finished study of thousands of trials, divided by that of unavoidable work.

Measured in CPU seconds of the kernel, which other processes on the machine hardly influence.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.benchmarks.kept import write_study
from tests.benchmarks.kernel import Kernel

_TRIALS, _GOAL = 5000, 4.0
_IMPORTS = """
import optuna.importance, autotune_nb.session, autotune_nb.widgets.monitor, autotune_nb.widgets._plot
"""
#: Imported before measuring: building its grammar takes one to ten seconds, depending on hashes. Plotly imports it.
_UNSTEADY = "import jsonschema"
_OPEN = """
cpu, began = time.process_time(), time.time()
at.open({folder!r})
"""
#: Waits in the kernel, without using its CPU, until the first redraw is complete.
_WAIT = """
from autotune_nb.widgets.monitor import _views
[view] = _views.values()
assert view.drawn.wait({seconds}), "the monitor was not drawn in time"
"""
_DRAWN_S = 120
#: The unavoidable work: importing the widgets and parsing results.json.
_YARDSTICK = """
import json, time
began = time.process_time()
import anywidget, ipywidgets
imported = time.process_time()
json.loads(open({file!r}, encoding="utf-8").read())
parsed = time.process_time()
"""
_STATE = """
from tests.benchmarks.drawn import drawn_trials
shown = drawn_trials(view)
whole = view.drawn.is_set() and shown == {t.number for t in view.handle.history if t.measurements}
"""


def opening() -> list[Figure]:
    """Return the ratios in a fresh kernel, from the start of the cell until everything is drawn."""
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name:
        folder = Path(name) / "study"
        write_study(folder, _TRIALS)
        megabytes = (folder / "results.json").stat().st_size / 1e6
        import_s, parse_s = _yardstick(folder / "results.json")
        fresh, fresh_wall = _open(folder)
        imported, imported_wall = _open(folder, before=_IMPORTS)
    parsing = f"parsing its results.json of {megabytes:.0f} MB ({parse_s:.2f} s)"
    return [
        Figure(
            f"opening_{_TRIALS}_trials_ratio",
            fresh / (import_s + parse_s),
            _GOAL,
            f"over importing ipywidgets and anywidget ({import_s:.2f} s) and {parsing}, in a kernel that has imported "
            f"only autotune_nb ({fresh:.2f} s; {fresh_wall:.1f} s wall time)",
        ),
        Figure(
            f"opening_{_TRIALS}_trials_imported_ratio",
            imported / parse_s,
            _GOAL,
            f"over {parsing}, with all modules imported ({imported:.2f} s; {imported_wall:.1f} s wall time)",
        ),
    ]


def _yardstick(file: Path) -> tuple[float, float]:
    """Return the CPU seconds of importing the widgets and of parsing a file in a fresh kernel."""
    with Kernel() as kernel:
        kernel.run(_UNSTEADY)
        kernel.run(_YARDSTICK.format(file=str(file)))
        import_s, parse_s = kernel.value("[imported - began, parsed - imported]")
        return import_s, parse_s


def _open(folder: Path, *, before: str = "") -> tuple[float, float]:
    """Return the kernel's CPU seconds and the wall time from the start of the cell until everything is drawn."""
    with Kernel() as kernel:
        kernel.run(f"import time\nimport autotune_nb as at\n{_UNSTEADY}")
        kernel.run(before)
        since = len(kernel.sent())
        kernel.run(_OPEN.format(folder=str(folder)))
        kernel.run(_WAIT.format(seconds=_DRAWN_S), within_s=_DRAWN_S + 30)
        cpu_s: float = kernel.value("time.process_time() - cpu")
        # Until what it sent has arrived.
        drawn = kernel.until_quiet(0.5)
        kernel.run(_STATE)
        assert kernel.value("[len(view.handle.history), whole]") == [_TRIALS, True], "not everything is drawn"
        began: float = kernel.value("began")
        return cpu_s, max(one.at for one in kernel.sent()[since:drawn]) - began
