"""What is no notebook is refused in one line and nothing of it is quoted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner

from autotune_nb.cli.share import share as command
from autotune_nb.reports._notebook_file import notebook_bytes
from autotune_nb.reports.share import share
from tests.reports.test_share import code, stream
from tests.secrets.test_detectors import GITHUB


def headed(major: Any, minor: Any = 5, cells: Any = ()) -> str:
    return json.dumps({"nbformat": major, "nbformat_minor": minor, "metadata": {}, "cells": cells})


BAD = {
    "torn": ('{"nbformat": 4, "cells": [', "line 1 column 27"),
    "binary": (b"\xff\xfe\x00", "can't decode byte"),
    "list": ("[]", "is not a notebook of format 4"),
    "empty": ("", "line 1 column 1"),
    "other": ('{"a": 1}', "is not a notebook of format 4"),
    "old": (json.dumps({"nbformat": 3, "nbformat_minor": 0, "worksheets": []}), "convert an older one first: jupyter"),
    "text": (headed("4"), "is not a notebook of format 4"),
    "float": (headed(4.0), "is not a notebook of format 4"),
    "true": (headed(True), "is not a notebook of format 4"),
    "list of it": (headed([GITHUB]), "is not a notebook of format 4"),
    "no cells": ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "no valid notebook"),
    "invalid": (headed(4, cells=[{"x": GITHUB}]), "no valid notebook"),
    "cells": (headed(4, cells=[GITHUB]), "no valid notebook"),
    "minor": (headed(4, "5"), "no valid notebook"),
    "float minor": (headed(4, 5.0), "no valid notebook"),
    "no minor": (json.dumps({"nbformat": 4, "metadata": {}, "cells": []}), "no valid notebook"),
    "deep": ("[" * 100_000, "recursion"),
}


@pytest.mark.parametrize(("content", "told"), BAD.values(), ids=BAD)
def test_what_is_no_notebook_is_refused_in_one_line(content: str | bytes, told: str, tmp_path: Path) -> None:
    source = tmp_path / "in.ipynb"
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = CliRunner().invoke(command, [str(source), "-o", str(tmp_path / "out.ipynb")])
    assert result.exit_code == 2
    assert result.output.startswith("error: ") and result.output.count("\n") == 1
    assert told in result.output and GITHUB not in result.output
    assert not (tmp_path / "out.ipynb").exists()


def test_cells_without_ids_and_half_a_surrogate_pair_are_no_obstacle(tmp_path: Path) -> None:
    cell = code("x = '\\ud83d'", stream("a"))
    source = tmp_path / "in.ipynb"
    nb = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{**cell}, {**cell}]}
    source.write_text(json.dumps(nb).replace("\\\\ud83d", "\\ud83d"))
    share(source, tmp_path / "out.ipynb", html=True)
    assert [c["id"] for c in json.loads((tmp_path / "out.ipynb").read_text())["cells"]] == ["cell-1", "cell-2"]
    old = {**nb, "nbformat_minor": 2}
    source.write_text(json.dumps(old))
    share(source, tmp_path / "old.ipynb")
    nbformat.validate(nbformat.read(tmp_path / "old.ipynb", as_version=4))


def test_data_has_one_line_and_is_the_same_when_read_again() -> None:
    data = {"x": [1.5, None, "\u2028é"], "rows": [[1, True], {"a": '"'}]}
    output = nbformat.v4.new_output("display_data", {"application/vnd.plotly.v1+json": data, "text/html": "a\nb"})
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("a\nb", outputs=[output])])
    written = notebook_bytes(nb)
    assert nbformat.reads(written.decode(), as_version=4) == nb
    assert len([line for line in written.splitlines() if b"rows" in line and b"1.5" in line]) == 1
