"""The monitor's texts: counts, figures and edits, and that all values are escaped."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.errors import Failure, FailureKind, StudyError
from autotune_nb.study.steering import ban_edit, enqueue_edit
from autotune_nb.task.task import Task
from autotune_nb.trial.formatting import duration_text
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets import _panels, _style
from autotune_nb.widgets._header_text import header_html
from autotune_nb.widgets._running_text import Latest, running_html
from autotune_nb.widgets._style import ICONS, stylesheet
from autotune_nb.widgets._trial_html import compare_html, page_html
from tests.widgets.stub_handle import LIMIT, NASTY, StubHandle, complete, working

MINIMIZE = "minimize ttft_p99_s"
NOON = datetime(2030, 1, 1, 12).timestamp()


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(limits=[LIMIT])


class _Read(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> _Read:
    found = _Read()
    found.feed(text)
    return found


def failure(**changes: Any) -> Trial:
    why = Failure(FailureKind.CRASH, "deploy", **{"message": "it ended", **changes})
    return Trial(7, {"threads": 2}, TrialState.FAILED, failure=why)


def every_panel(task: Task, tmp_path: Path) -> dict[str, str]:
    """Return each text with ``NASTY`` for every value that comes from outside."""
    trials = (complete(1, 50.0, flag=NASTY), failure(message=NASTY, log_lines=(NASTY,), hint=NASTY))
    running = working(complete(2, 5.0, flag=NASTY).with_(state=TrialState.RUNNING), phase=NASTY)
    error = StudyError(NASTY)
    error.__cause__ = OSError(NASTY)
    handle = StubHandle(task, tmp_path / "<b>", history=trials, state=NASTY)
    shown = StubHandle(task, tmp_path / "<b>", running=[running])
    edits = [enqueue_edit({"flag": NASTY}), ban_edit("flag", NASTY)]
    return {
        "header": header_html(handle),
        "error": _panels.error_html(error),
        "message": _panels.message_html(NASTY),
        "running": running_html(shown, {2: Latest(NASTY)}),
        "skipped": _panels.skipped_html([NASTY, NASTY]),
        "notices": _panels.notices_html([(NOON, NASTY)]),
        "trial": page_html(handle, trials, trials[0].with_(reason=NASTY), None, ""),
        "failed": page_html(handle, trials, trials[1], None, ""),
        "compared": compare_html(handle, trials, None),
        "edits": _panels.edits_html(edits, handle.steering),
    }


def test_all_values_are_escaped(task: Task, tmp_path: Path) -> None:
    for name, text in every_panel(task, tmp_path).items():
        found = read(text)
        assert not {"img", "script"} & found.tags, name
        assert "onerror" not in found.attributes, name
        assert "<img src=x onerror=alert(1)> &amp; \"'" in found.text, name
        assert "שלום 🎉" in found.text, name
        assert "\\u202eleft" in found.text, name
        assert not re.search("[\x00\x1b\u202e]", text), name
        # It can be sent as UTF-8.
        assert text.encode(), name


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (89.4, "89 s"), (120, "2 min"), (3 * 3600 + 300, "3 h 5 min")]
    + [(value, "over a year") for value in (1e12, 1e308, float("inf"), float("nan"))],
)
def test_a_duration_is_short(seconds: float, expected: str) -> None:
    assert duration_text(seconds) == expected


@pytest.mark.parametrize("at", [1e20, -1e20, float("inf"), float("nan")])
def test_a_time_out_of_range_is_a_question_mark(at: float) -> None:
    assert _panels.clock(at) == "?"


def test_an_error_is_shown_with_its_cause_and_a_message_without(task: Task) -> None:
    assert _panels.error_html(None) == _panels.message_html(None) == ""
    error = StudyError("the disk is full")
    error.__cause__ = OSError("no space")
    text = read(_panels.error_html(error)).text
    assert text == "The run ended with an error.the disk is fullcaused by OSError: no space"
    assert read(_panels.error_html(ValueError())).text.endswith("ValueError")
    assert read(_panels.message_html("busy")).text == "busy"


def test_only_the_latest_notices_are_shown() -> None:
    text = read(_panels.notices_html([(NOON, f"notice {n};") for n in range(30)])).text
    assert re.findall(r"notice \d+;", text) == [f"notice {n};" for n in range(24, 30)]
    assert _panels.notices_html([]) == ""


def test_edits_are_listed_with_the_restrictions_in_force(task: Task, tmp_path: Path) -> None:
    handle = StubHandle(task, tmp_path)
    assert "No edits yet" in _panels.edits_html((), handle.steering)
    handle.pin("threads", 2)
    handle.narrow("batch_size", 64)
    text = read(_panels.edits_html(handle.edits, handle.steering)).text
    for part in ("pin threads to 2", "narrow batch_size", "In force: threads pinned to 2;"):
        assert part in text


def test_every_icon_of_a_button_is_silent_for_screen_readers() -> None:
    sources = Path(_style.__file__).parent.glob("*.py")
    given = re.compile(r'icon="([a-z-]+)"|_button\(\s*"[^"]+", "([a-z-]+)", ["f]')
    used = {icon or other for file in sources for icon, other in given.findall(file.read_text(encoding="utf-8"))}
    assert {"random", "pause", "plus"} <= used
    assert used <= set(ICONS)
    assert '.fa-plus::before { content: "\\f067" / ""; }' in stylesheet().value
