"""The report: the answer first, and every edit with its time."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from autotune_nb.measurement import Level, Measurement
from autotune_nb.report import Report
from autotune_nb.score import Objective, Score
from autotune_nb.steering import Edit, EditKind, ban_edit, enqueue_edit, pin_edit
from autotune_nb.trial import Trial, TrialState

GOAL = Objective("output_tokens_per_s", "maximize")
FIGURES = {"output_tokens_per_s": 50.0, "e2e_latency_mean_s": 0.5}


def trial(number: int, value: float) -> Trial:
    measured = Measurement(Level("D(1,2)"), 1.0, 9, 9, 0, {**FIGURES, "output_tokens_per_s": value})
    score = Score({"output_tokens_per_s": value}, {}, Level("D(1,2)"))
    return Trial(number, {"threads": number, "name": "<b>x</b>"}, TrialState.COMPLETE, (measured,), score)


TRIALS = (trial(0, 10.0), trial(1, 30.0))
AT = datetime(2026, 3, 4, 5, 6, 7).astimezone().timestamp()
EDITS: tuple[Edit, ...] = (
    replace(ban_edit("threads", 3), at=AT),
    replace(enqueue_edit({"threads": 1, "name": "<script>alert(1)</script>"}), at=AT + 60),
    replace(pin_edit("threads", 2), at=AT + 3600),
    Edit(EditKind.BUDGET, budget={"trials": None}, at=AT + 7200),
)


def test_every_edit_stands_with_its_time_in_the_text_and_on_the_page() -> None:
    report = Report(TRIALS, TRIALS[1], GOAL, "server --threads 1", EDITS)
    steered = [line for line in report.text().splitlines() if line.startswith("steered ")]
    assert steered == [
        "steered 2026-03-04 05:06:07: ban threads = 3",
        "steered 2026-03-04 05:07:07: try next threads=1 name=<script>alert(1)</script>",
        "steered 2026-03-04 06:06:07: pin threads to 2",
        "steered 2026-03-04 07:06:07: budget: trials no limit",
    ]
    page = report.to_html()
    items = re.findall(r"<li>(.*?)</li>", page)
    assert len(items) == 4
    assert items[0] == "2026-03-04 05:06:07: ban threads = 3"
    assert "&lt;script&gt;" in items[1]
    assert "<script" not in page


def test_without_edits_nothing_is_said_of_them() -> None:
    report = Report(TRIALS, TRIALS[1], GOAL, "server --threads 1")
    assert "teered" not in report.text()
    assert "<ul>" not in report.to_html()


def test_the_answer_comes_first_and_the_command_can_be_pasted() -> None:
    report = Report(TRIALS, TRIALS[1], GOAL, "server --name 'a & b' <x>", EDITS)
    text = report.text()
    assert text.splitlines()[0] == report.verdict
    assert report.verdict.startswith("Best is trial 1 with 30 tokens/s")
    assert text.splitlines()[-1] == "server --name 'a & b' <x>"
    page = report.to_html()
    assert page.index("Best is trial 1") < page.index("&lt;x&gt;") < page.index("<img ") < page.index("<table")
    assert "<b>x</b>" not in page
    assert report._repr_mimebundle_() == {"text/html": page, "text/plain": text}


def test_a_study_without_a_trial_has_a_report_too() -> None:
    report = Report((), None, GOAL, None, EDITS[:1])
    assert report.text().splitlines() == ["No trial completed.", "steered 2026-03-04 05:06:07: ban threads = 3"]
    assert "<img " not in report.to_html()
    assert "No trial completed" in report.to_html()


def test_a_long_study_is_shown_in_part() -> None:
    many = tuple(trial(n, float(n + 1)) for n in range(300))
    page = Report(many, many[-1], GOAL, None).to_html()
    assert page.count("<tr") < 210
