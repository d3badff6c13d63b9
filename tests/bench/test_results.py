"""genai-bench's result files: their unit, their level, and the values that make a measurement invalid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.bench.results import (
    UNKNOWN_LOAD,
    impossible_speed,
    level_file_problem,
    level_of,
    measurement,
    read_level,
)
from autotune_nb.errors import MeasurementError
from autotune_nb.task.scenario import RequestSize
from autotune_nb.trial.formatting import level_text
from autotune_nb.trial.measurement import (
    COST_FIGURES,
    FIGURES,
    MAX_CONCURRENCY,
    QUALITY,
    SLO_SCORE,
    Level,
    Measurement,
    Validity,
)
from autotune_nb.trial.score import Limit, Objective, score

_STATISTICS = ("min", "max", "mean", "stddev", "sum", "p25", "p50", "p75", "p90", "p95", "p99")
#: A typical value of each statistic's subject, in seconds or tokens, as genai-bench 0.0.5 writes them.
_SUBJECTS = {
    "ttft": 0.076,
    "tpot": 0.0031,
    "e2e_latency": 0.174,
    "output_latency": 0.098,
    "output_inference_speed": 325.4,
    "num_input_tokens": 66,
    "num_output_tokens": 32,
    "num_reasoning_tokens": 0,
    "total_tokens": 98,
    "input_throughput": 868.1,
    "output_throughput": 326.6,
}
_TIMES = ("ttft", "tpot", "e2e_latency", "output_latency")

#: The others depend on the trial, on its other levels, or on bounds in the task.
_OTHERS = (*COST_FIGURES, *QUALITY, MAX_CONCURRENCY, SLO_SCORE)
MEASURED = {name for name in FIGURES if name not in _OTHERS and not name.startswith("goodput")}


def level_file(*, unit: str = "s", **changes: Any) -> dict[str, Any]:
    """A level's file in the format of genai-bench 0.0.5, with some aggregated fields replaced."""
    scale = 1000 if unit == "ms" else 1
    stats = {
        name: dict.fromkeys(_STATISTICS, value * (scale if name in _TIMES else 1)) for name, value in _SUBJECTS.items()
    }
    aggregated = {
        "scenario": "D(64,32)",
        "num_concurrency": 4,
        "batch_size": 1,
        "iteration_type": "num_concurrency",
        "run_duration": 1.55,
        "mean_output_throughput_tokens_per_s": 175.4,
        "mean_input_throughput_tokens_per_s": 361.8,
        "mean_total_tokens_throughput_tokens_per_s": 537.2,
        "requests_per_second": 5.48,
        "error_codes_frequency": {},
        "error_rate": 0,
        "num_error_requests": 0,
        "num_completed_requests": 34,
        "num_requests": 34,
        "stats": stats,
    }
    return {
        "aggregated_metrics": {**aggregated, **changes},
        "individual_request_metrics": [{"ttft": 0.076 * scale, "tpot": None, "error_code": None}],
        "_time_unit": unit,
    }


def with_statistic(subject: str, statistic: str, value: Any) -> dict[str, Any]:
    data = level_file()
    data["aggregated_metrics"]["stats"][subject][statistic] = value
    return data


def read(data: dict[str, Any], **kwargs: Any) -> Measurement:
    # Through JSON and back, as from a file; NaN and Infinity are preserved.
    return measurement(json.loads(json.dumps(data)), Validity(), **kwargs)


def test_a_good_file_gives_every_figure_and_no_problem() -> None:
    found = read(level_file())
    assert found.valid
    assert set(found.figures) == MEASURED
    assert found.level == Level("D(64,32)", 4)
    assert (found.num_requests, found.num_completed_requests, found.num_failed_requests) == (34, 34, 0)
    assert found.duration_s == 1.55
    assert found.figures["ttft_p99_s"] == 0.076
    assert found.figures["output_tokens_per_s"] == 175.4
    assert found.figures["input_tokens_per_s"] == 361.8
    assert found.figures["total_tokens_per_s"] == 537.2
    assert found.figures["requests_per_s"] == 5.48
    assert found.figures["output_tokens_min"] == 32


def test_milliseconds_are_read_as_seconds_and_rates_stay_as_they_are() -> None:
    seconds, milliseconds = read(level_file()), read(level_file(unit="ms"))
    assert milliseconds.figures.keys() == seconds.figures.keys()
    for name, value in seconds.figures.items():
        assert milliseconds.figures[name] == pytest.approx(value), name


def test_failed_requests_are_counted_though_the_error_rate_is_0() -> None:
    found = read(
        level_file(num_error_requests=12, num_completed_requests=11, num_requests=23, error_codes_frequency={"503": 12})
    )
    assert not found.valid
    assert found.problems == ("12 of 23 requests failed (12 x 503); at most 0 may",)
    assert (found.num_failed_requests, found.num_requests) == (12, 23)


def test_failed_requests_are_counted_by_their_codes_if_genai_bench_does_not() -> None:
    found = read(level_file(num_completed_requests=0, num_requests=0, error_codes_frequency={"-11": 40}))
    assert found.problems == ("40 of 40 requests failed (40 x reply that is no completion); at most 0 may",)


def test_too_few_completed_requests_are_invalid() -> None:
    found = read(level_file(num_completed_requests=2, num_requests=2))
    assert found.problems[0].startswith("only 2 requests completed")
    assert not read(level_file(num_completed_requests=None, num_requests=None)).valid


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), "0.1", True])
@pytest.mark.parametrize(
    ("subject", "statistic", "figure"), [("tpot", "mean", "tpot_mean_s"), ("ttft", "p99", "ttft_p99_s")]
)
def test_a_figure_that_is_no_number_is_absent_and_named(subject: str, statistic: str, figure: str, bad: Any) -> None:
    found = read(with_statistic(subject, statistic, bad))
    assert figure not in found.figures
    assert found.problems == (f"no usable number for {figure}",)
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("rate", ["mean_output_throughput_tokens_per_s", "requests_per_second"])
@pytest.mark.parametrize("bad", [None, float("nan"), float("-inf")])
def test_a_rate_that_is_no_number_is_invalid_too(rate: str, bad: Any) -> None:
    assert not read(level_file(**{rate: bad})).valid


def test_missing_statistics_are_invalid_where_text_is_generated_only() -> None:
    empty = level_file(stats={"e2e_latency": level_file()["aggregated_metrics"]["stats"]["e2e_latency"], "ttft": None})
    assert any("ttft_mean_s" in problem for problem in read(empty).problems)
    embeddings = read(empty, generates_text=False)
    assert embeddings.valid
    assert embeddings.figures["e2e_latency_mean_s"] == 0.174
    assert not read(level_file(stats=None)).valid


def test_a_reply_without_a_token_is_no_completion() -> None:
    problems = read(with_statistic("num_output_tokens", "min", 0)).problems
    assert any("contained no token" in problem for problem in problems)


@pytest.mark.parametrize("scenario", ["D(64,32)", "N(480,240)/(300,150)", "U(10,100)/(5,20)", "U(100,20)", "dataset"])
def test_the_level_is_read_from_inside_the_file(tmp_path: Path, scenario: str) -> None:
    file = tmp_path / "rewritten_text-to-text_num_concurrency_9_time_6s.json"
    file.write_text(json.dumps(level_file(scenario=scenario, num_concurrency=2), indent=4))
    data = read_level(file)
    assert data is not None
    assert level_of(data) == Level(scenario, 2)


def test_batches_are_levels_of_their_own() -> None:
    data = level_file(scenario="E(64)", iteration_type="batch_size", batch_size=8, num_concurrency=1)
    assert level_of(data) == Level("E(64)", 1, 8)


def test_an_incomplete_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "level.json"
    whole = json.dumps(level_file(), indent=4)
    assert read_level(file) is None
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        file.write_text(whole[:length])
        assert read_level(file) is None
    file.write_text(whole)
    assert read_level(file) is not None


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"null",
        b"{}",
        b'{"aggregated_metrics": null}',
        b'{"aggregated_metrics": {"num_concurrency": 1}}',
        b'{"aggregated_metrics": {"scenario": "D(1,2)"}}',
        b'{"cmd": "genai-bench benchmark", "experiment_folder_name": "x"}',
        b"\xff\xfe\x00",
    ],
)
def test_a_file_that_is_not_a_levels_is_ignored(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "experiment_metadata.json"
    file.write_bytes(content)
    assert read_level(file) is None


def test_a_folder_in_its_place_is_ignored(tmp_path: Path) -> None:
    assert read_level(tmp_path) is None


def without(*subjects: str) -> dict[str, Any]:
    """A level's statistics, None for some subjects."""
    stats = level_file()["aggregated_metrics"]["stats"]
    return {name: dict.fromkeys(_STATISTICS) if name in subjects else values for name, values in stats.items()}


def test_responses_of_one_token_are_measured_without_the_time_between_tokens() -> None:
    stats = {**without("tpot", "output_inference_speed"), "num_output_tokens": dict.fromkeys(_STATISTICS, 1)}
    found = read(level_file(stats=stats, mean_output_throughput_tokens_per_s=None))
    assert found.valid
    assert MEASURED - set(found.figures) == {
        name for name in FIGURES if name.startswith(("tpot", "request_output_tokens_per_s"))
    }
    assert found.figures["output_tokens_per_s"] == pytest.approx(5.48)
    with pytest.raises(MeasurementError, match="there is no time between tokens"):
        score([found], Objective("tpot_mean_s", "minimize"))
    assert score([found], Objective("ttft_mean_s", "minimize")).value == 0.076


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_a_level_whose_responses_all_come_in_one_chunk_is_computed_from_its_requests(unit: str) -> None:
    scale = 1000 if unit == "ms" else 1
    data = level_file(
        unit=unit,
        stats={name: dict.fromkeys(_STATISTICS) for name in _SUBJECTS},
        run_duration=0.0,
        num_completed_requests=4,
        num_requests=0,
        num_concurrency=2,
        mean_output_throughput_tokens_per_s=0.0,
        mean_input_throughput_tokens_per_s=0.0,
        mean_total_tokens_throughput_tokens_per_s=0.0,
        requests_per_second=0.0,
    )
    data["individual_request_metrics"] = [
        {"ttft": s * scale, "e2e_latency": s * scale, "output_latency": 0.0, "tpot": None, "num_input_tokens": 32}
        | {"num_output_tokens": 16}
        for s in (1.0, 2.0, 3.0, 4.0)
    ]
    found = read(data)
    assert found.valid
    assert found.duration_s == pytest.approx(5.0)
    figures = found.figures
    assert figures["output_tokens_per_s"] == pytest.approx(4 * 16 / 5)
    assert figures["requests_per_s"] == pytest.approx(0.8)
    assert [figures[f"e2e_latency_{name}_s"] for name in ("mean", "min", "max", "p25", "p50")] == pytest.approx(
        [2.5, 1.0, 4.0, 1.75, 2.5]
    )
    assert "tpot_mean_s" not in figures


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_streams_that_came_all_at_once_have_no_time_between_tokens(unit: str) -> None:
    """As genai-bench writes them where nothing tells it so, in a BenchmarkJob."""
    data = level_file(unit=unit)
    for name, value in (("tpot", 2e-5 * (1000 if unit == "ms" else 1)), ("output_inference_speed", 49_000)):
        data["aggregated_metrics"]["stats"][name] = dict.fromkeys(_STATISTICS, value)
    found = read(data)
    assert found.valid
    assert MEASURED - set(found.figures) == {
        name for name in FIGURES if name.startswith(("tpot", "request_output_tokens_per_s"))
    }
    with pytest.raises(MeasurementError, match="there is no time between tokens"):
        score([found], Objective("tpot_mean_s", "minimize"))


def test_a_speed_that_is_impossible_leaves_its_statistics_out() -> None:
    data = level_file()
    data["aggregated_metrics"]["stats"]["output_inference_speed"].update(max=4_008_080.0, mean=63_120.4, p99=4e6)
    assert impossible_speed(data) == 4_008_080.0
    found = read(data)
    assert found.valid
    left_out = {"mean", "max", "stddev", "p99"}
    assert MEASURED - set(found.figures) == {
        "tpot_min_s",
        *(f"request_output_tokens_per_s_{statistic}" for statistic in left_out),
    }
    assert found.figures["output_tokens_per_s"] == 175.4
    assert impossible_speed(level_file()) is None


def test_the_rates_of_2024_are_read_and_those_that_are_missing_are_left_out() -> None:
    data = level_file(requests_per_minute=1320.0)
    for name in ("requests_per_second", "run_duration", "iteration_type", "batch_size"):
        del data["aggregated_metrics"][name]
    found = read(data)
    assert found.valid
    assert found.figures["requests_per_s"] == pytest.approx(22)
    assert found.duration_s == pytest.approx(34 / 22)
    del data["aggregated_metrics"]["requests_per_minute"]
    found = read(data)
    assert found.valid
    assert "requests_per_s" not in found.figures


def test_if_every_request_failed_that_is_the_only_problem() -> None:
    stats = {name: dict.fromkeys(_STATISTICS) for name in _SUBJECTS}
    codes = {"404": 37}
    found = read(level_file(stats=stats, num_completed_requests=0, num_error_requests=37, error_codes_frequency=codes))
    assert found.problems == ("37 of 37 requests failed (37 x 404); at most 0 may",)
    assert "model.served_name" in found.hint


def test_embeddings_need_no_figure_of_output() -> None:
    stats = without("ttft", "tpot", "output_latency", "output_inference_speed", "num_output_tokens")
    found = read(level_file(stats=stats, mean_output_throughput_tokens_per_s=None), generates_text=False)
    assert found.valid
    assert "output_tokens_per_s" not in found.figures


@pytest.mark.parametrize("load", [{"iteration_type": "request_rate"}, {"iteration_type": None, "request_rate": 5}])
def test_a_request_rate_is_no_level(tmp_path: Path, load: dict[str, Any]) -> None:
    file = tmp_path / "D64_32_text-to-text_request_rate_5_time_60s.json"
    file.write_text(json.dumps(level_file(**load)))
    assert read_level(file) is None
    assert level_file_problem(file).startswith(f"{UNKNOWN_LOAD} 'request_rate'")


def requests_of(tokens: int, *, completed: int, failed: int = 0) -> list[dict[str, Any]]:
    one = {"num_input_tokens": 64, "num_output_tokens": tokens, "error_code": None}
    return [*[one] * completed, *[{"num_output_tokens": None, "error_code": 503}] * failed]


def test_throughput_counts_the_tokens_of_the_warm_up_too() -> None:
    # With a warm-up ratio of 0.5, genai-bench divides the tokens of 17 of 34 requests by the whole duration.
    data = level_file(mean_output_throughput_tokens_per_s=17 * 32 / 6.2, error_codes_frequency={"503": 2})
    data["individual_request_metrics"] = requests_of(32, completed=34, failed=2)
    figures = read(data).figures
    assert figures["output_tokens_per_s"] == pytest.approx(34 * 32 / 1.55)
    assert figures["input_tokens_per_s"] == pytest.approx(34 * 64 / 1.55)
    assert figures["total_tokens_per_s"] == pytest.approx(34 * 96 / 1.55)
    assert figures["requests_per_s"] == 5.48


@pytest.mark.parametrize("requests", [[], None, requests_of(32, completed=3), [None] * 34, [{"error_code": None}] * 34])
def test_throughput_is_genai_benchs_where_the_file_lacks_a_request(requests: Any) -> None:
    data = level_file()
    data["individual_request_metrics"] = requests
    assert read(data).figures["output_tokens_per_s"] == 175.4


def test_requests_that_failed_at_status_200_are_named_by_their_kind() -> None:
    found = read(level_file(num_error_requests=5, error_codes_frequency={"-12": 3, "503": 2}))
    assert found.problems == ("5 of 39 requests failed (2 x 503, 3 x reply without a token); at most 0 may",)


@pytest.mark.parametrize(("received", "ratio", "valid"), [(81, 0.9, True), (82, 0.9, False), (640, 0.0, True)])
def test_replies_that_are_much_longer_than_requested_make_a_level_invalid(
    received: int, ratio: float, valid: bool
) -> None:
    data = with_statistic("num_output_tokens", "mean", received)
    found = measurement(data, Validity(min_output_ratio=ratio), size=RequestSize(64, 64))
    assert found.valid is valid
    if not valid:
        assert found.problems == (f"replies had {received} tokens on average, and only 64 were requested",)
        assert "ignores max_tokens" in found.hint


@pytest.mark.parametrize(
    ("size", "received", "valid"),
    [
        (RequestSize(64, 64), 2, False),
        (RequestSize(64, 64), 57, False),
        (RequestSize(64, 64), 58, True),
        (RequestSize(64, 64), 80, True),
        # The mean of 34 random sizes may be this far from that of their distribution.
        (RequestSize(64, 64, 30), 45, True),
        (RequestSize(64, 64, 30), 40, False),
        (None, 2, True),
    ],
)
def test_replies_that_are_much_shorter_than_requested_make_a_level_invalid(
    size: RequestSize | None, received: int, valid: bool
) -> None:
    data = with_statistic("num_output_tokens", "mean", received)
    found = measurement(data, Validity(min_output_ratio=0.9), size=size)
    assert found.valid is valid
    if not valid:
        assert f"replies had only {received} tokens on average, 64 were requested" in found.problems[0]
        assert "ignore_eos" in found.hint
    assert measurement(data, Validity(), size=size).valid


def test_far_fewer_requests_than_their_latency_allows_make_a_level_invalid() -> None:
    found = read(level_file(run_duration=10.0, num_completed_requests=12, num_requests=12))
    assert found.problems == (
        "the level stalled: only 12 requests ended within 10 s, where a mean latency of 0.17 s allows 230 at this "
        "concurrency: the engine or the load stopped in between",
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"run_duration": 0}, "the level's duration is 0 s, in which no request completes: the result file is wrong"),
        ({"requests_per_second": 1e300}, "requests_per_s is 1e+300, but 34 requests in 1.55 s are 21.94: the result"),
        ({"mean_output_throughput_tokens_per_s": 1e300}, "output_tokens_per_s is 1e+300, but 34 requests in 1.55 s"),
        ({"mean_total_tokens_throughput_tokens_per_s": 99999}, "total_tokens_per_s is 1e+05, but 34 requests"),
        ({"requests_per_second": -3}, "not finite or negative: requests_per_s (-3)"),
        ({"requests_per_second": float("nan")}, "no usable number for requests_per_s"),
    ],
)
def test_figures_that_cannot_be_are_no_figures(changes: dict[str, Any], problem: str) -> None:
    found = read(level_file(**changes))
    assert found.problems[0].startswith(problem)


def test_a_latency_far_longer_than_its_level_is_no_figure() -> None:
    found = read(with_statistic("ttft", "p99", 1e300))
    assert found.problems == ("ttft_p99_s is 1e+300 s in a level of 1.55 s: the result file is wrong",)


def test_a_latency_that_changes_within_a_level_is_reported() -> None:
    first, last = [{"e2e_latency": 0.2}] * 16, [{"e2e_latency": 0.3}] * 16
    # Those that start together are left out, and failed ones.
    requests = [*[{"e2e_latency": 5.0}] * 4, *first, {"error_code": 500, "e2e_latency": 9.0}, *last]
    found = read({**level_file(), "individual_request_metrics": requests})
    assert found.valid
    assert found.conditions == {"e2e_latency_drift": 1.5}
    expected = "the second half of its requests took 1.50 times as long as the first half: it was not steady"
    assert found.drift_text == expected
    assert level_text(found).endswith(expected)
    assert Measurement.from_dict(found.to_dict()) == found
    steady = read({**level_file(), "individual_request_metrics": [*first, *first, *first]})
    assert steady.conditions == {"e2e_latency_drift": 1.0}
    assert not steady.drift_text
    # Too few to tell.
    assert read({**level_file(), "individual_request_metrics": [*first, *last]}).conditions == {}


def test_a_level_that_is_too_short_to_tell_a_slow_start_from_a_stop_is_valid() -> None:
    # On a busy machine the users of a level may start seconds late.
    assert read(level_file(run_duration=4.0, num_completed_requests=12, num_requests=12)).valid


def test_a_load_that_the_engine_cannot_serve_is_no_reason_to_refuse_its_level() -> None:
    data = level_file(run_duration=10.0, num_completed_requests=12, num_concurrency=64)
    data["aggregated_metrics"]["stats"]["e2e_latency"].update(mean=5.0, max=9.8)
    assert read(data).valid


def test_the_requests_beyond_a_limit_on_a_percentile_are_counted_in_seconds() -> None:
    limits = [Limit.parse(text) for text in ("ttft_p99_s <= 0.5", "tpot_p90_s <= 1", "ttft_mean_s <= 0.1")]
    limits.append(Limit.parse("request_output_tokens_per_s_p25 >= 10"))
    requests = [
        {"ttft": 400.0, "tpot": None, "output_inference_speed": 9.0, "error_code": None},
        {"ttft": 600.0, "tpot": 900.0, "output_inference_speed": 11.0, "error_code": None},
        {"ttft": None, "error_code": 503},
    ]
    data = {**level_file(unit="ms", num_completed_requests=2), "individual_request_metrics": requests}
    expected = {str(limits[0]): (2, 1), str(limits[1]): (1, 0), str(limits[3]): (2, 1)}
    assert read(data, limits=limits).beyond == expected
    # Without every request, nothing is counted.
    assert read({**data, "individual_request_metrics": requests[1:]}, limits=limits).beyond == {}


def requests(*times: tuple[float, float | None], **changes: Any) -> dict[str, Any]:
    """A level's file with requests of these times to the first token and between tokens."""
    data = level_file()
    data["individual_request_metrics"] = [{"ttft": ttft, "tpot": tpot, "e2e_latency": 1.0} for ttft, tpot in times]
    data["aggregated_metrics"].update(num_completed_requests=len(times), requests_per_second=4.0, **changes)
    return data


BOUNDS = {"ttft_s": 0.5, "tpot_s": 0.05}


def test_a_request_counts_for_the_goodput_if_it_keeps_every_bound() -> None:
    # Two are too slow, one in each time; a reply of one token has no time between tokens.
    found = read(requests((0.5, 0.05), (0.6, 0.01), (0.1, 0.06), (0.4, None)), goodput=BOUNDS).figures
    assert (found["goodput_share"], found["goodput_requests_per_s"]) == (0.5, 2.0)
    found = read(requests((0.1, 0.01)), goodput={"e2e_latency_s": 0.9}).figures
    assert (found["goodput_share"], found["goodput_requests_per_s"]) == (0.0, 0.0)
    assert "goodput_share" not in read(requests((0.1, 0.01))).figures


def test_requests_that_fail_or_are_not_scored_do_not_flatter_the_goodput() -> None:
    data = requests((0.1, 0.01), (0.1, 0.01), (0.9, 0.01), (0.1, 0.01), num_error_requests=1)
    data["individual_request_metrics"][3]["scored"] = False
    data["individual_request_metrics"].append({"error_code": 500})
    found = read(data, goodput=BOUNDS).figures
    assert found["goodput_share"] == 2 / 4
    assert found["goodput_requests_per_s"] == pytest.approx(4.0 * 2 / 3)


def test_the_bounds_of_the_goodput_are_in_seconds_whatever_the_unit_of_the_file() -> None:
    data = requests((400.0, 40.0), (600.0, 40.0))
    data["_time_unit"] = "ms"
    assert read(data, goodput=BOUNDS).figures["goodput_share"] == 0.5


def test_a_file_without_single_requests_has_no_goodput() -> None:
    data = requests((0.1, 0.01))
    data["individual_request_metrics"] = None
    assert "goodput_share" not in read(data, goodput=BOUNDS).figures
