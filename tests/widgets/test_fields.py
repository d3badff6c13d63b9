"""The fields of the form: widgets by type, texts that cannot be parsed, errors, drafts."""

from __future__ import annotations

from typing import Any

import ipywidgets
import pytest

from autotune_nb.engines.registry import engine_problems
from autotune_nb.runner.gpus import Gpu
from autotune_nb.task.sections import ENGINES, SAMPLERS
from autotune_nb.task.task import Task
from autotune_nb.widgets._background import LatestJob
from autotune_nb.widgets._draft import new_study_data
from autotune_nb.widgets._field_words import LABELS
from autotune_nb.widgets._fields import Field, task_field
from autotune_nb.widgets._layout import WidgetStyles, css_name, errors_html
from autotune_nb.widgets._task_check import check, retry_system_error
from autotune_nb.widgets._value_text import MISSING

STYLES = WidgetStyles()


def made(path: str, value: Any = MISSING) -> Field:
    return task_field(STYLES, path, value, lambda: None)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("name", ipywidgets.Text),
        ("description", ipywidgets.Textarea),
        ("engine.kind", ipywidgets.Dropdown),
        ("objective.direction", ipywidgets.Dropdown),
        ("deploy.kind", ipywidgets.Dropdown),
        ("objective.figure", ipywidgets.Combobox),
        ("budget.baseline", ipywidgets.Checkbox),
        ("budget.trials", ipywidgets.Text),
    ],
)
def test_the_type_decides_the_widget(path: str, kind: type) -> None:
    assert type(made(path).widget) is kind


@pytest.mark.parametrize("path", sorted(LABELS))
def test_every_field_has_a_label_a_tooltip_and_a_name_to_find_it_by(path: str) -> None:
    widget = made(path).widget
    assert widget.description == LABELS[path]
    assert widget.tooltip.startswith(path)
    assert f"at-field-{css_name(path)}" in widget._dom_classes
    assert getattr(widget, "continuous_update", True) is True


def test_closed_sets_of_names_are_offered() -> None:
    assert {value for _, value in made("engine.kind", "vllm").widget.options} == set(ENGINES)
    assert {value for _, value in made("strategy.sampler").widget.options} == set(SAMPLERS)


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("workload.seconds_per_level", MISSING, "60"),
        ("workload.concurrency", [1, 4], "1, 4"),
        ("deploy.gpus", [], "[]"),
        ("deploy.gpus", MISSING, ""),
        ("engine.args", {"ctx_size": 1}, "ctx_size: 1"),
        ("engine.env", {"A": "1"}, 'A: "1"'),
        ("engine.command", ["a", "{port}"], '[a, "{port}"]'),
        ("model.tokenizer", "", '""'),
        ("deadlines.ready_s", 60.0, "60"),
    ],
)
def test_the_effective_value_is_shown_and_rereading_it_changes_nothing(path: str, value: Any, shown: str) -> None:
    field = made(path, value)
    assert field.widget.value == shown
    assert field.value is value
    field.read_widget()
    assert field.read_error is None
    if value is not MISSING:
        assert field.value == value


def test_a_text_that_cannot_be_parsed_is_an_error_of_its_field_and_keeps_the_value() -> None:
    field = made("engine.args", {"a": 1})
    field.widget.value = "a: ["
    assert field.read_error is not None
    assert field.read_error.field == "engine.args"
    assert field.value == {"a": 1}


def test_an_error_is_shown_only_where_there_is_one() -> None:
    field = made("name", "x")
    field.show_errors(())
    assert field.box.children == (field.widget,)
    field.show_errors(["<b>"])
    assert field.box.children[1].value == errors_html(["<b>"])
    assert "&lt;b&gt;" in field.box.children[1].value
    assert "at-error-name" in field.box.children[1]._dom_classes
    field.show_errors(())
    assert field.box.children == (field.widget,)


def test_every_error_of_an_engines_flags_is_reported() -> None:
    task = Task.parse(
        {
            **new_study_data("llama_cpp"),
            "model": "m",
            "parameters": {"threads": ["two"], "t": [1], "poll": [101], "numa": [1]},
            "engine": {"kind": "llama_cpp", "args": {"np": "many", "host": "x"}},
        }
    )
    assert [error.field for error in engine_problems(task)] == [
        *("parameters.threads", "parameters.poll", "parameters.numa", "engine.args.host", "parameters.t"),
        "engine.args.np",
    ]


def test_an_invalid_draft_is_checked_as_far_as_possible() -> None:
    draft = new_study_data("llama_cpp")
    draft["parameters"]["numa"] = {"type": "bool"}
    draft["name"] = ""
    checked = check(draft)
    assert [error.field for error in checked.problems] == ["name", "model", "parameters.numa"]
    assert len(checked.summary) == 2
    draft["budget"] = {"trials": 0}
    assert len(check(draft).summary) == 1
    assert check(draft, search=False).summary == ()
    assert list(map(str, check(draft, search=False).problems)) == list(map(str, check(draft).problems))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_new_draft_is_valid_except_for_the_model(engine: str) -> None:
    fields = [error.field for error in check(new_study_data(engine)).problems]
    assert fields == (["model", "engine", "parameters"] if engine == "command" else ["model"])


def test_a_new_job_replaces_a_waiting_one() -> None:
    import threading

    latest, done, go = LatestJob(), [], threading.Event()
    begun_first = threading.Event()

    def first() -> None:
        begun_first.set()
        assert go.wait(10)
        done.append("first")

    latest.submit(first)
    assert begun_first.wait(10)
    for name in ("second", "third"):
        latest.submit(lambda name=name: done.append(name))  # type: ignore[misc]
    assert not latest.wait_idle(0)
    go.set()
    assert latest.wait_idle(10)
    assert done == ["first", "third"]
    latest.submit(lambda: done.append("again"))
    assert latest.wait_idle(10)
    assert done[-1] == "again"


def test_a_system_error_of_cpythons_parser_is_retried() -> None:
    tries: list[int] = []

    def work() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise SystemError("AST constructor recursion depth mismatch")
        return "done"

    assert retry_system_error(work) == "done"


def test_a_new_task_has_no_gpu_parameters_where_no_gpu_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune_nb.widgets._machine.gpus", lambda _visible: [Gpu("0", "GPU-a"), Gpu("1", "GPU-b")])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "tensor_parallel_size" in new_study_data("vllm")["parameters"]
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert "gpu_memory_utilization" not in new_study_data("vllm")["parameters"]
