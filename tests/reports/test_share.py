"""Sharing a notebook: a canary of every kind in every place, and nowhere in the copy."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner

from autotune_nb.cli.share import share as command
from autotune_nb.errors import SetupError
from autotune_nb.reports.share import share
from autotune_nb.reports.study_report import Report
from autotune_nb.trial.score import Objective
from tests.reports.test_plots import BEST, BROKEN, DEFAULT, OTHER
from tests.secrets.test_detectors import CANARIES, GITHUB

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
VALUE = "an&odd value/9%7x"
SECRETS = [*CANARIES.values(), VALUE, "hunter2222", "/home/ada"]
ALL = " ".join([*CANARIES.values(), f"v={VALUE};", 'password = "hunter2222"', "/home/ada/x"])


def code(source: str, *outputs: dict[str, Any], number: int | None = 1, **metadata: Any) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": number,
        "metadata": metadata,
        "source": source,
        "outputs": list(outputs),
    }


def display(data: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data, "metadata": metadata}


def stream(text: str | list[str]) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def notebook(path: Path, *cells: dict[str, Any], **metadata: Any) -> Path:
    nb = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)}
    for number, cell in enumerate(nb["cells"]):
        cell["id"] = f"cell{number}"
    path.write_text(json.dumps(nb, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if re.search("TOKEN|KEY|SECRET|PASS", name):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SOME_TOKEN", VALUE)


def svg_uri(text: str) -> str:
    return f'<img src="data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}" alt="a chart"/>'


def split(text: str) -> list[str]:
    """As nbformat splits it, and then some: a secret goes on in the next item."""
    return [text[at : at + 11] for at in range(0, len(text), 11)]


def everywhere(path: Path) -> Path:
    figure = {"data": [{"customdata": [[ALL]], "text": [f"<b>{GITHUB}</b>"]}], "layout": {"title": ALL}}
    error = {
        "output_type": "error",
        "ename": "ValueError",
        "evalue": ALL,
        "traceback": [f"\x1b[31m{GITHUB}\x1b[0m", ALL],
    }
    markdown = {
        "cell_type": "markdown",
        "metadata": {},
        "source": split(f"# {ALL}\n![x](attachment:x.svg)"),
        "attachments": {"x.svg": {"image/svg+xml": f"<svg>{html.escape(ALL, quote=False)}</svg>"}},
    }
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": GITHUB}, "text/plain": f"HBox({ALL})"}
    return notebook(
        path,
        markdown,
        code(f"x = 1\n{ALL}"),
        code("stream", stream(split(ALL)), stream(GITHUB[:13]), stream(GITHUB[13:])),
        code("error", error),
        code(
            "html",
            display({"text/html": split(f"<p>{html.escape(ALL, quote=False)}</p>" + svg_uri("<svg>a chart</svg>"))}),
        ),
        code("json", display({"application/json": {"a": [ALL]}}, x=ALL)),
        code("plotly", display({"application/vnd.plotly.v1+json": figure})),
        code("widget", display(view), papermill={"x": ALL}),
        code("encoded", stream(base64.b64encode(f"user:{VALUE}".encode()).decode())),
        papermill={
            "parameters": {"api_key": "hunter2222", "task": "quickstart"},
            "input_path": "/home/ada/in.ipynb",
            "environment_variables": {"X": ALL},
        },
        widgets={"application/vnd.jupyter.widget-state+json": {"state": {"a": ALL}}},
        other=ALL,
    )


def decoded(content: str) -> str:
    """A text with all that is base64 in it, and in that, beside it."""
    runs = [content]
    for run in re.findall(r"[A-Za-z0-9+/_-]{12,}={0,2}", content):
        for shift in range(4):
            part = run[shift:].rstrip("=").replace("-", "+").replace("_", "/")
            part = part[: len(part) // 4 * 4]
            runs.append(base64.b64decode(part).decode("utf-8", "replace"))
    return "\n".join(runs)


def test_a_canary_of_every_kind_in_every_place_is_nowhere_in_the_copy(tmp_path: Path) -> None:
    source = everywhere(tmp_path / "in.ipynb")
    before = source.read_bytes()
    shared = share(source, tmp_path / "out.ipynb", html=True)
    assert source.read_bytes() == before
    for file in (tmp_path / "out.ipynb", tmp_path / "out.html"):
        content = decoded(file.read_text(encoding="utf-8"))
        for secret in SECRETS:
            for form in (secret, html.escape(secret), json.dumps(secret)[1:-1]):
                assert form not in content, f"{file.name}: {secret[:6]}…"
    nb = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    nbformat.validate(nb)
    assert "widgets" not in nb.metadata
    assert nb.metadata.papermill.parameters.task == "quickstart"
    assert nb.metadata.papermill.input_path == "~/in.ipynb"
    assert list(nb.cells[7].outputs[0].data) == ["text/plain"]
    assert shared.was_run
    places = {(one.kind, one.place) for one in shared.removed}
    for number in range(1, 10):
        assert any(place.startswith(f"cell {number}'s") for _, place in places), number
    assert {kind for kind, _ in places} >= {*CANARIES, "home folder", "Secret Keyword", "environment variable's value"}
    assert not any(secret in "\n".join(shared.lines()) for secret in SECRETS)


def test_the_same_notebook_gives_the_same_copy_and_a_copy_itself(tmp_path: Path) -> None:
    source = everywhere(tmp_path / "in.ipynb")
    for name in ("a", "b"):
        share(source, tmp_path / f"{name}.ipynb")
    again = share(tmp_path / "a.ipynb", tmp_path / "c.ipynb")
    contents = {(tmp_path / f"{name}.ipynb").read_bytes() for name in ("a", "b", "c")}
    assert len(contents) == 1
    assert again.removed == ()


COLOURED = "\x1b[32m      2\x1b[39m api_key = \x1b[33m'{}'\x1b[39m"
PLACES = [
    code("api_key = 'hunter2222'"),
    code("!serve m --port 1 \\\n --api-key hunter2222\nx = 1"),
    code("%%bash\ncurl -H 'Authorization: Bearer hunter2222' http://x"),
    code("%env SOME_PASSWORD=hunter2222"),
    code("x", stream("env: SOME_PASSWORD=hunter2222\n")),
    code("x", stream("> GET /\n> Authorization: Bearer hunter2222\n")),
    code("x", {"output_type": "error", "ename": "E", "evalue": "", "traceback": [COLOURED.format("hunter2222")]}),
]


@pytest.mark.parametrize("cell", PLACES)
def test_a_value_that_is_found_once_is_removed_everywhere(cell: dict[str, Any], tmp_path: Path) -> None:
    table = display({"text/html": "<td>SOME_PASSWORD</td><td>hunter2222</td>", "text/plain": ["x hunter2222\n", "y"]})
    other = code("print('hunter2222')", stream("\x1b[1mhunter2222\x1b[0m"), table)
    share(notebook(tmp_path / "in.ipynb", other, cell), tmp_path / "out.ipynb")
    assert "hunter2222" not in (tmp_path / "out.ipynb").read_text()


def test_a_found_word_is_removed_as_a_word_and_colours_stay_without_a_secret(tmp_path: Path) -> None:
    cell = code(
        "password = 'tigerclaw'",
        stream("tigerclaw, tigerclaws\n"),
        {"output_type": "error", "ename": "E", "evalue": "", "traceback": [COLOURED.format("")]},
    )
    share(notebook(tmp_path / "in.ipynb", cell), tmp_path / "out.ipynb")
    outputs = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[0].outputs
    assert outputs[0].text == "[redacted: Secret Keyword], tigerclaws\n"
    assert outputs[1].traceback == [COLOURED.format("")]


@pytest.mark.parametrize("text", ["token: 151643", "API_KEY=$HF_KEY", "!serve --api-key $KEY", "f(token=cfg.token)"])
def test_what_is_beside_a_name_and_is_no_secret_stays(text: str, tmp_path: Path) -> None:
    share(notebook(tmp_path / "in.ipynb", code(text, stream(text))), tmp_path / "out.ipynb")
    cell = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[0]
    assert (cell.source, cell.outputs[0].text) == (text, text)


def test_the_home_folder_of_a_file_url_is_removed(tmp_path: Path) -> None:
    share(notebook(tmp_path / "in.ipynb", code("open('file:///home/ada/x')")), tmp_path / "out.ipynb")
    assert "file://~/x" in (tmp_path / "out.ipynb").read_text()


def test_results_stay_as_they_are(tmp_path: Path) -> None:
    goal = Objective("output_tokens_per_s", "maximize")
    trials = (DEFAULT, BEST, OTHER, BROKEN)
    page = Report(
        trials, BEST, goal, "vllm serve /models/llama/model.gguf --api-key EMPTY --seed 1234567890123"
    ).to_html()
    image = "registry.example/vllm@sha256:" + "0123456789abcdef" * 4
    array = {"x": {"bdata": base64.b64encode(bytes(range(200)) * 9).decode(), "dtype": "f8"}}
    source = notebook(
        tmp_path / "in.ipynb",
        {"cell_type": "markdown", "metadata": {}, "source": "# 🎉 שלום مرحبا 你好 <b>&amp;</b>"},
        code(
            "import autotune_nb as at\nrun = at.tune(task, study='runs/x')\nawait run",
            stream(f"{image} 171.8 tokens/s\n"),
        ),
        code("run.report()", display({"text/html": page, "text/plain": "best is trial 1"})),
        code("chart", display({"application/vnd.plotly.v1+json": array})),
        code("image", display({"image/png": "iVBORw0KGgo=\n"})),
        kernelspec={"name": "python3", "display_name": "Python 3", "language": "python"},
    )
    shared = share(source, tmp_path / "out.ipynb")
    assert shared.removed == ()
    assert nbformat.read(tmp_path / "out.ipynb", as_version=4) == nbformat.read(source, as_version=4)
    assert shared.lines() == [
        "removed nothing: no secret was found",
        "note: what pictures show was not read: cell 5's output",
    ]


@pytest.mark.parametrize("source", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_our_own_notebooks_stay_byte_for_byte(source: Path, tmp_path: Path) -> None:
    shared = share(source, tmp_path / "out.ipynb", html=True)
    assert (tmp_path / "out.ipynb").read_bytes() == source.read_bytes()
    assert not shared.was_run
    assert shared.lines()[-1] == "note: the notebook was never run; it has no results"


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ({"application/pdf": "JVBERi0="}, "cell 2's output: application/pdf cannot be read"),
        ({"audio/wav": "AAAA"}, "audio/wav"),
        ({"text/html": '<a href="data:application/pdf;base64,JVBERi0="/>'}, "application/pdf cannot be read"),
        ({"text/html": svg_uri(f"<svg>{GITHUB}</svg>")}, "image/svg+xml with a secret in it (GitHub Token)"),
    ],
)
def test_what_cannot_be_cleaned_is_refused_by_its_cell(output: dict[str, Any], told: str, tmp_path: Path) -> None:
    source = notebook(tmp_path / "in.ipynb", code("a"), code("b", display(output)))
    with pytest.raises(SetupError, match="cannot be cleaned, nothing was written") as error:
        share(source, tmp_path / "out.ipynb", html=True)
    assert told in str(error.value)
    assert not any(secret in str(error.value) for secret in SECRETS)
    assert [file.name for file in tmp_path.iterdir()] == ["in.ipynb"]


def test_what_is_there_is_not_overwritten_and_the_notebook_never(tmp_path: Path) -> None:
    source = notebook(tmp_path / "in.ipynb", code("a"))
    (tmp_path / "out.html").write_text("mine")
    (tmp_path / "link.ipynb").symlink_to(source)
    before = source.read_bytes()
    with pytest.raises(SetupError, match=r"out\.html exists; .*--force"):
        share(source, tmp_path / "out.ipynb", html=True)
    assert not (tmp_path / "out.ipynb").exists()
    for own in ("in.ipynb", "link.ipynb"):
        with pytest.raises(SetupError, match="never overwritten"):
            share(source, tmp_path / own, force=True)
    with pytest.raises(SetupError, match="is a folder"):
        share(source, tmp_path, force=True)
    with pytest.raises(SetupError, match="cannot be read: No such file"):
        share(tmp_path / "none.ipynb", tmp_path / "x.ipynb")
    with pytest.raises(SetupError, match=r"name it \.ipynb"):
        share(source, tmp_path / "x.html", html=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be written"):
        share(source, tmp_path / "file" / "x.ipynb")
    assert (tmp_path / "out.html").read_text() == "mine"
    assert source.read_bytes() == before
    share(source, tmp_path / "out.ipynb", html=True, force=True)
    assert "mine" not in (tmp_path / "out.html").read_text()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "file", "in.ipynb", "link.ipynb", "out.html", "out.ipynb"
    ]  # fmt: skip


def test_the_command_says_what_went_and_from_where(tmp_path: Path) -> None:
    source = notebook(
        tmp_path / "in.ipynb", code(f"a = '{GITHUB}'", stream(f"{GITHUB}\n/home/ada/x")), code("b", stream(GITHUB))
    )
    result = CliRunner().invoke(command, [str(source), "-o", str(tmp_path / "out.ipynb"), "--html"])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        f"wrote {tmp_path / 'out.ipynb'}",
        f"wrote {tmp_path / 'out.html'}",
        "removed GitHub Token (3): cell 1's source, cell 1's output, cell 2's output",
        "removed home folder (1): cell 1's output",
    ]
    again = CliRunner().invoke(command, [str(source), "-o", str(tmp_path / "out.ipynb")])
    assert again.exit_code == 2 and "--force" in again.output
    assert CliRunner().invoke(command, [str(source)]).exit_code == 2
