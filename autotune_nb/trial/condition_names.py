"""The names of the conditions under which a level was measured."""

from __future__ import annotations

#: What else could change a level's figures: the load of the machine that runs the study (of the last minute), the mean
#: number of CPUs that this process with the benchmark and the engine used, the share of all CPUs that processes used
#: which are not the study's, the frequency of the CPUs, the clocks, power and heat of the engine's GPUs, the share of
#: the samples in which these slowed them down, and how many foreign processes computed on them; the mean latency of the
#: second half of the level's requests divided by that of the first half; and what the engine itself reports: requests
#: and the share of its KV cache, the requests that it preempted, the shares of prompt tokens that its prefix cache had
#: and of draft tokens that it accepted, and the tokens that it generated. A measurement has those that could be
#: recorded.
CONDITIONS: tuple[str, ...] = (
    "e2e_latency_drift",
    "machine_load_per_core",
    "tool_cpu_cores",
    "engine_cpu_cores",
    "other_cpu_share",
    "cpu_frequency_mean_mhz",
    *("gpu_clock_mean_mhz", "gpu_clock_min_mhz", "gpu_power_mean_w", "gpu_power_max_w"),
    *("gpu_temperature_max_c", "gpu_throttled_share", "gpu_foreign_processes"),
    *(f"{name}_{stat}" for name in ("running_requests", "waiting_requests") for stat in ("mean", "max")),
    *("kv_cache_usage_mean", "kv_cache_usage_max", "preemptions", "prefix_cache_hit_rate", "speculative_acceptance"),
    "engine_output_tokens",
)
