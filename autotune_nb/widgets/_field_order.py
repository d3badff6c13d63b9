"""The sections of the form and the order of their fields: those that matter first, the rest folded."""

from __future__ import annotations

from dataclasses import dataclass

WEIGHTS = "model.random_weights"


@dataclass(frozen=True)
class Section:
    """A section of the form: ``more`` are the fields behind the button ``fold``; its tables fold too if ``folded``.

    A ``wide`` section has the form's whole width.
    """

    title: str
    common: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    fold: str = ""
    wide: bool = False
    folded: bool = False


def _of(section: str, names: str) -> tuple[str, ...]:
    return tuple(f"{section}.{name}" for name in names.split())


SECTIONS = (
    Section(
        "Model and engine",
        (
            "name",
            *_of("engine", "kind command"),
            *_of("model", "id_or_path"),
            *_of(WEIGHTS, "layers hidden_size"),
            *_of("deploy", "kind image"),
        ),
        (
            "description",
            *_of("engine", "args raw_args executable env health_path"),
            *_of("model", "tokenizer served_name trust_remote_code namespace"),
            *_of(WEIGHTS, "feed_forward_size kv_heads context_length seed"),
        ),
        "Notes, fixed flags, tokenizer",
    ),
    Section(
        "Traffic",
        _of("workload", "scenarios concurrency seconds_per_level requests_per_level"),
        _of(
            "workload",
            "load_search.high load_search.low load_search.step rate arrival batch_sizes task request_params "
            "dataset.path dataset.column dataset.prompt dataset.image_column dataset.config "
            "goodput precision max_seconds_per_level warmup_requests warmup_ratio "
            "max_failed_requests min_completed_requests min_output_ratio",
        ),
        "Load search, request rates, own prompts",
    ),
    Section(
        "Objective and limits",
        _of("objective", "direction figure at"),
        _of("slo", "figure limits steepness"),
        "Soft limits",
    ),
    Section(
        "Budget",
        ("budget.trials", "budget.minutes", "budget.usd", "confirm.rounds", "strategy.sampler"),
        (
            *_of("price", "usd_per_gpu_hour usd_per_hour"),
            *_of("budget", "gpu_hours patience max_failures baseline remeasure_default cut"),
            *_of("confirm", "budget margin alpha"),
            *_of("strategy", "seed options"),
            "warm_start",
            *_of("on_end", "command webhook"),
            *_of("tracking", "kind uri experiment"),
            "artifacts.url",
        ),
        "Prices, when to stop, confirmation, at the end",
    ),
    Section("Parameters to search", wide=True),
    Section("Rules", fold="Rules between parameters", wide=True, folded=True),
    Section(
        "Where it runs",
        (),
        (
            *_of("deploy", "parallel gpus gpus_per_trial host port caches"),
            *_of("deploy", "pull shm_size user network volumes run_args"),
            *_of("deploy", "runtime namespace kubeconfig context resources gpu_resource templates"),
            *_of("deploy", "clusterbasemodel clusterservingruntime table noise noise_within"),
        ),
        "Where it runs: GPUs, trials at a time, containers, cluster, replay",
        wide=True,
    ),
    Section(
        "How it is measured",
        (),
        (
            *_of("quality", "enabled prompts tokens min_agreement max_kl"),
            *_of("benchmark", "kind executable backend executor results results_size api_key image pod"),
            *_of("deadlines", "ready_s pending_s probe_s benchmark_s surroundings_s stop_s"),
        ),
        "How it is measured: answers, benchmark program, deadlines",
        wide=True,
    ),
)
WIDE = (
    "description",
    "deploy.clusterbasemodel",
    "deploy.clusterservingruntime",
    "benchmark.pod",
    "engine.command",
    "engine.args",
)
