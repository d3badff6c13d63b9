"""The task form: it opens every task and returns it unchanged, and shows every error next to its field."""

from __future__ import annotations

import html
import json
import re
import threading
from pathlib import Path
from typing import Any

import ipywidgets
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autotune_nb as at
from autotune_nb.errors import SetupError, StudyBusyError, TaskError
from autotune_nb.task.sections import ENGINES
from autotune_nb.task.task import Task
from autotune_nb.widgets._field_order import SECTIONS
from autotune_nb.widgets._fields import task_paths
from autotune_nb.widgets.form import TaskForm
from tests.strategies import tasks
from tests.task.test_prototype import PROTOTYPE


def find(form: TaskForm, name: str) -> list[Any]:
    """The widgets with this CSS class that can be seen now, in the order of the page."""

    def walk(widget: Any) -> Any:
        if name in getattr(widget, "_dom_classes", ()):
            yield widget
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    return list(walk(form.box))


def field(form: TaskForm, path: str) -> Any:
    """The widget of a field, whose section is unfolded first if need be."""
    if not find(form, f"at-field-{path}"):
        unfold(form)
    (widget,) = find(form, f"at-field-{path}")
    return widget


def unfold(form: TaskForm) -> None:
    for button in find(form, "at-form-fold"):
        if button.icon == "caret-right":
            button.click()


def errors(form: TaskForm, name: str) -> str:
    """The text of an error label; empty where none is shown."""
    assert form._wait_idle(60)
    return "".join(html.unescape(re.sub("<[^>]*>", "", label.value)) for label in find(form, f"at-error-{name}"))


def press(form: TaskForm, name: str, which: int = 0) -> None:
    find(form, name)[which].click()
    assert form._starter.wait_idle(20)


def same(task: Task, other: Task) -> bool:
    # Equality alone would let 1 become True.
    return task == other and task.model_dump_json() == other.model_dump_json()


@given(task=tasks())
def test_any_task_is_returned_unchanged_also_after_rereading_every_field(task: Task) -> None:
    form = TaskForm(task)
    assert same(Task.parse(form._fields.data), task)
    for one in form._fields.all_fields:
        one.read_widget()
        assert one.read_error is None
    assert same(Task.parse(form._fields.data), task)


@given(task=tasks())
def test_the_code_makes_the_same_task(task: Task) -> None:
    from autotune_nb.task.python_code import task_code

    names: dict[str, Any] = {}
    exec(task_code(task), names)
    assert same(names["task"], task)


def test_every_field_of_a_task_is_in_the_form() -> None:
    there = {path for section in SECTIONS for path in (*section.common, *section.more)}
    # The names of presets are a record: what they expanded to is in the form.
    assert there | {"parameters", "rules", "objectives", "limits", "expanded_presets"} == set(task_paths())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_new_task_is_complete_except_for_the_model(engine: str) -> None:
    form = TaskForm(engine)
    if engine == "command":
        assert "needs a command" in errors(form, "engine-command")
        assert "nothing to tune" in errors(form, "parameters")
        field(form, "engine-command").value = "serve {port}"
        find(form, "at-param-name")[0].value = "max_batch"
        press(form, "at-param-add")
        field(form, "parameters-max_batch-values").value = "1, 2"
    assert errors(form, "model-id_or_path").startswith("is needed: a file or folder")
    with pytest.raises(TaskError, match=r"^model: "):
        form.task  # noqa: B018
    field(form, "model-id_or_path").value = "some/model"
    assert form.problems == []
    assert form.task.engine.kind == engine
    assert errors(form, "model-id_or_path") == ""
    if engine != "command":
        assert len(form.task.parameters) in (4, 5)


def test_it_opens_a_name_a_file_an_engine_and_nothing(tmp_path: Path) -> None:
    quickstart = Task.load("quickstart")
    assert TaskForm("quickstart").task == quickstart
    assert TaskForm(quickstart.save(tmp_path / "t.yaml")).task == quickstart
    assert TaskForm()._fields.data["engine"] == {"kind": "llama_cpp"}
    assert TaskForm("llama.cpp")._fields.data["engine"] == {"kind": "llama_cpp"}
    with pytest.raises(TaskError, match="there is no task file 'nothing'"):
        TaskForm("nothing")


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [(5, "5"), (b"quickstart", "b'quickstart'"), (object, "<class 'object'>"), (["x"], "a list"), ({"x": 1}, "a dict")],
)
def test_another_type_is_rejected_with_what_is_expected(wrong: Any, shown: str) -> None:
    with pytest.raises(TaskError, match=f"^expected a Task, the path of a task file, .*, not {shown}$"):
        TaskForm(wrong)


@pytest.mark.parametrize(
    ("path", "typed", "label", "expected"),
    [
        ("name", "a/b", "name", "should match"),
        ("model-random_weights-layers", "many", "model-random_weights-layers", "is not a whole number"),
        ("engine-args", "host: x", "engine-args", "host: is set by deploy.host"),
        ("engine-args", "ctx_size", "engine-args", "write 'name: value'"),
        ("engine-args", "numa: isolated", "engine-args", "; did you mean 'isolate'"),
        (
            "parameters-flash_attn-values",
            "on, offf",
            "parameters-flash_attn",
            "unknown value 'offf'; did you mean 'off'",
        ),
        ("workload-concurrency", "1, x", "workload-concurrency", "value 2: 'x' is not a whole number"),
        ("workload-concurrency", "1, 1", "workload-concurrency", "a value is listed twice"),
        ("workload-scenarios", "D(1,2), D(3", "workload-scenarios", "is not a traffic scenario"),
        ("workload-scenarios", "", "workload-scenarios", "is needed"),
        ("objective-figure", "ttft_p98", "objective-figure", "did you mean 'ttft_p99_s'"),
        ("objective-at", "concurrency: 9", "objective-at", "does not match any level"),
        ("budget-trials", "0", "budget-trials", "must be at least 1, not 0"),
        ("model-random_weights-hidden_size", "100", "model-random_weights-hidden_size", "such as 128, not 100"),
        ("parameters-threads-values", "1, two", "parameters-threads", "--threads: 'two' is not a whole number"),
        ("parameters-threads-values", "[1", "parameters-threads", "values: cannot be read"),
        ("parameters-threads-values", "", "parameters-threads", "values: write the values to search, such as 1, 2, 4"),
        ("parameters-threads", "port", "parameters-threads", "is set by deploy.port"),
        ("rules-0", "ubatch_sise <= 5", "rules-0", "unknown parameter 'ubatch_sise'; did you mean 'ubatch_size'"),
        ("limits-0", "ttft is low", "limits-0", "is not a limit"),
    ],
)
def test_an_error_is_shown_next_to_its_field(path: str, typed: str, label: str, expected: str) -> None:
    form = TaskForm("quickstart")
    before = field(form, path).value
    field(form, path).value = typed
    assert expected in errors(form, label)
    with pytest.raises(TaskError) as caught:
        form.task  # noqa: B018
    assert str(form.problems[0]).split(" (and")[0] == str(caught.value).split(" (and")[0]
    assert re.search(r"\d errors?: ", find(form, "at-form-estimate")[0].value)
    field(form, path).value = before
    assert errors(form, label) == ""
    assert form.task == Task.load("quickstart")


def test_rules_that_leave_no_point_are_named() -> None:
    form = TaskForm("quickstart")
    field(form, "rules-0").value = "threads > 5"
    assert errors(form, "rules") == "no point keeps 'threads > 5', a rule of the task: loosen a rule or widen a range"
    # The result of the search stays.
    field(form, "description").value = "x"
    assert "no point keeps" in "".join(label.value for label in find(form, "at-error-rules"))
    field(form, "rules-0").value = "threads > 1"
    assert errors(form, "rules") == ""


def test_the_engines_rules_apply() -> None:
    form = TaskForm("quickstart")
    press(form, "at-more-rules")
    press(form, "at-rule-remove")
    field(form, "parameters-ubatch_size-values").value = "4096"
    assert "no point keeps 'ubatch_size <= batch_size'" in errors(form, "rules")


def test_an_error_unfolds_the_section_of_its_field_once() -> None:
    form = TaskForm("quickstart")
    assert find(form, "at-field-deploy-port") == []
    form._fields.fields["deploy.port"].widget.value = "0"
    assert "at least 1" in errors(form, "deploy-port")
    assert find(form, "at-form-status")[0].value == ""
    press(form, "at-more-where-it-runs")
    field(form, "name").value = "x"
    assert form._wait_idle(20)
    # The user has folded it: the error is then at the top.
    assert find(form, "at-field-deploy-port") == []
    assert "deploy.port: " in find(form, "at-form-status")[0].value


def test_start_is_off_while_something_is_wrong_and_says_what() -> None:
    form = TaskForm("quickstart")
    (start,) = find(form, "at-form-start")
    assert not start.disabled
    field(form, "workload-concurrency").value = "1, x"
    field(form, "budget-trials").value = "0"
    assert start.disabled
    state = find(form, "at-form-estimate")[0].value
    assert "Start is off, 2 errors: Requests at a time: " in state
    assert "; Trials, at most: " in state
    assert "is not a whole number" in errors(form, "workload-concurrency")
    assert "at least 1" in errors(form, "budget-trials")
    field(form, "workload-concurrency").value = "1"
    field(form, "budget-trials").value = ""
    assert not start.disabled


def test_what_is_folded_is_counted() -> None:
    form = TaskForm("quickstart")
    (rules,) = find(form, "at-more-rules")
    assert rules.description == "Rules between parameters · 2 set"
    press(form, "at-more-rules")
    press(form, "at-rule-remove")
    assert rules.description == "Rules between parameters · 1 set"


def test_an_error_of_a_whole_section_is_shown_in_it() -> None:
    form = TaskForm("quickstart")
    press(form, "at-more-where-it-runs")
    field(form, "deploy-port").value = "8080"
    field(form, "deploy-parallel").value = "2"
    assert "a fixed port serves one trial at a time" in errors(form, "where-it-runs")


def test_the_size_and_the_time_are_updated_while_typing() -> None:
    form = TaskForm("quickstart")
    assert form._wait_idle(20)
    facts, state = find(form, "at-form-facts")[0], find(form, "at-form-estimate")[0]
    assert "<b>576 configurations</b>" in facts.value
    assert "5 trials and 7 starts to confirm the best, each with 2 levels of 8 s or 200 requests" in facts.value
    assert "to confirm the best" not in find(form, "at-form-space")[0].value
    assert "<b>cost unknown</b>" in facts.value
    assert "<b>gains from 12 %</b>" in facts.value
    field(form, "parameters-threads-values").value = "1"
    field(form, "budget-trials").value = "20"
    assert form._wait_idle(20)
    assert "<b>288 configurations</b>" in facts.value
    assert "20 trials and 7 starts to confirm the best" in facts.value
    assert "288 of 432 configurations keep the rules" in find(form, "at-form-space")[0].value
    assert "ready to start" in state.value
    field(form, "price-usd_per_hour").value = "3"
    field(form, "confirm-rounds").value = "0"
    assert form._wait_idle(20)
    assert "<b>at most $" in facts.value
    assert "no confirmation" in facts.value


def test_typing_does_not_wait_for_the_full_check(monkeypatch: pytest.MonkeyPatch) -> None:
    from autotune_nb.widgets import form as module

    go, real, slow = threading.Event(), module.check, []

    def check(data: dict[str, Any], *, search: bool = True) -> Any:
        # The form of a previous test may still be checked.
        if search and data["name"] in (*names, "mine"):
            slow.append(data["name"])
            assert go.wait(20)
        return real(data, search=search)

    names = ("a", "ab", "abc")
    monkeypatch.setattr(module, "check", check)
    form = TaskForm(Task.load("quickstart").model_copy(update={"name": "mine"}))
    for name in names:
        field(form, "name").value = name
    assert not form._wait_idle(0)
    go.set()
    assert form._wait_idle(20)
    # The versions in between were skipped.
    assert slow[-1] == "abc"
    assert len(slow) <= 2
    assert "ready to start" in find(form, "at-form-estimate")[0].value


def test_a_failure_of_the_check_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from autotune_nb.widgets import form as module

    real = module.check

    def check(data: dict[str, Any], *, search: bool = True) -> Any:
        if search:
            raise KeyError("x")
        return real(data, search=search)

    monkeypatch.setattr(module, "check", check)
    form = TaskForm("quickstart")
    assert form._wait_idle(20)
    assert "cannot be checked: KeyError" in find(form, "at-form-status")[0].value


def test_switching_the_engine_keeps_the_rest_and_marks_unknown_flags() -> None:
    form = TaskForm("quickstart")
    field(form, "engine-kind").value = "vllm"
    assert form._wait_idle(20)
    status = find(form, "at-form-space")[0].value
    for name in ("threads", "ctx_size"):
        assert name in status
    assert "are not in the catalog of vllm, and passed to the engine unchecked" in status
    assert len(form._fields.parameters.rows) == 8
    assert "max_num_seqs" in find(form, "at-param-name")[0].options
    field(form, "engine-kind").value = "llama_cpp"
    assert form.task == Task.load("quickstart")


def test_a_preset_is_shown_and_added_expanded_and_own_parameters_stay() -> None:
    form = TaskForm("vllm")
    field(form, "model-id_or_path").value = "m/x"
    before = form.task.parameters
    (name,) = find(form, "at-preset-name")
    assert "throughput-on-8-gpus" in name.options
    name.value = "throughput-on-4-gpu"
    (note,) = find(form, "at-form-preset")
    assert "tensor_parallel_size: 1, 2, 4" in note.value
    name.value = "troughput-on-4-gpus"
    assert "did you mean" in note.value
    press(form, "at-preset-add")
    assert form.task.parameters == before
    name.value = "throughput-on-4-gpus"
    press(form, "at-preset-add")
    assert note.value == ""
    added = form.task.parameters
    assert before.items() <= added.items()
    assert added["data_parallel_size"].grid() == [1, 2, 4]
    assert form.task.rules == ["tensor_parallel_size * pipeline_parallel_size * data_parallel_size <= 4"]
    field(form, "engine-kind").value = "llama_cpp"
    assert "throughput" in name.options
    assert "throughput-on-8-gpus" not in name.options


def test_a_file_with_a_preset_is_opened_expanded(tmp_path: Path) -> None:
    data = Task.load("quickstart").model_dump(mode="json") | {"parameters": {"preset": "scheduling"}, "rules": []}
    file = Task.parse(data).save(tmp_path / "t.yaml")
    assert "preset: scheduling" in file.read_text()
    form = TaskForm(file)
    assert [row.name.value for row in form._fields.parameters.rows] == [
        "parallel",
        "batch_size",
        "ubatch_size",
        "flash_attn",
    ]
    assert form.task.parameters == Task.load(file).parameters


def test_the_model_is_a_path_or_random_weights() -> None:
    form = TaskForm("quickstart")
    assert find(form, "at-field-model-id_or_path") == []
    field(form, "model-source").value = "path"
    assert find(form, "at-field-model-random_weights-layers") == []
    assert "is needed" in errors(form, "model-id_or_path")
    field(form, "model-id_or_path").value = "m.gguf"
    assert form.task.model.id_or_path == "m.gguf"
    assert form.task.model.random_weights is None
    field(form, "model-source").value = "random"
    assert form.task == Task.load("quickstart")


def test_the_levels_are_offered_to_the_objective() -> None:
    form = TaskForm("quickstart")
    assert field(form, "objective-at").options == ("best", "concurrency: 1", "concurrency: 4")
    field(form, "workload-scenarios").value = "D(1,2), D(3,4)"
    assert 'concurrency: 4, scenario: "D(3,4)"' in field(form, "objective-at").options
    field(form, "objective-at").value = 'concurrency: 4, scenario: "D(3,4)"'
    assert str(form.task.goal.level) == "D(3,4) at concurrency 4"


def test_an_emptied_field_has_its_default() -> None:
    form = TaskForm("quickstart")
    field(form, "workload-seconds_per_level").value = ""
    field(form, "budget-trials").value = ""
    assert form.task.workload.seconds_per_level == 60
    assert form.task.budget.trials is None


def test_rules_and_limits_are_added_and_removed() -> None:
    form = TaskForm("quickstart")
    press(form, "at-more-rules")
    press(form, "at-rule-add")
    assert len(form.task.rules) == 2  # an empty row is no rule
    field(form, "rules-2").value = "threads <= threads_batch"
    assert form.task.rules[2] == "threads <= threads_batch"
    press(form, "at-rule-remove", 0)
    assert form.task.rules == ["cache_type_v == 'f16' or flash_attn == 'on'", "threads <= threads_batch"]
    press(form, "at-limit-remove")
    assert form.task.limits == []
    press(form, "at-limit-add")
    field(form, "limits-1").value = "tpot <= 1"
    assert form.task.limits == ["tpot <= 1"]


def test_further_objectives_are_added_loaded_and_checked_beside_the_first() -> None:
    # A confirmation compares one objective.
    form = TaskForm(Task.parse({**Task.load("quickstart").model_dump(mode="json"), "confirm": False}))
    press(form, "at-objective-add")
    field(form, "objectives-0").value = "minimize ttft_p99_s"
    assert form.task.goal.figures == ("output_tokens_per_s", "ttft_p99_s")
    again = TaskForm(form.task)
    assert again.task == form.task
    field(again, "objectives-0").value = "minimize speed"
    assert "speed" in errors(again, "objectives-0")
    field(again, "objectives-0").value = "minimize ttft_p99_s"
    field(again, "objective-figure").value = "speed"
    assert "speed" in errors(again, "objective-figure")
    field(again, "objective-figure").value = "requests_per_s"
    press(again, "at-objective-remove")
    assert again.task.goal.others == ()


def test_a_failed_load_leaves_the_form_unchanged(tmp_path: Path) -> None:
    form = TaskForm("quickstart")
    field(form, "name").value = "mine"
    (tmp_path / "bad.yaml").write_text("nme: <b>x</b>\n")
    for path, words in (
        ("", "name what to start from"),
        (str(tmp_path / "none.yaml"), "there is no task file"),
        (str(tmp_path / "bad.yaml"), "nme: unknown field; did you mean &#x27;name&#x27;"),
    ):
        find(form, "at-form-from")[0].value = path
        press(form, "at-form-load")
        assert words in find(form, "at-form-filed")[0].value
        assert form.task.name == "mine"
    with pytest.raises(TaskError):
        form.load(tmp_path / "bad.yaml")
    assert form.task.name == "mine"


def test_it_loads_and_saves_files(tmp_path: Path) -> None:
    form = TaskForm("vllm")
    file, message = find(form, "at-form-file")[0], find(form, "at-form-filed")[0]
    file.value = str(tmp_path / "t.yaml")
    press(form, "at-form-save")
    assert "model: give either" in message.value
    assert not (tmp_path / "t.yaml").exists()
    field(form, "model-id_or_path").value = "m"
    press(form, "at-form-save")
    assert "saved as" in message.value
    assert Task.load(tmp_path / "t.yaml") == form.task
    field(form, "model-id_or_path").value = "n"
    press(form, "at-form-save")  # its own file is written again without a question
    assert Task.load(tmp_path / "t.yaml").model.id_or_path == "n"
    other = TaskForm("llama_cpp")
    find(other, "at-form-from")[0].value = str(tmp_path / "t.yaml")
    press(other, "at-form-load")
    assert other.task == form.task
    assert "opened " in find(other, "at-form-filed")[0].value
    # It is saved where it comes from.
    assert find(other, "at-form-file")[0].value == str(tmp_path / "t.yaml")


def test_another_file_is_replaced_after_a_question_only(tmp_path: Path) -> None:
    form = TaskForm("quickstart")
    (tmp_path / "t.json").write_text("precious")
    find(form, "at-form-file")[0].value = str(tmp_path / "t.json")
    assert find(form, "at-form-overwrite") == []
    press(form, "at-form-save")
    press(form, "at-form-keep")
    assert find(form, "at-form-overwrite") == []
    press(form, "at-form-save")
    field(form, "name").value = "other"
    # The question was about the previous task.
    assert find(form, "at-form-overwrite") == []
    assert (tmp_path / "t.json").read_text() == "precious"
    press(form, "at-form-save")
    press(form, "at-form-overwrite")
    assert Task.load(tmp_path / "t.json") == form.task
    assert "saved as" in find(form, "at-form-filed")[0].value


def test_edits_are_undone_and_redone() -> None:
    form = TaskForm("quickstart")
    (undo,), (redo,) = find(form, "at-form-undo"), find(form, "at-form-redo")
    assert undo.disabled and redo.disabled
    original = form.task
    press(form, "at-param-remove")
    for typed in ("m", "mi", "mine"):
        field(form, "name").value = typed
    edited = form.task
    # What was typed in one go is one edit.
    undo.click()
    assert form.task.name == "quickstart"
    assert "threads" not in form.task.parameters
    undo.click()
    assert form.task == original
    assert undo.disabled
    redo.click()
    redo.click()
    assert form.task == edited
    assert redo.disabled
    undo.click()
    field(form, "budget-trials").value = "9"
    assert redo.disabled


def test_opening_another_task_can_be_undone() -> None:
    form = TaskForm("quickstart")
    press(form, "at-more-rules")
    find(form, "at-form-from")[0].value = "vllm"
    press(form, "at-form-load")
    assert "a new study of vllm" in find(form, "at-form-filed")[0].value
    assert form._fields.data["engine"] == {"kind": "vllm"}
    find(form, "at-form-undo")[0].click()
    assert form.task == Task.load("quickstart")
    # What was unfolded stays so.
    assert find(form, "at-field-rules-0") != []


def test_it_offers_what_is_at_hand_to_start_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks").mkdir()
    Task.load("quickstart").save(tmp_path / "tasks" / "mine.yaml")
    (tmp_path / "runs" / "old").mkdir(parents=True)
    (tmp_path / "runs" / "old" / "task.json").write_text("{}")
    (source,) = find(TaskForm("quickstart"), "at-form-from")
    assert {"vllm", "quickstart", "ome", "runs/old", "tasks/mine.yaml"} <= set(source.options)


def test_an_error_of_the_disk_is_shown(tmp_path: Path) -> None:
    form = TaskForm("quickstart")
    find(form, "at-form-file")[0].value = str(tmp_path / "no" / "t.yaml")
    press(form, "at-form-save")
    assert "No such file or directory" in find(form, "at-form-filed")[0].value


def test_a_prototypes_file_is_opened_with_its_warnings(tmp_path: Path) -> None:
    form = TaskForm("vllm")
    (tmp_path / "t.json").write_text(json.dumps({**PROTOTYPE, "runtime_image_tag": "v0.5.2"}))
    find(form, "at-form-from")[0].value = str(tmp_path / "t.json")
    press(form, "at-form-load")
    message = find(form, "at-form-filed")[0].value
    assert re.search("opened .*t.json; ", message)
    assert "at-ok" in message


def test_an_unexpected_error_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    form = TaskForm("quickstart")
    assert form._wait_idle(20)

    def check(data: dict[str, Any], *, search: bool = True) -> Any:
        raise KeyError("<x>")

    monkeypatch.setattr("autotune_nb.widgets.form.check", check)
    field(form, "name").value = "y"
    assert "KeyError: &#x27;&lt;x&gt;&#x27;" in find(form, "at-form-status")[0].value


def test_the_code_is_shown_and_updated() -> None:
    form = TaskForm("quickstart")
    press(form, "at-form-code")
    text = find(form, "at-form-code-text")[0]
    assert text.value == form.code()
    field(form, "name").value = "other"
    assert form._wait_idle(20)
    assert "'name': 'other'" in text.value
    press(form, "at-form-code")
    assert find(form, "at-form-code-text") == []
    field(form, "name").value = ""
    press(form, "at-form-code")
    assert "name: " in find(form, "at-form-filed")[0].value


class _Monitor:
    def __init__(self, run: Any) -> None:
        self.box = ipywidgets.HTML(f"monitor of {run}")


@pytest.fixture
def _monitored(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("autotune_nb.widgets.monitor")
    module.Monitor = _Monitor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "autotune_nb.widgets.monitor", module)


@pytest.mark.usefixtures("_monitored")
def test_start_tunes_and_shows_the_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[Task, str]] = []

    def tune(task: Task, *, study: str) -> str:
        started.append((task, study))
        return "RUN"

    monkeypatch.setattr("autotune_nb.session.tune", tune)
    form = TaskForm("quickstart")
    press(form, "at-form-start")
    assert started == [(form.task, "runs/quickstart")]
    assert form.run == "RUN"
    assert form._monitor_box.children[0].value == "monitor of RUN"
    find(form, "at-form-study")[0].value = " elsewhere "
    press(form, "at-form-start")
    assert started[1][1] == "elsewhere"


@pytest.mark.parametrize(
    "error", [StudyBusyError("another <process>"), SetupError("no llama-server"), RuntimeError("boom <b>")]
)
def test_an_error_at_the_start_is_shown(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def tune(task: Task, *, study: str) -> None:
        raise error

    monkeypatch.setattr("autotune_nb.session.tune", tune)
    form = TaskForm("quickstart")
    press(form, "at-form-start")
    message = find(form, "at-form-started")[0].value
    assert str(error).replace("<", "&lt;").replace(">", "&gt;") in message
    assert form.run is None
    field(form, "name").value = ""
    press(form, "at-form-start")
    assert "name: " in find(form, "at-form-started")[0].value


def test_starting_does_not_block_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def tune(task: Task, *, study: str) -> None:
        assert go.wait(20)
        raise SetupError("no engine")

    monkeypatch.setattr("autotune_nb.session.tune", tune)
    form = TaskForm("quickstart")
    find(form, "at-form-start")[0].click()
    assert "starting" in find(form, "at-form-started")[0].value
    go.set()
    assert form._wait_idle(20)
    assert "no engine" in find(form, "at-form-started")[0].value


def test_text_is_escaped() -> None:
    form = TaskForm("quickstart")
    field(form, "rules-0").value = "<img src=x onerror=alert(1)> > 1"
    field(form, "objective-figure").value = "<script>"
    find(form, "at-param-name")[0].value = "<u>"
    press(form, "at-param-add")
    press(form, "at-form-start")
    assert form._wait_idle(20)

    def walk(widget: Any) -> Any:
        if isinstance(widget, ipywidgets.HTML):
            yield widget.value
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    message = "".join(value for value in walk(form.box) if "<style>" not in value)
    assert "&lt;script&gt;" in message and "&lt;u&gt;" in message
    # Tags that the form itself does not use, as it does <b> for the facts of a task that was valid.
    assert not re.search("<(img|script|u)[ >]", message)
    assert "<script" not in form._repr_mimebundle_()["text/html"]


def test_headless_it_is_the_task_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    form = TaskForm("quickstart")
    bundle = form._repr_mimebundle_()
    assert bundle.keys() == {"text/plain", "text/html"}
    assert "name: quickstart" in bundle["text/html"]
    monkeypatch.setattr("autotune_nb.widgets.form.has_front_end", lambda: True)
    bundle = form._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == form.box.model_id
    assert bundle["text/plain"].startswith("<TaskForm 'quickstart'>")
    assert "text/html" not in bundle


def test_the_widgets_of_the_previous_task_are_closed_when_another_is_loaded() -> None:
    form = TaskForm("quickstart")
    before = len(ipywidgets.widgets.widget._instances)
    for _ in range(3):
        form.load("quickstart")
    assert form._wait_idle(20)
    assert len(ipywidgets.widgets.widget._instances) <= before + 20


def test_it_is_exported() -> None:
    assert at.TaskForm is TaskForm


_TYPED = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.sampled_from(
        ["", "0", "-1", "1e400", "nan", "null", "[]", "{}", "[[[", "a: b", "1, 1", "best", "D(1,1)", "x < 1"]
    ),
)


@given(data=st.data())
def test_any_input_is_a_task_or_an_error(data: st.DataObject) -> None:
    form = TaskForm("quickstart")
    fields = [one for one in form._fields.all_fields if hasattr(one.widget, "continuous_update")]
    for _ in range(data.draw(st.integers(1, 3))):
        data.draw(st.sampled_from(fields)).widget.value = data.draw(_TYPED)
    problems = form.problems
    assert all("\n" not in str(error) for error in problems)
    try:
        task = form.task
    except TaskError as error:
        assert problems
        assert str(problems[0]).split(" (also")[0] == str(error).split(" (also")[0]
        assert form._wait_idle(20)
        assert re.search(r"\d errors?: ", find(form, "at-form-estimate")[0].value)
    else:
        assert problems == []
        assert TaskForm(task).task == task


def test_the_stylesheet_has_no_line_break_within_a_string() -> None:
    from autotune_nb.widgets._form_style import FORM_CSS

    # A browser drops the rest of a stylesheet after one.
    assert all(line.count('"') % 2 == 0 for line in FORM_CSS.splitlines())
