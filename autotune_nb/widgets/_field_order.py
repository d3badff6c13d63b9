"""The sections of the form and the order of their fields: common ones first, the rest behind a button."""

from __future__ import annotations

from dataclasses import dataclass

WEIGHTS = "model.random_weights"


@dataclass(frozen=True)
class Section:
    title: str
    common: tuple[str, ...]
    more: tuple[str, ...] = ()


def _of(section: str, names: str) -> tuple[str, ...]:
    return tuple(f"{section}.{name}" for name in names.split())


SECTIONS = (
    Section(
        "Study",
        ("name", "description"),
        _of("on_end", "command webhook"),
    ),
    Section(
        "Engine and model",
        (
            *_of("engine", "kind command args"),
            *_of("model", "id_or_path tokenizer"),
            *_of(WEIGHTS, "layers hidden_size feed_forward_size kv_heads context_length seed"),
        ),
        (
            *_of("model", "served_name trust_remote_code namespace"),
            *_of("engine", "executable raw_args env health_path"),
        ),
    ),
    Section("Parameters", ()),
    Section("Rules", ()),
    Section(
        "Workload",
        _of("workload", "scenarios concurrency load_search.high seconds_per_level requests_per_level"),
        _of(
            "workload",
            "load_search.low load_search.step goodput precision max_seconds_per_level "
            "task rate arrival batch_sizes warmup_requests warmup_ratio request_params "
            "max_failed_requests min_completed_requests min_output_ratio "
            "dataset.path dataset.column dataset.prompt dataset.image_column dataset.config",
        ),
    ),
    Section("Objective and limits", _of("objective", "direction figure at"), _of("slo", "figure limits steepness")),
    Section(
        "Strategy and budget",
        (
            *_of("strategy", "sampler"),
            *_of("budget", "trials minutes patience baseline cut remeasure_default"),
            "confirm.rounds",
        ),
        (
            *_of("strategy", "seed options"),
            *_of("budget", "max_failures gpu_hours usd"),
            *_of("price", "usd_per_gpu_hour usd_per_hour"),
            *_of("confirm", "budget margin alpha"),
            *_of("quality", "enabled prompts tokens min_agreement max_kl"),
            *_of("deadlines", "ready_s pending_s probe_s benchmark_s surroundings_s stop_s"),
        ),
    ),
    Section(
        "Where it runs",
        _of("deploy", "kind image parallel gpus gpus_per_trial"),
        (
            *_of("deploy", "pull shm_size volumes user network run_args"),
            *_of("deploy", "host port runtime namespace kubeconfig context resources gpu_resource templates caches"),
            *_of("deploy", "clusterbasemodel clusterservingruntime table noise noise_within"),
            *_of("benchmark", "kind executable backend executor results results_size api_key image pod"),
        ),
    ),
)
WIDE = (
    "description",
    "deploy.clusterbasemodel",
    "deploy.clusterservingruntime",
    "benchmark.pod",
    "engine.command",
    "engine.args",
    "workload.scenarios",
)
