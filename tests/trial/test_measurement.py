"""Measurements: names of figures, conversion to JSON, and the checks that they are valid."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.errors import UnknownNameError
from autotune_nb.trial.measurement import FIGURES, QUALITY, Level, Measurement, Validity, figure_name


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("ttft", "ttft_mean_s"),
        ("e2e_latency", "e2e_latency_mean_s"),
        ("tpot_p99", "tpot_p99_s"),
        ("ttft_p99_s", "ttft_p99_s"),
        ("output_tokens_per_s", "output_tokens_per_s"),
    ],
)
def test_a_short_name_of_a_figure_has_one_full_name(name: str, full: str) -> None:
    assert figure_name(name) == full


@pytest.mark.parametrize("name", FIGURES)
def test_a_full_name_is_its_own(name: str) -> None:
    assert figure_name(name) == name


def test_an_unknown_figure_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"^limits\[0\]: unknown figure 'tft_p99'; did you mean 'ttft_p99_s'"):
        figure_name("tft_p99", field="limits[0]")


def test_every_figure_has_its_unit_in_its_name() -> None:
    units = ("_s", "_share", "_concurrency", "_score")
    named = [name for name in FIGURES if name not in QUALITY]
    assert all(name.endswith(units) or "_per_s" in name or "tokens" in name for name in named)


@given(
    st.dictionaries(st.sampled_from(FIGURES), st.floats(0, 1e9), max_size=8),
    st.tuples(st.integers(1, 99), st.integers(1, 99)),
    st.lists(st.text(max_size=9), max_size=2),
)
def test_a_measurement_survives_being_kept_as_json(
    figures: dict[str, float], load: tuple[int, int], problems: list[str]
) -> None:
    measured = Measurement(Level("D(1,2)", *load), 1.5, 9, 8, 1, figures, tuple(problems))
    assert Measurement.from_dict(json.loads(json.dumps(measured.to_dict()))) == measured
    assert measured.valid is (not problems)


def test_a_level_names_its_load() -> None:
    assert str(Level("D(16,8)", 4)) == "D(16,8) at concurrency 4"
    assert str(Level("E(64)", 1, 8)) == "E(64) at batch 8"


GOOD: dict[str, Any] = {"completed": 10, "failed": 0, "figures": {"ttft_mean_s": 0.1, "output_tokens_min": 8.0}}


def test_good_counts_and_figures_are_valid() -> None:
    assert Validity().problems(**GOOD) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"failed": 2, "error_codes": {"503": 1, "429": 1}},
            "2 of 12 requests failed (1 x 429, 1 x 503); at most 0 may",
        ),
        ({"failed": 1}, "1 of 11 requests failed; at most 0 may"),
        ({"completed": 2}, "only 2 requests completed, at least 3 are needed"),
        ({"completed": 0}, "only 0 requests completed"),
        ({"unusable": ["tpot_mean_s"]}, "no usable number for tpot_mean_s"),
        ({"figures": {"ttft_mean_s": float("nan")}}, "not finite or negative: ttft_mean_s"),
        ({"figures": {"ttft_mean_s": float("inf")}}, "not finite or negative: ttft_mean_s"),
        ({"figures": {"ttft_mean_s": -1.0}}, "not finite or negative: ttft_mean_s"),
        ({"figures": {"output_tokens_min": 0.0}}, "a response contained no token"),
    ],
)
def test_a_measurement_is_invalid_for_a_reason(change: dict[str, Any], words: str) -> None:
    problems = Validity().problems(**{**GOOD, **change})
    assert len(problems) == 1
    assert problems[0].startswith(words)


def test_every_reason_is_told() -> None:
    bad = {"completed": 1, "failed": 9, "unusable": ["a"], "figures": {"b": -1.0, "output_tokens_min": 0.0}}
    assert len(Validity().problems(**bad)) == 5  # type: ignore[arg-type]


def test_a_task_may_allow_failures_and_fewer_requests() -> None:
    lenient = Validity(max_failed_requests=2, min_completed_requests=1)
    assert lenient.problems(completed=1, failed=2, figures={}) == ()
    assert lenient.problems(completed=1, failed=3, figures={}) != ()


def test_replies_without_tokens_are_right_where_no_text_is_generated() -> None:
    assert Validity().problems(completed=9, failed=0, figures={"output_tokens_min": 0}, generates_text=False) == ()


def test_a_level_in_which_requests_were_missing_is_noted() -> None:
    """By Little's law, requests per second times their mean latency are as many as the concurrency."""
    one = Measurement(Level("D(1,2)", 8), 9.0, 80, 80, 0, {}, steady={"concurrency_mean": 6.9})
    assert one.valid
    assert one.notes == ("only 6.9 of 8 requests were in flight on average: genai-bench or this machine was the limit",)
    assert one.to_dict()["notes"] == list(one.notes)
    assert replace(one, steady={"concurrency_mean": 7.3}).notes == ()
    assert replace(one, steady={}).notes == ()


def test_too_few_scored_requests_are_too_few_whatever_completed_besides() -> None:
    (problem,) = Validity().problems(completed=6, failed=0, scored=2, figures={})
    assert problem == "only 2 requests completed, at least 3 are needed besides the first 4, which begin together"


def test_a_level_in_which_only_the_first_requests_ended_had_too_few_and_not_short_replies() -> None:
    problems = Validity(min_output_ratio=0.9).problems(
        completed=2, scored=0, failed=0, figures={"output_tokens_mean": 8.0}, requested_tokens=16.0
    )
    assert problems == ("only 0 requests completed, at least 3 are needed besides the first 2, which begin together",)


@pytest.mark.parametrize(
    ("drift", "error", "note"),
    [
        (0.45, 1.0, "its throughput rose by 45% from the first half to the second: it was not steady"),
        (
            0.05,
            19.0,
            "its throughput is known to ±19% only: it was not steady, or too short; raise workload.seconds_per_level",
        ),
        (0.05, 6.0, ""),
    ],
)
def test_a_throughput_that_is_not_steady_is_noted(drift: float, error: float, note: str) -> None:
    steady = {"output_tokens_per_s_drift": drift, "output_tokens_per_s_error": error}
    one = Measurement(Level("D(1,2)", 4), 9.0, 40, 40, 0, {"output_tokens_per_s": 100.0}, steady=steady)
    assert one.notes == ((note,) if note else ())
