"""The form with the flags of an installed engine: asked in a thread, kept, and compared with the catalog."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autotune_nb.engines import installed
from autotune_nb.engines.base import Engine
from autotune_nb.engines.installed import ask_program
from autotune_nb.engines.schema import EngineSchema
from autotune_nb.task.task import Task
from autotune_nb.widgets._installed_flags import schema_text
from autotune_nb.widgets.form import TaskForm
from tests.engines.recorded_flags import recorded
from tests.engines.test_installed import HELP
from tests.widgets.test_form import errors, field, find, press


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program whose help text lists some of llama.cpp's flags."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _name: tmp_path / "cache")
    file = tmp_path / "llama-server"
    file.write_text(f"#!/bin/sh\ncat <<'EOF'\n{HELP}EOF\n")
    file.chmod(0o755)
    return file


def form_for(program: Path) -> TaskForm:
    data = Task.load("quickstart").model_dump(mode="json")
    data["engine"]["executable"] = str(program)
    return TaskForm(Task.parse(data))


def test_the_installed_flags_are_asked_in_a_thread_and_then_offered(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    ask = installed.ask_program

    def slowly(*arguments: object) -> object:
        assert goes_on.wait(60)
        return ask(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("autotune_nb.widgets._installed_flags.ask_program", slowly)
    form = form_for(program)
    (name,) = find(form, "at-param-name")
    assert "poll" in name.options and "spec_type" not in name.options
    press(form, "at-flags-read")
    (note,) = find(form, "at-form-installed")
    assert "reading the flags" in note.value
    # The form is usable meanwhile.
    field(form, "budget-trials").value = "3"
    assert form._wait_idle(20)
    goes_on.set()
    assert form._fields.installed.job.wait_idle(60)
    assert form._wait_idle(20)
    assert "spec_type" in name.options and "poll" not in name.options
    assert "13 flags are offered. It does not have " in note.value and "poll" in note.value
    assert "llama_cpp has no flag --cache-type-v" in errors(form, "parameters-cache_type_v")
    # Another form finds them kept.
    assert "spec_type" in find(form_for(program), "at-param-name")[0].options


def test_an_image_is_asked_by_its_containers_client(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def ask(engine: Engine, image: str, client: Sequence[str]) -> EngineSchema:
        asked.append((engine.name, image, tuple(client)))
        return replace(ask_program(engine, [str(program)]), program=(image,), identity="sha256:1")

    monkeypatch.setattr("autotune_nb.widgets._installed_flags.ask_image", ask)
    client = SimpleNamespace(words=("docker",))
    monkeypatch.setattr("autotune_nb.widgets._installed_flags.find_client", lambda runtime: client)
    form = TaskForm("quickstart")
    field(form, "deploy-kind").value = "container"
    assert find(form, "at-flags-read")[0].disabled
    form._fields.fields["deploy.image"].widget.value = "llama:1"
    press(form, "at-flags-read")
    assert form._fields.installed.job.wait_idle(60)
    assert asked == [("llama_cpp", "llama:1", ("docker",))]
    assert "spec_type" in find(form, "at-param-name")[0].options


def test_a_program_without_flags_is_an_error_beside_the_button(program: Path) -> None:
    program.write_text("#!/bin/sh\necho hello\n")
    form = form_for(program)
    press(form, "at-flags-read")
    assert form._fields.installed.job.wait_idle(60)
    (note,) = find(form, "at-form-installed")
    assert "the help text of" in note.value and "at-error" in note.value
    field(form, "deploy-kind").value = "ome"
    assert note.value == ""
    assert find(form, "at-flags-read")[0].disabled


def test_what_a_version_lacks_or_calls_otherwise_is_named() -> None:
    text = schema_text(recorded("vllm", "0.30.0"))
    assert text.startswith("vllm 0.30.0, as installed: ")
    assert "max_num_active_seqs" in text
    old = recorded("sglang", "0.5.20")
    assert ("cuda_graph_max_bs_decode (--cuda-graph-max-bs)" in schema_text(old)) == (
        old.exact("cuda_graph_max_bs_decode") is None
    )


def test_what_rules_leave_out_is_shown_before_it_is_tried() -> None:
    form = TaskForm("quickstart")
    press(form, "at-more-rules")
    press(form, "at-rule-add")
    field(form, "rules-2").value = "threads < 2"
    assert form._wait_idle(20)
    shown = find(form, "at-form-space")[0].value
    assert "the task&#x27;s rule &#x27;threads &lt; 2&#x27; excludes" in shown
    (note,) = find(form, "at-form-excluded")
    assert "never tried: 2" in note.value
    field(form, "rules-2").value = "threads > 0"
    assert form._wait_idle(20)
    assert find(form, "at-form-excluded") == []
