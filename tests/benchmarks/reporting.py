"""The size of a study's report, and the CPU time of report, export and import divided by that of other tools."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import nbformat

import autotune_nb as at
from autotune_nb.reports.notebook import execute
from autotune_nb.resources import shared_folder
from tests.benchmarks.figure import Figure
from tests.benchmarks.kept import write_study
from tests.benchmarks.samples import DATA
from tests.benchmarks.yardsticks import bare_inserts_s, copying_csv_s, nbconvert_s, seconds_of

_FEW, _GOAL_KB = 200, 300.0
_MANY, _MOST = 1000, 5000
_REPORT_GOAL, _COMMAND_GOAL, _EXPORT_GOAL, _IMPORT_GOAL = 2.0, 3.0, 3.0, 1.5
_IMPORT_GOAL_S = 10.0
_BUNDLE = """
import json, sys
import autotune_nb as at
bundle = at.report(sys.argv[1])._repr_mimebundle_()
assert set(bundle) == {"application/vnd.plotly.v1+json", "text/html", "text/plain"}
json.dump(bundle, open(sys.argv[2], "w", encoding="utf-8"))
"""
#: Displays the outputs of a report without computing them.
_SHOW = """
import json
from IPython.display import display
json.loads(open({results!r}, encoding="utf-8").read())
display(json.loads(open({bundle!r}, encoding="utf-8").read()), raw=True)
"""


def reporting() -> list[Figure]:
    """Return the notebook's size and the ratios of report, export and import, each in a new process."""
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name:
        work = Path(name)
        return [_size(work), _many(work), *_most(work)]


def _size(work: Path) -> Figure:
    write_study(work / "few", _FEW)
    source, out = shared_folder("notebooks") / "04_report.ipynb", work / "few.ipynb"
    parameters = {"study": str(work / "few")}
    execute(source, out, parameters=parameters, report=lambda _line: None, html=True, show_code=False)
    size, page = out.stat().st_size / 1000, out.with_suffix(".html").stat().st_size / 1000
    return Figure(
        f"report_of_{_FEW}_trials", size, _GOAL_KB, f"the executed notebook; the HTML page has {page:.0f} KB", "KB"
    )


def _many(work: Path) -> Figure:
    """Return the time to compute a report, imports included, divided by nbconvert's for a notebook with its outputs."""
    write_study(work / "many", _MANY)
    bundle = work / "bundle.json"
    took_s = seconds_of([sys.executable, "-c", _BUNDLE, str(work / "many"), str(bundle)])
    equal = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("report")])
    output = nbformat.v4.new_output("display_data", data=json.loads(bundle.read_text(encoding="utf-8")))
    equal.cells[0].outputs = [output]
    nbformat.write(equal, work / "equal.ipynb")
    yardstick_s = nbconvert_s(work / "equal.ipynb")
    note = f"over nbconvert of a notebook with equal outputs ({yardstick_s:.2f} s), in new processes ({took_s:.2f} s)"
    return Figure(f"report_of_{_MANY}_trials_ratio", took_s / yardstick_s, _REPORT_GOAL, note)


def _most(work: Path) -> list[Figure]:
    """Return the ratios of the commands report, export and import for a large study."""
    study, levels, back = work / "most", work / "levels.csv", work / "back"
    write_study(study, _MOST)
    report_s = _command_s("report", study, "-o", work / "report.ipynb", "--html")
    export_s = _command_s("export", study, "--as", "csv", "-o", levels)
    limits = [word for limit in DATA["limits"] for word in ("--limit", limit)]
    import_s = _command_s("import", levels, "--study", back, *limits)
    found, kept = at.open(back).best_trial, at.open(study).best_trial
    assert found is not None
    assert kept is not None
    assert (found.number, found.score) == (kept.number, kept.score)
    executed_s, copied_s = _executed_s(work, study), copying_csv_s(levels)
    bare_s = bare_inserts_s(_MOST)
    pages = [(work / f"report.{kind}").stat().st_size / 1000 for kind in ("ipynb", "html")]
    return [
        Figure(
            f"report_of_{_MOST}_trials_ratio",
            report_s / executed_s,
            _COMMAND_GOAL,
            f"over nbconvert executing a notebook that parses results.json and shows the same ({executed_s:.1f} s); a "
            f"notebook of {pages[0]:.0f} KB and a page of {pages[1]:.0f} KB ({report_s:.1f} s)",
        ),
        Figure(
            f"export_of_{_MOST}_trials_ratio",
            export_s / copied_s,
            _EXPORT_GOAL,
            f"over pandas copying the CSV of {levels.stat().st_size / 1e6:.1f} MB ({copied_s:.1f} s), both in "
            f"new processes ({export_s:.1f} s)",
        ),
        Figure(
            f"import_of_{_MOST}_trials_ratio",
            import_s / bare_s,
            _IMPORT_GOAL,
            f"over Optuna adding as many trials without parameters to SQLite in one transaction ({bare_s:.1f} s); in "
            f"a new process, including reading the CSV ({import_s:.1f} s)",
        ),
        Figure(f"import_of_{_MOST}_trials", import_s, _IMPORT_GOAL_S, "CPU time of the command", "s"),
    ]


def _executed_s(work: Path, study: Path) -> float:
    """Return the time of nbconvert executing a notebook that displays a report computed before."""
    bundle = work / "most.json"
    seconds_of([sys.executable, "-c", _BUNDLE, str(study), str(bundle)])
    source = _SHOW.format(results=str(study / "results.json"), bundle=str(bundle))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbformat.write(notebook, work / "show.ipynb")
    return nbconvert_s(work / "show.ipynb", execute=True)


def _command_s(*arguments: object) -> float:
    return seconds_of([sys.executable, "-m", "autotune_nb.cli.main", *map(str, arguments)])
