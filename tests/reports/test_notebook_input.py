"""Notebooks as Jupyter accepts them are executed, and the parameters of a command line fit those of the notebook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from autotune_nb.errors import SetupError
from autotune_nb.reports._notebook_input import (
    ParametersCell,
    check_parameter_name,
    language_of,
    read_notebook_to_execute,
)
from autotune_nb.reports.html_page import to_html

STATE = "application/vnd.jupyter.widget-state+json"


def cell(source: str = "x = 1", **more: Any) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None, **more}


def written(file: Path, *cells: dict[str, Any], minor: int = 5, metadata: Any = None) -> Path:
    nb = {"nbformat": 4, "nbformat_minor": minor, "metadata": {} if metadata is None else metadata, "cells": cells}
    file.write_text(json.dumps(nb))
    return file


ODD = {
    "ids in format 4.4": ([cell(id="a"), cell(id="b")], 4),
    "no ids in format 4.5": ([cell(), cell()], 5),
    "one id twice": ([cell(id="a"), cell(id="a")], 5),
    "a null id": ([cell(id=None)], 5),
    "null tags": ([cell(id="a", metadata={"tags": None})], 5),
    "a text as tags": ([cell(id="a", metadata={"tags": "parameters"})], 5),
    "a tag twice": ([cell(id="a", metadata={"tags": ["b", "b"]})], 5),
    "null metadata": ([cell(id="a", metadata=None)], 5),
    "no outputs": ([{"cell_type": "code", "id": "a", "metadata": {}, "source": "x"}], 5),
    "a broken output": ([cell(id="a", outputs=[{"output_type": "display_data", "data": None}])], 5),
}


@pytest.mark.parametrize(("cells", "minor"), ODD.values(), ids=ODD)
def test_what_jupyter_opens_is_read(cells: list[dict[str, Any]], minor: int, tmp_path: Path) -> None:
    nb = read_notebook_to_execute(written(tmp_path / "n.ipynb", *cells, minor=minor))
    nbformat.validate(nb)
    assert len({one.id for one in nb.cells}) == len(cells)
    assert all(isinstance(one.metadata.get("tags", []), list) for one in nb.cells)


@pytest.mark.parametrize("widgets", [None, [], "x", {STATE: None}, {STATE: {"a1": {"model_name": "HBoxModel"}}}])
def test_odd_widget_metadata_hinders_neither_execution_nor_page(widgets: Any, tmp_path: Path) -> None:
    shown = {"output_type": "display_data", "metadata": {}, "data": {"text/html": "<b>a table</b>"}}
    file = written(tmp_path / "n.ipynb", cell(id="a", outputs=[shown]), metadata={"widgets": widgets})
    assert "widgets" not in read_notebook_to_execute(file).metadata
    page = to_html(file).read_text()
    assert "<b>a table</b>" in page and "<script" not in page


def test_a_servers_response_with_a_notebook_in_it_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    file = tmp_path / "n.ipynb"
    file.write_text(json.dumps({"type": "notebook", "format": "json", "content": {"nbformat": 4, "cells": []}}))
    with pytest.raises(SetupError, match="is not a notebook: it has no nbformat; expected"):
        read_notebook_to_execute(file)


def test_a_notebook_of_format_3_is_read(tmp_path: Path) -> None:
    file = tmp_path / "n.ipynb"
    old = {"cell_type": "code", "language": "python", "metadata": {}, "input": ["1 + 1"], "outputs": []}
    worksheets = [{"cells": [old | {"collapsed": False, "prompt_number": 1}], "metadata": {}}]
    file.write_text(json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": worksheets}))
    assert [one.source for one in read_notebook_to_execute(file).cells] == ["1 + 1"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"nbformat": 4, "cells": [1]}', '{"nbformat": 4, "cells": {}}', "x"]
)
def test_what_is_no_notebook_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    file = tmp_path / "n.ipynb"
    file.write_text(content)
    with pytest.raises(SetupError, match="is not a notebook: ") as caught:
        read_notebook_to_execute(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({}, None),
        ({"kernelspec": None, "language_info": None}, None),
        ({"kernelspec": {"name": "python3"}}, None),
        ({"kernelspec": {"name": "ir", "language": "R"}}, "r"),
        ({"language_info": {"name": "python"}}, "python"),
    ],
)
def test_the_language_is_what_the_notebook_names(metadata: Any, language: str | None, tmp_path: Path) -> None:
    assert language_of(read_notebook_to_execute(written(tmp_path / "n.ipynb", metadata=metadata))) == language


def parameters(source: str) -> ParametersCell:
    return ParametersCell.of(nbformat.from_dict({"cells": [cell(source, metadata={"tags": ["parameters"]})]}))


@pytest.mark.parametrize(
    "assignment",
    [
        "study = 'x'",
        "study: str = 'x'",
        "study: str | None = None",
        "study: Optional[str] = None",
        "study: 'pathlib.Path' = None",
        "study: Literal['1', '2'] = '1'",
        "study = f'{home}/x'",
        "study = Path.home() / 'x' if False else 'x'\nstudy = Path('runs') / 'x'",
        "study = os.environ.get('STUDY', 'x')",
        "study = os.environ.get('STUDY') or 'x'",
        "study = 'runs/' + name",
        "other = study = 'x'",
        "%matplotlib inline\nstudy = (\n    'x'\n)",
    ],
)
@pytest.mark.parametrize("text", ["20251127", "1e5", "true", "None", "[1]", "07", '"quoted"'])
def test_text_stays_text_where_the_parameter_is_text(assignment: str, text: str) -> None:
    assert parameters(assignment).value("study", text) == text


@pytest.mark.parametrize(
    "assignment", ["x = 3", "x: int | str = 3", "x = None", "x: list[str] = []", "x, y = 1, 'b'", ""]
)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9", 9),
        ("1e5", 1e5),
        ("true", True),
        ("False", False),
        ("None", None),
        ("null", None),
        ('["a"]', ["a"]),
        ("abc", "abc"),
        ("2019-01-01", "2019-01-01"),
        ("07", "07"),
        ("", ""),
    ],
)
def test_other_parameters_are_read_as_json(assignment: str, text: str, value: Any) -> None:
    read = parameters(assignment).value("x", text)
    assert (read, type(read)) == (value, type(value))


def test_a_parameter_that_the_cell_does_not_set_has_a_note() -> None:
    cell_of = parameters("study: str = 'x'\ntrials: int = 3  # how many\n# a comment with = in it")
    assert cell_of.note("study") is None
    assert cell_of.note("tirals") == ("does not set 'tirals' in its cell tagged 'parameters'; did you mean 'trials'?")
    assert parameters("x = (").note("anything") is None
    assert "has no cell tagged 'parameters'" in str(ParametersCell.of(nbformat.from_dict({"cells": []})).note("x"))


@pytest.mark.parametrize("name", ["('c'", "", "a b", "a-b", "1a", "class", "a.b", "x=1\ny"])
def test_a_name_that_no_variable_has_is_refused(name: str) -> None:
    with pytest.raises(SetupError, match="is not the name of a parameter"):
        check_parameter_name(name)
