"""Which Prometheus metrics of an engine give which figures, and reading them from what ``/metrics`` returns.

The names differ by engine and version, and start with the engine's own prefix, so that one table serves all engines:
vLLM's are defined in its vllm/v1/metrics/loggers.py and vllm/v1/spec_decode/metrics.py, SGLang's in its
python/sglang/srt/observability/metrics_collector.py, llama.cpp's in its tools/server/server-task.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PATH = "/metrics"


@dataclass(frozen=True)
class Metric:
    """A metric that gives a figure.

    Of ``names``, the first that the page has is read, among samples with these ``labels``. ``combine`` is how the
    values of several replicas become one.
    """

    figure: str
    names: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    combine: Literal["sum", "max"] = "sum"


#: What an engine reports about itself at a moment.
GAUGES = (
    Metric(
        "running_requests", ("vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing")
    ),
    Metric("waiting_requests", ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred")),
    # vLLM's second name is that of versions before 0.11; llama.cpp had its metric until May 2025.
    Metric(
        "kv_cache_usage",
        (
            "vllm:kv_cache_usage_perc",
            "vllm:gpu_cache_usage_perc",
            "sglang:token_usage",
            "llamacpp:kv_cache_usage_ratio",
        ),
        combine="max",
    ),
    # SGLang has no counters of draft tokens.
    Metric("speculative_acceptance", ("sglang:spec_accept_rate",), combine="max"),
)
#: What it has counted since its start.
COUNTERS = (
    Metric("preemptions", ("vllm:num_preemptions_total", "sglang:num_retracted_requests_total")),
    Metric("cached_tokens", ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total")),
    Metric("sought_tokens", ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total")),
    Metric("cached_tokens", ("sglang:realtime_tokens_total",), {"mode": "prefill_cache"}),
    Metric("computed_tokens", ("sglang:realtime_tokens_total",), {"mode": "prefill_compute"}),
    # Versions of SGLang without the metric above count when a request ends.
    Metric("cached_tokens", ("sglang:cached_tokens_total",)),
    Metric("sought_tokens", ("sglang:prompt_tokens_total",)),
    # llama.cpp's second count excludes the tokens of the first.
    Metric("cached_tokens", ("llamacpp:prompt_tokens_cached_total",)),
    Metric("computed_tokens", ("llamacpp:prompt_tokens_total",)),
    Metric(
        "accepted_tokens",
        ("vllm:spec_decode_num_accepted_tokens_total", "llamacpp:spec_decode_num_accepted_tokens_total"),
    ),
    Metric(
        "drafted_tokens", ("vllm:spec_decode_num_draft_tokens_total", "llamacpp:spec_decode_num_draft_tokens_total")
    ),
    Metric("output_tokens", ("sglang:realtime_tokens_total",), {"mode": "decode"}),
    Metric(
        "output_tokens",
        ("vllm:generation_tokens_total", "sglang:generation_tokens_total", "llamacpp:tokens_predicted_total"),
    ),
)
#: Labels of samples that are the same figure again, such as each GPU's view of one scheduler, or a part of it.
_SHARDS = frozenset({"tp_rank", "pp_rank", "moe_ep_rank", "priority", "pid"})
_NAMES = frozenset(name for metric in (*GAUGES, *COUNTERS) for name in metric.names)


def read_metrics(page: str) -> dict[str, float]:
    """Return the figures of a page in Prometheus' text format; empty if it has none of these metrics.

    Raises ValueError if a line of one of these metrics is malformed.
    """
    # A page of vLLM has thousands of lines, nearly all of them of histograms.
    lines = [line for line in page.split("\n") if line.partition("{")[0].partition(" ")[0] in _NAMES]
    if not lines:
        return {}
    # Imports a web server, which takes longer than reading many pages.
    from prometheus_client.parser import text_string_to_metric_families

    samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for one in family.samples:
            if math.isfinite(one.value):
                key = frozenset((label, value) for label, value in one.labels.items() if label not in _SHARDS)
                known = samples.setdefault(one.name, {})
                known[key] = max(one.value, known.get(key, one.value))
    found: dict[str, float] = {}
    for metric in (*GAUGES, *COUNTERS):
        values = _values(metric, samples)
        if values and metric.figure not in found:
            found[metric.figure] = max(values) if metric.combine == "max" else math.fsum(values)
    if "computed_tokens" in found:
        # The count of the same metric as that of the cached ones.
        found.pop("sought_tokens", None)
    return found


def _values(metric: Metric, samples: Mapping[str, Mapping[frozenset[tuple[str, str]], float]]) -> list[float]:
    wanted = set(metric.labels.items())
    for name in metric.names:
        if values := [value for labels, value in samples.get(name, {}).items() if wanted <= labels]:
            return values
    return []
