"""Why a trial is not faster, from what its engine and its GPUs reported: one line, empty where the figures say nothing.

The rules are data; each names the source of what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.trial import Trial

_VLLM = "https://docs.vllm.ai/en/stable/configuration/optimization/#preemption"
#: Below it, the mean of a level's samples may come from one or two of them.
_FEWEST_WAITING = 0.25
_SGLANG = "https://docs.sglang.io/advanced_features/hyperparameter_tuning.html"


@dataclass(frozen=True)
class Rule:
    """What it means if figures are within bounds, and which flags change it, by engine.

    ``least`` and ``most`` are bounds of the figures that are named; ``absent`` are figures that must be unknown.
    """

    says: str
    flags: Mapping[str, str]
    sources: tuple[str, ...]
    least: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    #: More figures that are shown if they are known.
    shown: tuple[str, ...] = ()

    def holds(self, figures: Mapping[str, float]) -> bool:
        return (
            all(name in figures and figures[name] >= bound for name, bound in self.least.items())
            and all(name in figures and figures[name] <= bound for name, bound in self.most.items())
            and not any(name in figures for name in self.absent)
        )


#: The first one that holds is shown. ``waiting_share`` is the share of waiting requests in those that the engine has.
RULES = (
    Rule(
        "memory-bound",
        {
            "vllm": "max_num_seqs or gpu_memory_utilization",
            "sglang": "schedule_conservativeness or mem_fraction_static",
        },
        (_VLLM, _SGLANG),
        least={"preemptions": 1},
        shown=("kv_cache_usage_max",),
    ),
    Rule(
        "requests wait for room in the KV cache",
        {"vllm": "gpu_memory_utilization or kv_cache_dtype", "sglang": "mem_fraction_static or kv_cache_dtype"},
        ("https://docs.vllm.ai/en/stable/configuration/conserving_memory/", _SGLANG),
        least={"waiting_share": 0.1, "waiting_requests_mean": _FEWEST_WAITING, "kv_cache_usage_max": 0.95},
        shown=("waiting_requests_mean",),
    ),
    Rule(
        "requests wait though the KV cache has room",
        {
            "vllm": "max_num_seqs or max_num_batched_tokens",
            "sglang": "max_running_requests or schedule_conservativeness",
        },
        (_SGLANG,),
        least={"waiting_share": 0.1, "waiting_requests_mean": _FEWEST_WAITING},
        most={"kv_cache_usage_max": 0.9},
        shown=("waiting_requests_mean", "running_requests_mean"),
    ),
    Rule(
        "requests wait for a slot",
        {"llama_cpp": "parallel"},
        ("https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",),
        least={"waiting_share": 0.1, "waiting_requests_mean": _FEWEST_WAITING},
        absent=("kv_cache_usage_max",),
        shown=("waiting_requests_mean", "running_requests_mean"),
    ),
    Rule(
        "most of the work on drafts is lost",
        {
            "vllm": "num_speculative_tokens of speculative_config",
            "sglang": "speculative_num_draft_tokens",
            "llama_cpp": "spec_draft_n_max",
        },
        ("https://docs.vllm.ai/en/stable/features/spec_decode/",),
        most={"speculative_acceptance": 0.4},
    ),
    Rule(
        "the GPUs were slowed down to limit their power or heat",
        {},
        ("https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html",),
        least={"gpu_throttled_share": 0.1},
        shown=("gpu_clock_mean_mhz", "gpu_power_mean_w"),
    ),
)
#: How figures are shown, in this order.
_TEXTS = {
    "kv_cache_usage_max": "KV cache {:.0%} full",
    "preemptions": "{:.0f} preemptions",
    "waiting_requests_mean": "{:.3g} requests waiting on average",
    "running_requests_mean": "{:.3g} running",
    "speculative_acceptance": "{:.0%} of draft tokens accepted",
    "gpu_throttled_share": "GPU clocks reduced in {:.0%} of the samples",
    "gpu_clock_mean_mhz": "{:.0f} MHz on average",
    "gpu_power_mean_w": "{:.0f} W",
}


def limiting_factor(trial: Trial) -> str:
    """Return in a line what limited a trial, and which flags change that; empty if no rule holds.

    The level of the score comes first, then the others, the heaviest first.
    """
    scored = trial.scored_measurement
    heaviest = sorted(trial.measurements, key=lambda one: (-one.level.rate, -one.level.concurrency))
    for measured in [*([scored] if scored is not None else []), *(one for one in heaviest if one is not scored)]:
        figures = _figures(measured)
        rule = next((rule for rule in RULES if rule.holds(figures)), None)
        if rule is not None:
            return _text(rule, figures, trial, measured)
    return ""


def _figures(measured: Measurement) -> dict[str, float]:
    found = dict(measured.conditions)
    waiting, running = found.get("waiting_requests_mean"), found.get("running_requests_mean")
    if waiting is not None and running is not None and waiting + running > 0:
        found["waiting_share"] = waiting / (waiting + running)
    return found


def _text(rule: Rule, figures: Mapping[str, float], trial: Trial, measured: Measurement) -> str:
    names = {*rule.least, *rule.most, *rule.shown}
    shown = [text.format(figures[name]) for name, text in _TEXTS.items() if name in names and name in figures]
    where = f"{measured.level}: " if len(trial.measurements) > 1 else ""
    flags = rule.flags.get(str(trial.fingerprint.get("engine")), "")
    return f"{where}{', '.join(shown)}: {rule.says}{f'; {flags}' if flags else ''}"
