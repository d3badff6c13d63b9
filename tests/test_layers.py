"""The order of imports between folders, and the libraries that each folder may import."""

from __future__ import annotations

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import autotune_nb

PACKAGE = Path(autotune_nb.__file__).parent
#: Lowest first. A room may import from the rooms below its own, and from its own.
ROOMS: tuple[set[str], ...] = (
    {"errors", "resources", "waiting"},
    {"secrets"},
    {"trial"},
    {"task"},
    {"recorded", "verdict"},
    {"engines", "cluster"},
    {"deploy", "bench", "study", "search"},
    {"events", "runner"},
    {"results", "reports"},
    {"watching"},
    {"handle", "run", "opened", "history", "batches", "session", "checks"},
    {"chart", "widgets", "cli"},
)
HEIGHT = {name: height for height, room in enumerate(ROOMS) for name in room}
APART = {"deploy", "bench", "study", "search"}
#: Who alone may import what, wherever in the file the import stands.
OUTSIDE = {
    "optuna": {"study", "search", "task/optuna_space.py"},
    "genai_bench": {"bench/_launcher.py", "bench/_level_recording.py", "bench/_scenarios.py"},
    "gevent": {"bench/_launcher.py", "bench/_level_recording.py"},
    "kubernetes": {"cluster"},
    "IPython": {"widgets", "reports/notebook.py", "reports/study_report.py"},
    "ipykernel": {"widgets", "reports/notebook.py"},
    "ipywidgets": {"widgets"},
    "jupyter_client": {"widgets", "reports/notebook.py", "reports/_kernel_client.py"},
    "nbconvert": {"reports/html_page.py"},
    "nbformat": {
        "reports/notebook.py",
        "reports/html_page.py",
        "reports/_notebook_file.py",
        "reports/_notebook_input.py",
    },
    "papermill": {"reports/notebook.py"},
    "plotly": {
        "reports/charts.py",
        "reports/comparison_chart.py",
        "reports/dependence_chart.py",
        "reports/drawing.py",
        "reports/expected_gain_chart.py",
        "reports/front_chart.py",
        "reports/html_page.py",
        "reports/lab_chart.py",
        "reports/traced_chart.py",
    },
    "matplotlib": {
        "reports/charts.py",
        "reports/comparison_chart.py",
        "reports/dependence_chart.py",
        "reports/drawing.py",
        "reports/expected_gain_chart.py",
        "reports/front_chart.py",
        "reports/lab_chart.py",
        "reports/metrics_chart.py",
    },
    "xllamacpp": {"engines/llama_server.py"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def _id(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _imports_in(body: list[ast.stmt], *, typing: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """The import statements in a body, and whether only type checkers read them; expressions have none."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, typing
        inner = [
            one for name in ("body", "handlers", "orelse", "finalbody", "cases") for one in getattr(node, name, ())
        ]
        checked = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        yield from _imports_in(inner, typing=typing or checked)


@functools.cache
def _import_statements(file: Path) -> tuple[tuple[ast.Import | ast.ImportFrom, bool], ...]:
    """Parses a file once for all tests, and keeps no more of it than its imports."""
    return tuple(_imports_in(_parsed(file).body))


def imports(file: Path) -> Iterator[str]:
    """The dotted names a file imports, without those for type checkers alone."""
    for node, typing in _import_statements(file):
        if typing:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            assert node.level == 0, f"{_id(file)} imports relatively; the package imports by full names"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "autotune_nb" and len(parts) > 1 and parts[1] in HEIGHT else None


def test_every_module_has_its_room() -> None:
    found = {_id(file).split("/")[0].removesuffix(".py") for file in FILES} - {"__init__", "__main__"}
    assert found <= HEIGHT.keys()
    assert HEIGHT.keys() <= found


def test_imports_go_one_way() -> None:
    for file in FILES:
        own = _id(file).split("/")[0].removesuffix(".py")
        if own == "__init__":
            continue
        for dotted in imports(file):
            room = room_of(dotted)
            if room is None:
                continue
            assert HEIGHT[room] <= HEIGHT[own], f"{_id(file)} imports {dotted} from above"
            assert room == own or not {room, own} <= APART, f"{_id(file)} imports {dotted} from beside it"


#: ``Task.load``, ``parse``, ``save`` and the repr are what people use; each imports the file that does it when called,
#: and so does ``Study.open``, whose studies in PostgreSQL are shared.
WITHIN_METHODS = {
    ("task/task.py", "task/file.py"),
    ("task/task.py", "task/summary.py"),
    ("study/study.py", "study/shared_study.py"),
    ("trial/measurement.py", "trial/summary.py"),
    ("trial/trial.py", "trial/summary.py"),
}


def modules_imported(file: Path) -> set[Path]:
    """The package's files that a file imports anywhere in it, for type checkers alone too."""
    nodes = [node for node, _ in _import_statements(file) if isinstance(node, ast.ImportFrom)]
    dotted = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
    return {found for name in dotted if (found := _file_of(name)) is not None} - {file}


@functools.cache
def _file_of(dotted: str) -> Path | None:
    parts = dotted.split(".")
    for end in (len(parts), len(parts) - 1):
        base = PACKAGE.parent.joinpath(*parts[:end])
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if parts[0] == PACKAGE.name and end > 1 and candidate.is_file():
                return candidate
    return None


def test_no_file_imports_in_a_circle() -> None:
    graph = {
        file: {one for one in modules_imported(file) if (_id(file), _id(one)) not in WITHIN_METHODS}
        for file in FILES
        if file != PACKAGE / "__init__.py"
    }
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as circle:
        pytest.fail(" -> ".join(_id(file) for file in circle.args[1]))


def test_the_top_level_holds_at_most_ten_files() -> None:
    assert len([file for file in FILES if file.parent == PACKAGE]) <= 10


def test_what_a_room_keeps_to_itself_is_imported_there_alone() -> None:
    for file in FILES:
        for dotted in imports(file):
            if not dotted.startswith("autotune_nb."):
                continue
            *parents, name = dotted.split(".")
            private = [i for i, part in enumerate(parents) if part.startswith("_")]
            if private or name.startswith("_"):
                home = PACKAGE.parent.joinpath(*parents[: private[0]] if private else parents)
                home = home if home.is_dir() else home.parent
                assert home in file.parents, f"{_id(file)} imports {dotted}, which is private to {home.name}/"


def test_each_room_says_what_belongs_there() -> None:
    for room in sorted(p.parent for p in PACKAGE.rglob("__init__.py")):
        doc = ast.get_docstring(_parsed(room / "__init__.py")) or ""
        assert len(doc.split("\n\n")) >= 2, f"{room.name}/__init__.py lacks the paragraph on what belongs there"


def test_what_is_heavy_is_imported_where_it_belongs_alone() -> None:
    for file in FILES:
        own = _id(file)
        for dotted in imports(file):
            allowed = OUTSIDE.get(dotted.split(".")[0])
            if allowed is not None:
                assert own in allowed or own.split("/")[0] in allowed, f"{own} imports {dotted}"


@pytest.mark.parametrize(("part", "room"), [("samplers", "search"), ("storages", "study")])
def test_one_room_alone_uses_a_part_of_optuna(part: str, room: str) -> None:
    users = {_id(file).split("/")[0] for file in FILES if part in _parts_of_optuna(file)}
    assert users == {room}


def _parts_of_optuna(file: Path) -> set[str]:
    if "optuna" not in file.read_text(encoding="utf-8"):
        return set()
    dotted = {name.split(".")[1] for name in imports(file) if name.startswith("optuna.")}
    return dotted | {
        node.attr
        for node in ast.walk(_parsed(file))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "optuna"
    }


def test_the_rules_above_can_fail(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import plotly\n"
        "from autotune_nb import runner\ndef f():\n    import optuna.study\n"
    )
    assert list(imports(file)) == ["typing.TYPE_CHECKING", "autotune_nb.runner", "optuna.study"]
    assert room_of("autotune_nb.runner") == "runner"


def test_only_a_script_of_its_own_process_imports_genai_bench() -> None:
    importers = [_id(file) for file in FILES if any("._fork_server" in d or "._in_pod" in d for d in imports(file))]
    assert importers == []


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        (
            "autotune_nb.tune, autotune_nb.open, autotune_nb.Task",
            [
                "gevent",
                "IPython",
                "plotly",
                "matplotlib",
                "papermill",
                "genai_bench",
                "nbconvert",
                "ipywidgets",
                "xllamacpp",
                "kubernetes",
                "numpy",
            ],
        ),
        (
            "__import__('autotune_nb.engines.llama_server')",
            ["optuna", "pydantic", "aiohttp", "pandas", "yaml", "click"],
        ),
        ("__import__('autotune_nb.cli.main')", ["optuna", "aiohttp", "pandas", "papermill", "IPython"]),
    ],
)
def test_what_a_process_does_not_need_it_does_not_load(code: str, absent: list[str]) -> None:
    script = f"import sys, autotune_nb; {code}; print(*(set(sys.argv[1:]) & set(sys.modules)))"
    told = subprocess.run(
        [sys.executable, "-c", script, *absent], capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout.strip() == ""
