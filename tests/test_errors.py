"""Errors: their messages, and failures converted to JSON and back."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

from autotune_nb import errors
from autotune_nb.errors import (
    AutotuneError,
    DeployError,
    Failure,
    FailureKind,
    SetupError,
    TaskError,
    TrialError,
    UnknownNameError,
    did_you_mean,
)


def test_every_error_of_the_drawn_tree_is_one_of_ours_and_stands_where_it_is_drawn() -> None:
    drawn = re.findall(r"^    ([│├└─ ]*)(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    assert len(drawn) == 14
    parents: list[type[Exception]] = [AutotuneError]
    for branch, name in drawn:
        depth = len(branch) // 4
        error = getattr(errors, name)
        assert issubclass(error, parents[min(depth, len(parents) - 1)])
        parents[depth + 1 :] = [error]
        parents = [*parents[: depth + 1], error]
    defined = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, Exception)}
    assert defined == {name for _, name in drawn} | {"AutotuneError"}


@pytest.mark.parametrize("error", [TaskError, SetupError])
def test_an_error_of_a_field_names_it_first(error: type[TaskError | SetupError]) -> None:
    assert str(error("is wrong", field="parameters.batch.high")) == "parameters.batch.high: is wrong"
    assert str(error("is wrong")) == "is wrong"
    assert error("is wrong", field="model").field == "model"


def test_an_unknown_name_offers_the_nearest_known_one_and_the_hint() -> None:
    error = UnknownNameError("engine", "vlm", ("vllm", "sglang"), field="engine.kind", hint="see the list")
    assert str(error) == "engine.kind: unknown engine 'vlm'; did you mean 'vllm'?; see the list"
    assert isinstance(error, TaskError)
    assert error.name == "vlm"


def test_a_name_near_nothing_gets_the_whole_list_only_while_it_is_short() -> None:
    assert did_you_mean("zzz", ["b", "a"]) == "; known are a, b"
    assert did_you_mean("zzz", [f"name{i}" for i in range(21)]) == ""
    assert did_you_mean("zzz", []) == ""


@pytest.mark.parametrize("kind", FailureKind)
def test_a_failure_survives_being_kept(kind: FailureKind) -> None:
    failure = Failure(kind, "deploy", "it died", ("line 1", "line 2"), "less memory")
    assert Failure.from_dict(failure.to_dict()) == failure


def test_a_trial_error_shows_the_telling_lines_and_what_to_try() -> None:
    error = DeployError(Failure(FailureKind.OUT_OF_MEMORY, "deploy", "it died", ("CUDA OOM",), "a smaller batch"))
    assert str(error).splitlines() == [
        "out of memory in deploy: it died",
        "  | CUDA OOM",
        "  try: a smaller batch",
    ]
    assert isinstance(error, TrialError)
    assert error.failure.kind is FailureKind.OUT_OF_MEMORY


def test_an_error_of_a_task_is_one_line_whatever_names_it_quotes() -> None:
    error = TaskError("known are a\r\nb", field="parameters.a\nb")
    assert str(error) == "parameters.a\\nb: known are a\\r\\nb"
    assert error.field == "parameters.a\nb"


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    shell = InteractiveShell()
    shell.colors = "nocolor"
    shell.run_cell("import autotune_nb as at")
    yield shell
    shell.history_manager.end_session()


def test_in_ipython_an_error_is_its_message_and_the_line_of_the_cell(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    shell.run_cell("name = 'nothing'\nat.Task.load(name)")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("TaskError: there is no task file 'nothing'")
    assert lines[1:] == ["  in line 2: at.Task.load(name)", "  (%tb Plain shows the traceback)"]
    shell.run_cell("%tb Plain")
    assert "in load_task" in capsys.readouterr().out


def test_elsewhere_an_error_has_the_usual_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    with pytest.raises(TaskError) as caught:
        raise TaskError("x", field="name")
    assert "Traceback (most recent call last)" in "".join(caught.value._render_traceback_())
