"""How large the report of a study is, how long one of a thousand trials takes, and whether 5 000 go out and in."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import autotune_nb as at
from autotune_nb.reports.notebook import execute
from autotune_nb.resources import shared_folder
from tests.benchmarks.figure import Figure
from tests.benchmarks.kept import write_study
from tests.benchmarks.samples import DATA

_FEW, _GOAL_KB = 200, 300.0
_MANY, _GOAL_S = 1000, 3.0
#: What nobody waits for twice a day may take longer; more than this would be another order.
_MOST, _REPORT_S, _EXPORT_S, _IMPORT_S = 5000, 15.0, 15.0, 90.0
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
    """The executed notebook's size, the seconds from a fresh Python to the whole bundle, and those of 5 000 trials."""
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
        *_most(),
    ]


def _most() -> list[Figure]:
    """The command line's report, export and import of a study of very many trials, each a fresh process."""
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name:
        work = Path(name)
        study, levels, back = work / "most", work / "levels.csv", work / "back"
        write_study(study, _MOST)
        report_s = _seconds("report", study, "-o", work / "report.ipynb", "--html")
        export_s = _seconds("export", study, "--as", "csv", "-o", levels)
        limits = [word for limit in DATA["limits"] for word in ("--limit", limit)]
        import_s = _seconds("import", levels, "--study", back, *limits)
        pages = [(work / f"report.{kind}").stat().st_size / 1000 for kind in ("ipynb", "html")]
        megabytes = levels.stat().st_size / 1e6
        found, kept = at.open(back).best_trial, at.open(study).best_trial
        assert found is not None
        assert kept is not None
        assert (found.number, found.score) == (kept.number, kept.score)
    told = f"notebook of {pages[0]:.0f} KB and page of {pages[1]:.0f} KB, the best 200 in the table"
    return [
        Figure(f"report_of_{_MOST}_trials", report_s, _REPORT_S, told, "s"),
        Figure(f"export_of_{_MOST}_trials", export_s, _EXPORT_S, f"a CSV of {megabytes:.1f} MB", "s"),
        Figure(
            f"import_of_{_MOST}_trials",
            import_s,
            _IMPORT_S,
            "most of it Optuna's nine milliseconds a trial; the best one is the same",
            "s",
        ),
    ]


def _seconds(*arguments: object) -> float:
    argv = [sys.executable, "-m", "autotune_nb.cli.main", *map(str, arguments)]
    began = time.perf_counter()
    subprocess.run(argv, capture_output=True, text=True, check=True, timeout=300)
    return time.perf_counter() - began
