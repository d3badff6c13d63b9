"""The report of a study: the verdict first, and every edit with its time."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

import autotune_nb as at
from autotune_nb.errors import Failure, FailureKind
from autotune_nb.reports.drawing import Chart
from autotune_nb.reports.study_report import Report
from autotune_nb.study.steering import Edit, EditKind, ban_edit, enqueue_edit, free_edit, narrow_edit, pin_edit
from autotune_nb.task.budget import Confirm
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Limit, Objective, Score
from autotune_nb.trial.trial import Trial, TrialState
from tests.benchmarks.samples import IMAGE_ID, Samples, sample_task

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


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let charts be empty pictures: drawing two of them takes longer than all else of a report; see test_charts.py."""
    monkeypatch.setattr(Chart, "svg", lambda _: "<svg/>")


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
    places = ("Best is trial 1", "&lt;x&gt;", "<table", "<img ", "<h3>Configurations")
    assert sorted(places, key=page.index) == list(places)
    assert "<b>x</b>" not in page
    bundle = report._repr_mimebundle_()
    assert bundle["text/html"] == page
    assert bundle["text/plain"] == report.verdict
    assert bundle["application/vnd.plotly.v1+json"]["data"]


def test_a_study_without_a_trial_has_a_report_too() -> None:
    report = Report((), None, GOAL, None, EDITS[:1])
    assert report.text().splitlines() == ["No trial completed.", "steered 2026-03-04 05:06:07: ban threads = 3"]
    assert "<img " not in report.to_html()
    assert "No trial completed" in report.to_html()


def test_a_long_study_is_shown_in_part() -> None:
    many = tuple(trial(n, float(n + 1)) for n in range(300))
    page = Report(many, many[-1], GOAL, None).to_html()
    assert page.partition("<h3>Configurations</h3>")[2].count("<tr") < 210
    # The best of them.
    assert ">299</td>" in page
    assert ">99</td>" not in page
    assert "The best 200 of 300 configurations" in page


SPREADS = {
    "ttft_mean_s": 0.2,
    "ttft_stddev_s": 0.05,
    "ttft_p95_s": 0.8,
    "ttft_p99_s": 1.25,
    "ttft_max_s": 1.5,
    "request_output_tokens_per_s_mean": 6.5,
    "request_output_tokens_per_s_stddev": 0.5,
    "request_output_tokens_per_s_p99": 8.0,
}


def measured(number: int, value: float, *, baseline: bool = False, violation: float = 0.0) -> Trial:
    level = Level("D(1,2)", 4)
    figures = {**FIGURES, **SPREADS, "output_tokens_per_s": value}
    score = Score({"output_tokens_per_s": value}, {"ttft_p99_s <= 1.25": violation}, level)
    params = {} if baseline else {"threads": number}
    seen = Measurement(level, 1.0, 9, 9, 0, figures)
    print_ = {"engine": "llama_cpp", "gpus": [], "packages": {"genai-bench": "0.0.5"}, "seed": 7}
    return Trial(number, params, TrialState.COMPLETE, (seen,), score, baseline=baseline, fingerprint=print_)


def cells(page: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in rows]


def test_the_best_stands_beside_the_default_with_the_spread_of_each_figure() -> None:
    trials = (measured(0, 10.0, baseline=True), measured(1, 15.0))
    goal = replace(GOAL, limits=(Limit.parse("ttft_p99_s <= 1.25"), Limit.parse("ttft_mean_s <= 1")))
    page = Report(trials, trials[1], goal, None).to_html()
    told = cells(page)
    where = "D(1,2) at concurrency 4<br>measured once"
    assert told[0] == ["figure", f"engine&#39;s default<br>{where}", f"trial 1<br>{where}", "trial 1 has"]
    # One number for the whole level: no spread is made up for it.
    rate = "output tokens per second, all requests<br><code>output_tokens_per_s</code>"
    assert told[1] == [rate, "10 tokens/s", "15 tokens/s", "1.50 times the throughput: better, measured once"]
    same = "the same, measured once"
    first = "time to first token, p99<br><code>ttft_p99_s</code><br>limit: <code>ttft_p99_s &lt;= 1.25</code>"
    assert told[2] == [first, *["1.25 s (p95 800 ms, max 1.5 s)"] * 2, same]
    # Times are skewed: a standard deviation could exceed the mean.
    first = "time to first token, mean<br><code>ttft_mean_s</code><br>limit: <code>ttft_mean_s &lt;= 1</code>"
    assert [first, *["200 ms (p99 1.25 s)"] * 2, same] in told
    assert page.index("output_tokens_per_s</code>") < page.index("<img ")


def test_a_ratio_says_what_it_is_of_and_whether_it_is_better() -> None:
    def change(figure: str, before: list[float], after: list[float]) -> str:
        def start(number: int, value: float, baseline: bool) -> Trial:
            one = measured(number, 10.0, baseline=baseline).with_(number=number)
            figures = {**one.measurements[0].figures, figure: value}
            own = {"params": {}} if baseline else {"params": {"threads": 1}}
            return one.with_(measurements=(replace(one.measurements[0], figures=figures),), **own)

        trials = [start(i, v, True) for i, v in enumerate(before)]
        trials += [start(len(before) + i, v, False) for i, v in enumerate(after)]
        page = Report(tuple(trials), trials[-1], GOAL, None).to_html()
        return next(row[-1] for row in cells(page) if row[0].endswith(f"<code>{figure}</code>"))

    assert change("e2e_latency_mean_s", [1.0], [0.7]) == "0.70 times the latency: better, measured once"
    assert change("e2e_latency_mean_s", [1.0, 1.1], [2.0, 2.2]) == "2.00 times the latency: worse"
    assert change("requests_per_s", [1.0, 1.4], [1.3, 1.7]) == "1.26 times the throughput: no clear difference"
    assert change("usd_per_million_output_tokens", [0.0], [2.0]) == "from 0"
    # A small ratio is not 0.00.
    assert change("ttft_mean_s", [30.0], [0.1]) == "0.0033 times the latency: better, measured once"
    assert change("requests_per_s", [1.0], [250.0]) == "250 times the throughput: better, measured once"


def test_a_configuration_that_was_measured_twice_is_compared_by_its_mean() -> None:
    again = measured(1, 14.5).with_(number=2)
    trials = (measured(0, 10.0, baseline=True), measured(1, 15.0), again)
    told = cells(Report(trials, trials[1], GOAL, None).to_html())
    assert told[0][2].endswith("<br>mean of 2 starts")
    assert told[1][1:3] == ["10 tokens/s", "14.75 tokens/s (14.5 to 15)"]


@pytest.mark.parametrize("best", [None, 0, 1])
def test_one_stands_alone_where_there_is_nothing_to_compare_it_with(best: int | None) -> None:
    """No trial keeps the limits; the default is the best; the default was not measured."""
    trials = (measured(0, 10.0, baseline=best != 1, violation=0.1 if best is None else 0), measured(1, 15.0))
    chosen = None if best is None else trials[best]
    told = cells(Report(trials, chosen, GOAL, None).to_html())
    whose = "trial 1" if best == 1 else "engine&#39;s default"
    assert told[0] == ["figure", f"{whose}<br>D(1,2) at concurrency 4<br>measured once"]
    assert told[1][1:] == [f"{15 if best == 1 else 10} tokens/s"]


def test_failures_stand_once_with_their_trials_log_and_what_to_try() -> None:
    failure = Failure(FailureKind.OUT_OF_MEMORY, "deploy", "it ended <here>", ("CUDA & OOM",), "a smaller batch")
    failed = tuple(Trial(n, {"threads": n}, TrialState.FAILED, failure=failure) for n in range(2, 14))
    page = Report((*TRIALS, *failed), TRIALS[1], GOAL, None).to_html()
    assert page.count("it ended &lt;here&gt;") == 1
    assert "trials 2, 3, 4, 5, 6, 7, 8, 9 and 4 more: <strong>out of memory</strong> at start" in page
    assert "CUDA &amp; OOM" in page
    assert "Try: a smaller batch" in page


def test_each_parameter_has_what_it_did() -> None:
    wide = {n: trial(n, 10.0 * n).with_(params={"threads": n, "mode": "ab"[n % 2], "same": 1}) for n in range(1, 10)}
    failure = Failure(FailureKind.CRASH, "deploy", "it crashed")
    wide[9] = wide[9].with_(state=TrialState.FAILED, score=None, failure=failure)
    broken = Score({"output_tokens_per_s": 20.0}, {"ttft_p99_s <= 1": 0.5}, Level("D(1,2)"))
    wide[2] = wide[2].with_(score=broken)
    page = Report(tuple(wide.values()), wide[8], GOAL, None, importances={"mode": 0.25, "threads": 0.75}).to_html()
    rows = table_of(page, "What each parameter did")
    # The most important first; a parameter with one value did nothing.
    assert [row[:3] for row in rows[1:]] == [["threads", "75 %", "8"], ["mode", "25 %", "a"]]
    assert rows[1][3].split("<br>") == [
        "1 to 3: 20 tokens/s (3 trials, 1 broke a limit)",
        "4 to 6: 50 tokens/s (3 trials)",
        "7 to 9: 75 tokens/s (3 trials, 1 failed)",
    ]
    assert rows[2][3].split("<br>")[0] == "b: 40 tokens/s (5 trials, 1 failed)"


def test_the_level_of_the_table_is_named_once_if_there_is_one() -> None:
    page = Report(TRIALS, TRIALS[1], GOAL, None).to_html()
    assert "One row per configuration, with the means of its starts under D(1,2) at concurrency 1." in page
    assert [row[0] for row in table_of(page, "Configurations")] == ["trial", "1", "0"]
    assert "at" not in table_of(page, "Configurations")[0]
    other = TRIALS[1].with_(number=2, params={"threads": 7}, score=Score({"output_tokens_per_s": 3.0}, {}, Level("x")))
    page = Report((*TRIALS, other), TRIALS[1], GOAL, None).to_html()
    assert "at the level of its score (<i>at</i>)" in page
    assert "at" in table_of(page, "Configurations")[0]


def test_notes_and_tags_are_in_the_table() -> None:
    page = Report(TRIALS, TRIALS[1], GOAL, None, notes={1: "as <fast>"}, tags={1: ["production"]}).to_html()
    rows = table_of(page, "Configurations")
    assert {"tags", "note"} <= set(rows[0])
    assert {"production", "as &lt;fast&gt;"} <= set(rows[1])


def test_all_failed_is_an_answer_too() -> None:
    failure = Failure(FailureKind.CRASH, "deploy", "it crashed")
    report = Report((Trial(0, {}, TrialState.FAILED, failure=failure),), None, GOAL, None)
    assert report._repr_mimebundle_()["text/plain"] == "No trial completed. Trial 0: crash in deploy: it crashed."
    assert "it crashed" in report.to_html()
    assert report.charts() == ()


def table_of(page: str, heading: str) -> list[list[str]]:
    """The cells of the only table below a heading, row by row."""
    part = page.partition(f"<h3>{heading}</h3>")[2].partition("<h3>")[0]
    assert part.count("<table") == 1
    return [
        re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", part, re.DOTALL)
    ]


def test_it_says_what_it_ran_on_once_and_whatever_differs_with_its_trials() -> None:
    trials = (measured(0, 10.0, baseline=True), measured(1, 15.0))
    rows = dict(table_of(Report(trials, trials[1], GOAL, None).to_html(), "Environment"))
    assert rows == {
        "engine": "llama_cpp",
        # That there was none is an answer.
        "gpus": "no GPU (nvidia-smi lists none)",
        "packages.genai-bench": "0.0.5",
        "seed": "7",
    }
    other = trials[1].with_(number=2, fingerprint={"engine": "vllm", "image": "sha256:ab", "gpus": ["H100"]})
    rows = dict(table_of(Report((*trials, other), trials[1], GOAL, None).to_html(), "Environment"))
    assert rows["engine"] == "llama_cpp (trials 0, 1)<br>vllm (trial 2)"
    assert rows["image"] == "sha256:ab (trial 2)"
    assert rows["gpus"] == "no GPU (nvidia-smi lists none) (trials 0, 1)<br>H100 (trial 2)"
    unknown = trials[1].with_(fingerprint={"engine": "vllm"})
    assert ["gpus", "unknown"] in table_of(Report((unknown,), unknown, GOAL, None).to_html(), "Environment")


def test_the_starts_that_found_their_kernels_compiled_are_counted() -> None:
    warm = tuple(one.with_(fingerprint={**one.fingerprint, "start_caches": "warm"}) for one in TRIALS)
    page = Report(warm, warm[1], GOAL, None).to_html()
    assert f"{len(warm)} of {len(warm)} starts found what they compile in the caches." in page
    assert "starts found" not in Report(TRIALS, TRIALS[1], GOAL, None).to_html()


def test_a_study_in_a_cluster_shows_its_environment_once_with_the_nodes_in_a_row() -> None:
    samples = Samples(sample_task(200))
    begun = [samples.begun(number) for number in range(200)]
    trials = tuple(samples.ended(trial, samples.measurements(dict(trial.params))) for trial in begun)
    assert len({json.dumps(dict(t.fingerprint), sort_keys=True) for t in trials}) > 4
    report = Report(trials, trials[1], samples.task.goal, "server")
    rows = dict(table_of(report.to_html(), "Environment"))
    assert rows["image_id"] == IMAGE_ID
    assert rows["benchmark_image_id"].startswith("registry.example/genai-bench@sha256:")
    assert rows["seed"] == "7"
    assert len(rows["node"].split("<br>")) == 4
    assert re.search(r"trials \d+(, \d+){3} and \d+ more", rows["node"])
    assert rows["gpus"] == "2 x nvidia.com/gpu (nvidia.com/gpu.product: H100)"
    # The laptop that drove it is told as that, and nothing of it as the engine's.
    assert rows["driver.host"]
    assert not {"cpu", "host", "memory_bytes"} & set(rows)
    assert rows["driver.gpus"]
    assert isinstance(trials[0].fingerprint["driver"]["gpus"], list)
    assert list(rows).index("node") < list(rows).index("driver.host")
    assert len(report._details) < 120_000


def test_what_was_asked_and_the_cell_that_does_it_again(make_task: Callable[..., Task]) -> None:
    task = make_task(name="größe 🚀 <b>", limits=["ttft_p99_s <= 0.5"])
    page = Report(TRIALS, TRIALS[1], GOAL, None, task=task, name="mine").to_html()
    assert "größe 🚀 &lt;b&gt;" in page
    code = again_cell(page)
    assert "at.tune(task, study='runs/mine-again')" in code
    names: dict[str, Any] = {}
    exec(code.partition("\nrun = ")[0], names)
    assert names["task"] == task


class Recorder:
    """Stands for a run; keeps what is asked of it as edits."""

    def __init__(self) -> None:
        self.edits: list[Edit] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        makers: dict[str, Callable[..., Edit]] = {
            "ban": ban_edit,
            "pin": pin_edit,
            "free": free_edit,
            "narrow": lambda parameter, low=None, high=None, values=(): narrow_edit(parameter, low, high, values),
            "enqueue": enqueue_edit,
            "set_budget": lambda **changes: Edit(EditKind.BUDGET, budget=changes),
        }
        return lambda *args, **named: self.edits.append(makers[name](*args, **named))


def again_cell(page: str) -> str:
    return html.unescape(page.rpartition("<pre>")[2].partition("</pre>")[0])


def test_the_cell_that_does_it_again_steers_as_it_was_steered_and_names_the_storage(
    make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    made = Recorder()
    monkeypatch.setattr(at, "tune", lambda task, **named: asked.update(named, task=task) or made)
    edits = (
        *EDITS,
        replace(narrow_edit("threads", 2), at=AT),
        replace(narrow_edit("mode", values=("größe '🚀'", None)), at=AT),
        replace(free_edit("threads"), at=AT),
        replace(enqueue_edit({"threads": 1.5, "on": True, "rope": {"a": [1]}, "off": None}), at=AT),
    )
    task = make_task()

    def run(storage: str | None) -> None:
        page = Report(TRIALS, TRIALS[1], GOAL, None, edits, task=task, name="mine", storage=storage).to_html()
        exec(again_cell(page).partition("await run")[0], {})

    run(None)
    assert asked == {"task": task, "study": "runs/mine-again"}
    plain = [(e.kind, e.parameter, e.values, e.low, e.high, e.params, e.budget) for e in edits]
    assert [(e.kind, e.parameter, e.values, e.low, e.high, e.params, e.budget) for e in made.edits] == plain
    run("postgresql://me@db/x")
    assert asked["storage"] == "postgresql://me@db/x"
    monkeypatch.setenv("AUTOTUNE_NB_STORAGE", "postgresql://me:secret@db/x")
    run("postgresql://me:***@db/x")
    assert asked["storage"] == "postgresql://me:secret@db/x"


def test_a_manifest_is_there_to_apply() -> None:
    page = Report(TRIALS, TRIALS[1], GOAL, None, manifest="kind: InferenceService").to_html()
    assert "kind: InferenceService" in page


def test_the_short_form_of_a_runs_own_output_has_answer_curves_and_trials() -> None:
    page = Report(TRIALS, TRIALS[1], GOAL, "server --threads 1", EDITS).summary_html()
    assert page.index("Best is trial 1") < page.index("server --threads 1") < page.index("<img ") < page.index("<table")
    assert "Reproduce" not in page


def test_a_notebook_shows_it_in_parts_each_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.publish_display_data", shown.append)
    trials = (measured(0, 10.0, baseline=True), measured(1, 15.0))
    Report(trials, trials[1], GOAL, "server")._ipython_display_()
    text, chart = ["text/html", "text/plain"], ["application/vnd.plotly.v1+json", "text/html", "text/plain"]
    table = ["application/vnd.autotune-nb.configurations+json", *text]
    assert [sorted(bundle) for bundle in shown] == [text, chart, chart, text, table, text]
    assert all("\n" not in bundle["text/plain"] for bundle in shown)
    assert "1.50 times" in shown[0]["text/html"]


def test_what_was_asked_is_said_in_a_sentence(make_task: Callable[..., Task]) -> None:
    task = make_task(
        engine={"kind": "vllm"},
        model="acme/8b",
        parameters={"max_num_seqs": [1, 2]},
        rules=[],
        limits=["ttft_p99_s <= 0.5"],
        workload={"scenarios": ["D(1,2)", "N(3,1)/(2,1)"], "concurrency": [1, 4, 8]},
    )
    asked = "Asked for: the highest output_tokens_per_s with ttft_p99_s &lt;= 0.5, of acme/8b on vllm, under "
    levels = "D(1,2) at concurrency 1, 4 and 8; N(3,1)/(2,1) at concurrency 1, 4 and 8."
    assert f"{asked}{levels}" in Report(TRIALS, TRIALS[1], GOAL, None, task=task).to_html()


def test_the_gpus_of_both_are_compared_and_a_broken_limit_is_named(make_task: Callable[..., Task]) -> None:
    trials = (measured(0, 10.0, baseline=True).with_(gpus=1), measured(1, 15.0).with_(gpus=4))
    goal = replace(GOAL, limits=(Limit.parse("ttft_p99_s <= 1"),))
    rows = cells(Report(trials, trials[1], goal, None, task=make_task()).to_html())
    assert ["GPUs of the engine<br><code>gpus</code>", "1 GPU", "4 GPUs", "4 times the GPUs"] in rows
    assert rows[2][1] == "1.25 s (p95 800 ms, max 1.5 s), breaks the limit"


def test_an_undecided_confirmation_compares_the_trial_that_it_is_about() -> None:
    def start(number: int, value: float, threads: int, confirmation: tuple[int, int] | None) -> Trial:
        one = measured(threads, value, baseline=threads == 0)
        return one.with_(number=number, confirmation=confirmation)

    # The default before the search, a trial of the search, and two rounds.
    begun = (start(0, 10.0, 0, (0, 0)), start(1, 12.0, 0, (0, 0)), start(2, 15.0, 2, None))
    rounds = ((9.0, 0, (1, 0)), (11.0, 2, (1, 1)), (10.0, 0, (2, 0)), (14.0, 2, (2, 1)))
    trials = (*begun, *(start(number, *one) for number, one in enumerate(rounds, 3)))
    report = Report(trials, trials[0], GOAL, None, confirm=Confirm(rounds=3))
    assert report.verdict.startswith("Undecided") and report.verdict.endswith("default configuration.")
    rows = cells(report.to_html())
    assert [cell.partition("<br>")[0] for cell in rows[0][1:]] == ["engine&#39;s default", "trial 2", "trial 2 has"]
    assert rows[1][3] == "1.31 times the throughput: undecided"
    assert not any(word in cell for row in rows for cell in row for word in (": better", ": worse"))
    assert "Best of the search: 15 tokens/s, by trial 2" in report.to_html()


def test_one_point_is_no_course() -> None:
    assert [type(one).__name__ for one in Report(TRIALS[:1], TRIALS[0], GOAL, None).charts()] == ["LatencyChart"]
