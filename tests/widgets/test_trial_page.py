"""The page of the selected trials: what it shows, and what its buttons and fields do."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.runner.runner import RunState
from autotune_nb.study.steering import Edit, enqueue_edit
from autotune_nb.task.external_results import IMPORTED_COMMAND, NO_ENGINE
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets._selection import Selection
from autotune_nb.widgets._trial_page import TrialPage
from tests.conftest import MINIMAL
from tests.widgets.stub_handle import LIMIT, NASTY, StubHandle, complete

PARAMETERS: dict[str, Any] = {"threads": [1, 2, 4], "batch_size": {"type": "int", "low": 32, "high": 512}}
FAILED = Trial(
    2,
    {"threads": 4, "batch_size": 64},
    TrialState.FAILED,
    failure=Failure(FailureKind.OUT_OF_MEMORY, "deploy", "it died", ("CUDA out of memory", NASTY), "use less"),
)
TRIALS = (
    complete(0, 10.0, threads=1, batch_size=64).with_(params={}, baseline=True),
    complete(1, 20.0, threads=2, batch_size=64).with_(reason="a guess", command=("server", "--threads", "2")),
    FAILED,
    complete(3, 15.0, threads=2, batch_size=128),
)


@pytest.fixture
def handle(tmp_path: Path) -> StubHandle:
    engine = {"kind": "command", "command": "server {port}"}
    task = Task.parse({**MINIMAL, "engine": engine, "model": "m", "parameters": PARAMETERS, "limits": [LIMIT]})
    return StubHandle(task, tmp_path, history=TRIALS)


@pytest.fixture
def page(handle: StubHandle) -> TrialPage:
    selection = Selection()
    made = TrialPage(selection, lambda: handle, lambda: None)
    selection.observe(lambda _change: made.update(handle, handle.history), "trials")
    return made


def select(page: TrialPage, *trials: int) -> str:
    page._selection.trials = trials
    return str(page.page.value)


def test_a_trial_shows_its_difference_levels_phases_and_why_it_was_chosen(page: TrialPage) -> None:
    text = select(page, 3)
    for shown in (
        "Trial 3: complete",
        "<mark>64</mark>",
        "best (trial 1)",
        "D(16,8) at concurrency 2 (its score)",
        "15 tokens/s",
        "deploy 1 s, benchmark 9 s",
        "by the strategy",
    ):
        assert shown in text
    best = select(page, 1)
    assert "Trial 1: best, complete" in best
    assert "why it was chosen: a guess" in best
    assert "server --threads 2" in best


def test_a_failure_has_its_log_lines_and_nothing_of_it_is_markup(page: TrialPage) -> None:
    text = select(page, 2)
    assert "CUDA out of memory" in text
    assert "try: use less" in text
    assert "<img src=x" not in text


def test_several_are_side_by_side_with_what_differs_marked(page: TrialPage) -> None:
    text = select(page, 1, 2, 3)
    assert "3 trials side by side" in text
    # Two of three have 2 threads: the third one is marked.
    assert "<mark>4</mark>" in text
    assert "<mark>2</mark>" not in text
    assert "<mark>128</mark>" in text
    assert "✓ kept" in text
    assert page.actions.layout.display == "none"
    # There is no trial 7.
    assert "4 trials side by side" in select(page, *range(4), 7)
    # Levels may scroll sideways: the keyboard reaches them, and no head is empty.
    page_of_one = select(page, 1)
    assert 'tabindex="0" role="group" aria-label="levels"' in page_of_one
    assert "<th></th>" not in page_of_one


def test_of_trials_side_by_side_each_figure_has_its_difference_to_the_first(page: TrialPage) -> None:
    text = select(page, 1, 3)
    assert '15 tokens/s<span class="at-dim">-25 %, worse</span>' in text
    assert "% are differences to trial 1, of one start each" in text
    # Equal figures have none.
    assert text.count(" %, ") == 1
    assert "+33.3 %, better" in select(page, 3, 1)
    # The one that failed has no figures.
    assert " %, " not in select(page, 2, 1)
    assert "% are" not in page.page.value


def test_what_imported_results_cannot_continue_is_off_and_says_why(page: TrialPage, handle: StubHandle) -> None:
    select(page, 1)
    buttons = (page.again, page.near, page.edited, page.try_next.button)
    assert not any(button.disabled or button.tooltip == NO_ENGINE for button in buttons)
    engine = {"kind": "command", "command": IMPORTED_COMMAND}
    handle.task = Task.parse({**handle.task.model_dump(), "engine": engine})
    page.update(handle, handle.history)
    assert all(button.disabled and button.tooltip == NO_ENGINE for button in buttons)
    # A note is stored all the same.
    assert page.notes.layout.display != "none"


def test_what_did_not_change_is_not_sent_again(page: TrialPage, handle: StubHandle) -> None:
    select(page, 1)
    assert page.update(handle, handle.history) == 0


def test_run_again_and_a_neighbour_are_enqueued(page: TrialPage, handle: StubHandle) -> None:
    select(page, 1)
    page.again.click()
    assert handle.queue == [TRIALS[1].params]
    page.near.click()
    assert page.try_next.editor in page.try_next.box.children
    assert "changed: threads 2 → 4" not in page.try_next.preview.value, "it was tried, as trial 2"
    page.try_next._fields["batch_size"].value = "99"
    assert "batch_size 64 → 99" in page.try_next.preview.value
    page.try_next.enqueue.click()
    assert handle.queue[-1]["batch_size"] == 99
    assert page.try_next.editor not in page.try_next.box.children
    assert "try next" in page.message.value


@pytest.mark.parametrize(
    ("state", "trials", "told"),
    [
        (RunState.RUNNING, 9, "applies from the next trial on"),
        (RunState.STOPPED, 9, "applies once the study is continued with Start"),
        ("interrupted", 9, "applies once the study is continued with Start"),
        (RunState.FINISHED, 4, "applies once the budget is raised and the study is continued with Start"),
    ],
)
def test_run_again_says_when_it_is_tried(
    page: TrialPage, handle: StubHandle, state: str, trials: int, told: str
) -> None:
    handle.set_budget(trials=trials)
    handle.state = state
    select(page, 1)
    page.again.click()
    assert page.message.value.endswith(f": {told}</span>")


def test_stop_is_offered_for_a_running_trial_wherever_it_runs(
    page: TrialPage, handle: StubHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle.history = (*TRIALS, Trial(4, {"threads": 4, "batch_size": 32}))
    select(page, 4)
    assert page.stop.layout.display == "none", "no process works on it"
    monkeypatch.setattr(StubHandle, "elsewhere", "pid 1 on moon", raising=False)
    page.update(handle, handle.history)
    assert page.stop.layout.display == ""
    select(page, 3)
    assert page.stop.layout.display == "none"


def test_an_empty_field_is_filled_up_from_the_best_and_shown_before(page: TrialPage, handle: StubHandle) -> None:
    select(page, 3)
    page.edited.click()
    page.try_next._fields["batch_size"].value = ""
    assert "will try: threads=2 batch_size=64" in page.try_next.preview.value
    assert "from the best: batch_size" in page.try_next.preview.value
    page.try_next._fields["batch_size"].value = "9999"
    assert "batch_size" in page.try_next.preview.value
    assert page.try_next.enqueue.disabled
    assert handle.queue == []


@pytest.mark.parametrize("text", ["", "1.0", "3", "1, 2", "[", "&a [*a]", ".nan", "9" * 5000, "\x00", "<b>"])
def test_an_invalid_value_is_shown_and_not_enqueued(page: TrialPage, handle: StubHandle, text: str) -> None:
    handle.history = TRIALS[:1]
    page.try_next.button.click()
    page.try_next._fields["batch_size"].value = "64"
    page.try_next._fields["threads"].value = text
    assert "at-error" in page.try_next.preview.value
    assert "<b>" not in page.try_next.preview.value
    page.try_next.enqueue.click()
    assert handle.queue == []
    assert "threads" in page.message.value


def test_a_configuration_is_tried_without_a_row_from_the_best_or_from_nothing(
    page: TrialPage, handle: StubHandle
) -> None:
    trying = page.try_next
    trying.button.click()
    assert "The best configuration, that of trial 1, edited" in trying.heading.value
    trying._fields["threads"].value = "1"
    assert "changed: threads 2 → 1" in trying.preview.value
    trying.enqueue.click()
    assert handle.queue == [{"threads": 1, "batch_size": 64}]
    # Only the engine's default has ended: there is nothing to start from.
    handle.history = TRIALS[:1]
    trying.button.click()
    assert [field.value for field in trying._fields.values()] == ["", ""]
    assert "give threads, batch_size too: there is no best configuration yet" in trying.preview.value
    trying._fields["threads"].value, trying._fields["batch_size"].value = "4", "32"
    trying.enqueue.click()
    assert handle.queue[1:] == [{"threads": 4, "batch_size": 32}]


def test_the_queue_is_ordered_and_removed(page: TrialPage, handle: StubHandle) -> None:
    for size in (100, 200, 300):
        handle.steer(enqueue_edit({"threads": 1, "batch_size": size}))
    page.update(handle, handle.history)
    second = page.try_next.queue.children[2]
    second.children[0].click()
    assert [point["batch_size"] for point in handle.queue] == [200, 100, 300]
    # It was moved meanwhile; the button is of the configuration, not of the position.
    second.children[2].click()
    assert [point["batch_size"] for point in handle.queue] == [100, 300]
    second.children[2].click()
    assert "is not in the queue any more" in page.message.value
    assert page.update(handle, handle.history) > 0
    assert "Enqueued: 2" in page.try_next.queue.children[0].value


def test_a_note_and_tags_are_stored_and_those_of_another_trial_shown(page: TrialPage, handle: StubHandle) -> None:
    select(page, 1)
    page.note.value = "fast"
    page.tags.value = "prod, eu"
    assert (handle.trial(1).note, handle.trial(1).tags) == ("fast", ("prod", "eu"))
    select(page, 3)
    assert (page.note.value, page.tags.value) == ("", "")
    assert set(handle.steering.notes) == {1}
    select(page, 1)
    assert page.tags.value == "prod, eu"


def test_a_redraw_keeps_a_note_that_is_being_stored_and_one_that_could_not_be(
    page: TrialPage, handle: StubHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    store = handle._steer

    def slowly(edit: Edit) -> None:
        page.update(handle, handle.history)
        shown.append(page.note.value)
        store(edit)

    monkeypatch.setattr(handle, "_steer", slowly)
    select(page, 1)
    page.note.value = "typed"
    assert shown == ["typed"]
    page.update(handle, handle.history)
    monkeypatch.setattr(handle, "_steer", lambda _edit: 1 / 0)
    page.note.value = "typed more"
    page.update(handle, handle.history)
    assert page.note.value == "typed more" and "ZeroDivisionError" in page.message.value
    monkeypatch.undo()
    # What another process, or optuna-dashboard, wrote.
    handle.trial(1).note = "theirs"
    page.update(handle, handle.history)
    assert page.note.value == "theirs"


def test_a_note_that_comes_while_a_redraw_sets_fields_is_stored(page: TrialPage, handle: StubHandle) -> None:
    select(page, 1)

    def typed(_change: Any) -> None:
        sender = threading.Thread(target=lambda: setattr(page.note, "value", "typed"))
        sender.start()
        sender.join()

    page.again.observe(typed, "disabled")
    select(page, 0)
    assert handle.trial(1).note == "typed"


def test_the_default_cannot_be_enqueued_and_nothing_is_selected_at_first(page: TrialPage, handle: StubHandle) -> None:
    page.update(handle, handle.history)
    assert "Select a trial" in page.page.value
    select(page, 0)
    assert page.again.disabled
    page.again.click()
    assert "cannot be enqueued" in page.message.value
