"""How large the report of a study is, and how long one of a thousand trials takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from autotune_nb.notebook import execute
from autotune_nb.resources import shared_folder
from tests.benchmarks.figure import Figure
from tests.benchmarks.kept import write_study

_FEW, _GOAL_KB = 200, 300.0
_MANY, _GOAL_S = 1000, 3.0
_REPORT = """
import sys, time
import autotune_nb as at
took_s = []
for _ in range(2):
    begun = time.perf_counter()
    bundle = at.report(sys.argv[1])._repr_mimebundle_()
    took_s.append(time.perf_counter() - begun)
assert set(bundle) == {"application/vnd.plotly.v1+json", "text/html", "text/plain"}
print(*took_s)
"""


def reporting() -> list[Figure]:
    """The executed notebook's size, and the seconds from a fresh Python to the whole bundle."""
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name:
        work = Path(name)
        write_study(work / "few", _FEW)
        write_study(work / "many", _MANY)
        source, out = shared_folder("notebooks") / "04_report.ipynb", work / "report.ipynb"
        parameters = {"study": str(work / "few")}
        execute(source, out, parameters=parameters, say=lambda _line: None, html=True, show_code=False)
        size, page = out.stat().st_size / 1000, out.with_suffix(".html").stat().st_size / 1000
        # What autotune_nb imports for it counts: a fresh process.
        argv = [sys.executable, "-c", _REPORT, str(work / "many")]
        told = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout.split()
    fresh, again = map(float, told)
    return [
        Figure(f"report_of_{_FEW}_trials", size, _GOAL_KB, f"the executed notebook; its page has {page:.0f} KB", "KB"),
        Figure(
            f"report_of_{_MANY}_trials", fresh, _GOAL_S, f"with every import; {again:.2f} s once they are done", "s"
        ),
    ]
