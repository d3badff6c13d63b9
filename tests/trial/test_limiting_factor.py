"""Why a trial is not faster, from the metrics of its engine; and whether they agree with what was measured."""

from __future__ import annotations

import pytest

from autotune_nb.trial.condition_names import CONDITIONS
from autotune_nb.trial.engine_checks import invalid_hits
from autotune_nb.trial.limiting_factor import RULES, limiting_factor
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Score
from autotune_nb.trial.trial import Trial, TrialState


def level(
    concurrency: int = 8, *, tokens_in: float = 1000, scenario: str = "D(1000,10)", **conditions: float
) -> Measurement:
    figures = {"output_tokens_mean": 10.0, "input_tokens_mean": tokens_in}
    return Measurement(Level(scenario, concurrency), 10.0, 100, 100, 0, figures, conditions=conditions)


def trial(*levels: Measurement, engine: str = "vllm", scored: int = 0) -> Trial:
    score = Score({"output_tokens_per_s": 1.0}, {}, levels[scored].level)
    return Trial(1, {}, TrialState.COMPLETE, levels, score, fingerprint={"engine": engine})


@pytest.mark.parametrize(
    ("engine", "conditions", "text"),
    [
        (
            "vllm",
            {"kv_cache_usage_max": 0.97, "preemptions": 41},
            "KV cache 97% full, 41 preemptions: memory-bound; max_num_seqs or gpu_memory_utilization",
        ),
        (
            "sglang",
            {"waiting_requests_mean": 30, "running_requests_mean": 34, "kv_cache_usage_max": 0.4, "preemptions": 0},
            "KV cache 40% full, 30 requests waiting on average, 34 running: requests wait though the KV cache has "
            "room; max_running_requests or schedule_conservativeness",
        ),
        (
            "vllm",
            {"waiting_requests_mean": 30, "running_requests_mean": 34, "kv_cache_usage_max": 0.99, "preemptions": 0},
            "KV cache 99% full, 30 requests waiting on average: requests wait for room in the KV cache; "
            "gpu_memory_utilization or kv_cache_dtype",
        ),
        (
            "llama_cpp",
            {"waiting_requests_mean": 3.5, "running_requests_mean": 4},
            "3.5 requests waiting on average, 4 running: requests wait for a slot; parallel",
        ),
        (
            "command",
            {"speculative_acceptance": 0.21},
            "21% of draft tokens accepted: most of the work on drafts is lost",
        ),
        (
            "vllm",
            {"gpu_throttled_share": 0.4, "gpu_clock_mean_mhz": 1200.4, "gpu_power_mean_w": 700},
            "GPU clocks reduced in 40% of the samples, 1200 MHz on average, 700 W: the GPUs were slowed down to limit "
            "their power or heat",
        ),
    ],
)
def test_a_rule_says_in_a_line_what_the_figures_mean(engine: str, conditions: dict[str, float], text: str) -> None:
    assert limiting_factor(trial(level(**conditions), engine=engine)) == text


@pytest.mark.parametrize(
    "conditions",
    [
        # One of twenty samples found a request that waited.
        {"waiting_requests_mean": 0.05, "running_requests_mean": 0.1, "kv_cache_usage_max": 0.01},
        {},
        {"machine_load_per_core": 9.0},
        {"kv_cache_usage_max": 0.99, "preemptions": 0, "waiting_requests_mean": 0, "running_requests_mean": 8},
        {"waiting_requests_mean": 0.4, "running_requests_mean": 8, "kv_cache_usage_max": 0.1},
        {"waiting_requests_mean": 0, "running_requests_mean": 0},
        {"speculative_acceptance": 0.8, "gpu_throttled_share": 0.01},
    ],
)
def test_nothing_is_said_where_the_figures_say_nothing(conditions: dict[str, float]) -> None:
    assert limiting_factor(trial(level(**conditions))) == ""


def test_the_level_of_the_score_comes_first_then_the_heaviest() -> None:
    quiet, low, high = level(1), level(8, preemptions=2.0), level(64, preemptions=9.0)
    assert limiting_factor(trial(quiet, low, high, scored=1)).startswith("D(1000,10) at concurrency 8: 2 preemptions")
    assert limiting_factor(trial(quiet, low, high)).startswith("D(1000,10) at concurrency 64: 9 preemptions")
    assert limiting_factor(trial(quiet)) == ""


def test_every_rule_has_a_source_and_uses_figures_that_are_recorded() -> None:
    for rule in RULES:
        assert rule.sources and all(one.startswith("https://") for one in rule.sources)
        assert {*rule.least, *rule.most, *rule.absent, *rule.shown} <= {*CONDITIONS, "waiting_share"}


def test_many_hits_of_the_prefix_cache_are_doubtful_and_more_are_invalid() -> None:
    few, some, most = (level(prefix_cache_hit_rate=share) for share in (0.1, 0.3, 0.95))
    assert few.notes == most.notes == ()
    assert some.notes == (
        "30% of its prompt tokens came from the engine's prefix cache, though prompts do not repeat: other prompts "
        "take longer",
    )
    found = [invalid_hits(one.level.scenario, one.figures, one.conditions) for one in (few, some, most)]
    assert found == [
        "",
        "",
        "95% of its prompt tokens came from the engine's prefix cache, though prompts do not repeat, so they were not "
        "computed",
    ]


def test_a_chat_template_and_a_dataset_may_be_cached() -> None:
    template = level(tokens_in=64, scenario="D(64,10)", prefix_cache_hit_rate=0.65)
    dataset = level(scenario="dataset", prefix_cache_hit_rate=0.95)
    for one in (template, dataset):
        assert one.notes == ()
        assert not invalid_hits(one.level.scenario, one.figures, one.conditions)


def test_a_shared_prefix_may_be_cached_but_not_more() -> None:
    expected = level(tokens_in=512, scenario="prefix(384)+D(128,10)", prefix_cache_hit_rate=0.8)
    assert expected.notes == ()
    more = level(tokens_in=512, scenario="mix(1*D(512,10),1*prefix(384)+D(128,10))", prefix_cache_hit_rate=0.95)
    assert "95% of its prompt tokens came from the engine's prefix cache" in invalid_hits(
        more.level.scenario, more.figures, more.conditions
    )


@pytest.mark.parametrize(
    ("counted", "note"),
    [
        (1000.0, ""),
        (930.0, ""),
        # What was in flight at the begin and the end.
        (1300.0, ""),
        (400.0, "the engine generated 400 tokens, the benchmark counted about 1,000"),
        (2100.0, "the engine generated 2,100 tokens, the benchmark counted about 1,000"),
    ],
)
def test_tokens_that_engine_and_benchmark_count_differently_are_noted(counted: float, note: str) -> None:
    assert level(engine_output_tokens=counted).notes == ((note,) if note else ())
