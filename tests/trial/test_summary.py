"""Trials, measurements, verdicts and the best configuration as one line, and as small cards in a notebook."""

from __future__ import annotations

import re
from dataclasses import replace

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.results.exporting import Best
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Score
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.verdict import Outcome, Verdict

LEVEL = Level("D(1,2)", 4)
MEASURED = Measurement(LEVEL, 2.0, 9, 8, 1, {"output_tokens_per_s": 1843.2, "ttft_p99_s": 0.41})
TRIAL = Trial(
    9,
    {"threads": 2, "name": "<b>x</b>"},
    TrialState.COMPLETE,
    (MEASURED,),
    Score({"output_tokens_per_s": 1843.2}, {"ttft_p99_s <= 0.5": -0.09}, LEVEL),
    seconds={"deploy": 40.0, "benchmark": 60.0},
    reason="the largest expected improvement",
)


def tags(page: str) -> set[str]:
    return set(re.findall(r"<(\w+)", page))


def test_a_trial_is_one_line_and_a_card_with_its_result_and_levels() -> None:
    line = "<Trial 9: complete, 1,843 tokens/s (output_tokens_per_s) under D(1,2) at concurrency 4, threads=2 "
    assert repr(TRIAL) == f"{line}name=<b>x</b>>"
    card = TRIAL._repr_html_()
    assert tags(card) <= {*("div", "b", "table", "thead", "tbody", "tr", "th", "td"), "details", "summary"}
    assert "&lt;b&gt;x&lt;/b&gt;" in card
    for text in ("ttft_p99_s &lt;= 0.5: kept", "2 min", "the largest expected improvement", "410 ms", "8, 1 failed"):
        assert text in card
    assert "1 level<" in card


def test_a_failed_trial_shows_why_and_what_to_try() -> None:
    failure = Failure(FailureKind.OUT_OF_MEMORY, "deploy", "it ended", ("CUDA <oom>",), "a smaller batch")
    failed = Trial(3, {"threads": 9}, TrialState.FAILED, failure=failure)
    assert repr(failed) == "<Trial 3: failed, threads=9>"
    card = failed._repr_html_()
    assert "out of memory in deploy: it ended" in card
    assert "<pre>CUDA &lt;oom&gt;</pre>" in card
    assert "a smaller batch" in card
    assert "Result" not in card, "a row without a text"


def test_a_measurement_is_one_line() -> None:
    assert repr(MEASURED) == "<Measurement D(1,2) at concurrency 4: 1,843 tokens/s, TTFT p99 410 ms>"


def test_the_best_is_one_line_and_a_card_with_its_command() -> None:
    best = Best(9, {"threads": 2}, {"output_tokens_per_s": 1843.2}, "serve --name '<x>'", "kind: InferenceService")
    assert repr(best) == "<Best, trial 9: 1,843 tokens/s (output_tokens_per_s), threads=2>"
    assert "<pre>serve --name &#x27;&lt;x&gt;&#x27;</pre>" in best._repr_html_()
    assert "<summary>Its InferenceService</summary>" in best._repr_html_()
    assert "summary" not in replace(best, manifest=None)._repr_html_()


def test_a_verdict_is_one_line_and_a_card_with_its_numbers() -> None:
    found = Verdict(Outcome.BETTER, "Trial 9 is <better>.", 0.18, (0.12, 0.24), 0.95, 3, 0.05, 9, (9, 4))
    assert repr(found) == "<Verdict better: Trial 9 is <better>.>"
    card = found._repr_html_()
    for text in ("18 % (95 %: 12 to 24 %)", "the configuration of trial 9", "trial 4<", "Trial 9 is &lt;better&gt;."):
        assert text in card
    once = Verdict(Outcome.MEASURED_ONCE, "text")._repr_html_()
    assert "measured once" in once
    assert "Gain" not in once
