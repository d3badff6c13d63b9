"""The figures of an engine's Prometheus metrics, by pages in the form of each engine."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.engines.metrics import read_metrics

PAGES = Path(__file__).parent / "data" / "metrics"


def page(engine: str) -> str:
    return (PAGES / f"{engine}.txt").read_text()


def test_the_figures_of_vllm_are_summed_over_its_replicas() -> None:
    assert read_metrics(page("vllm")) == {
        "running_requests": 62,
        "waiting_requests": 2,
        "kv_cache_usage": 0.97,
        "preemptions": 41,
        "cached_tokens": 600,
        "sought_tokens": 12000,
        "drafted_tokens": 3000,
        "accepted_tokens": 2400,
        "output_tokens": 5000,
    }


def test_earlier_versions_of_vllm_have_other_names() -> None:
    old = page("vllm").replace("vllm:kv_cache", "vllm:x_cache").replace("vllm:prefix_cache", "vllm:gpu_prefix_cache")
    found = read_metrics(old)
    assert (found["kv_cache_usage"], found["cached_tokens"], found["sought_tokens"]) == (0.5, 600, 12000)


def test_each_gpus_view_of_one_scheduler_of_sglang_counts_once() -> None:
    assert read_metrics(page("sglang")) == {
        "running_requests": 44,
        "waiting_requests": 3,
        "kv_cache_usage": 0.91,
        "speculative_acceptance": 0.62,
        "preemptions": 48,
        "cached_tokens": 100,
        "computed_tokens": 900,
        "output_tokens": 4096,
    }


def test_versions_of_sglang_that_count_when_a_request_ends_give_the_same_figures() -> None:
    found = read_metrics(page("sglang").replace("realtime_tokens_total", "x"))
    assert (found["cached_tokens"], found["sought_tokens"], found["output_tokens"]) == (90, 1000, 4000)
    assert "computed_tokens" not in found


def test_the_page_of_a_real_llama_cpp_has_its_requests_and_tokens() -> None:
    found = read_metrics(page("llama_cpp"))
    assert (found["running_requests"], found["waiting_requests"], found["output_tokens"]) == (0, 0, 32)
    assert (found["cached_tokens"], found["computed_tokens"]) == (17, 19)
    assert "kv_cache_usage" not in found


def test_what_has_none_of_these_metrics_has_no_figure() -> None:
    assert read_metrics("") == read_metrics("<html>welcome</html>") == read_metrics("go_goroutines 7\n") == {}


def test_a_value_that_is_no_number_is_left_out() -> None:
    text = "vllm:num_requests_running 1\nvllm:num_requests_waiting NaN\nvllm:kv_cache_usage_perc +Inf\n"
    assert read_metrics(text) == {"running_requests": 1}


@pytest.mark.parametrize(
    "line", ["vllm:num_requests_running", 'vllm:num_requests_running{a="1} 2', "vllm:num_requests_running x"]
)
def test_a_malformed_line_raises_value_error(line: str) -> None:
    with pytest.raises(ValueError):
        read_metrics(f"{line}\n")


@given(
    st.sampled_from(["vllm:num_requests_running", "sglang:token_usage"]),
    st.text('{}"=, \t1.e-Naé_\\#\r\x00', max_size=20),
)
def test_whatever_a_line_contains_it_is_read_or_raises_value_error(name: str, rest: str) -> None:
    with contextlib.suppress(ValueError):
        assert all(math.isfinite(value) for value in read_metrics(f"{name}{rest}\n").values())
