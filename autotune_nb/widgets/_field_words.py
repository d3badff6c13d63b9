"""The words of the form: the labels of fields, the names of their values, and what an empty field shows."""

from __future__ import annotations

import re
from collections.abc import Mapping

from autotune_nb.task.parameters import NO_VALUES

#: The labels of fields; the key of the task file is in the tooltip.
LABELS: Mapping[str, str] = {
    "name": "Name of the study",
    "description": "Notes",
    "engine.kind": "Engine",
    "engine.command": "Command line",
    "engine.args": "Flags of every trial",
    "engine.raw_args": "More arguments",
    "engine.executable": "Program",
    "engine.env": "Environment variables",
    "engine.health_path": "Path of health check",
    "model.id_or_path": "Path or name",
    "model.tokenizer": "Tokenizer",
    "model.served_name": "Model name in requests",
    "model.trust_remote_code": "Run the model's code",
    "model.namespace": "Model's namespace",
    "model.random_weights.layers": "Layers",
    "model.random_weights.hidden_size": "Hidden size",
    "model.random_weights.feed_forward_size": "Feed-forward size",
    "model.random_weights.kv_heads": "KV heads",
    "model.random_weights.context_length": "Context length",
    "model.random_weights.seed": "Seed of the weights",
    "workload.scenarios": "Tokens in and out",
    "workload.concurrency": "Requests at a time",
    "workload.seconds_per_level": "Seconds per level",
    "workload.requests_per_level": "Requests per level",
    "workload.max_seconds_per_level": "Longest level, seconds",
    "workload.load_search.high": "Search load up to",
    "workload.load_search.low": "Search load from",
    "workload.load_search.step": "Steps of the search",
    "workload.rate": "Requests per second",
    "workload.arrival": "Requests arrive",
    "workload.batch_sizes": "Batch sizes",
    "workload.task": "Kind of requests",
    "workload.request_params": "Fields of each request",
    "workload.dataset.path": "File of prompts",
    "workload.dataset.column": "Column of prompts",
    "workload.dataset.prompt": "Prompt template",
    "workload.dataset.image_column": "Column of images",
    "workload.dataset.config": "Dataset options",
    "workload.goodput": "Goodput requires",
    "workload.precision": "Precision of a level",
    "workload.warmup_requests": "Warm-up requests",
    "workload.warmup_ratio": "Share for warm-up",
    "workload.max_failed_requests": "Failed requests allowed",
    "workload.min_completed_requests": "Requests needed",
    "workload.min_output_ratio": "Share of output needed",
    "objective.direction": "Find the",
    "objective.figure": "value of",
    "objective.at": "at the level",
    "slo.figure": "Figure of slo_score",
    "slo.limits": "Soft limits",
    "slo.steepness": "Steepness",
    "budget.trials": "Trials, at most",
    "budget.minutes": "Minutes, at most",
    "budget.usd": "US dollars, at most",
    "budget.gpu_hours": "GPU-hours, at most",
    "budget.patience": "Stop without gain after",
    "budget.max_failures": "Failures, at most",
    "budget.baseline": "Measure the default",
    "budget.remeasure_default": "Measure it again later",
    "budget.cut": "End hopeless trials early",
    "on_end.command": "Command at the end",
    "on_end.webhook": "Webhook at the end",
    "tracking.kind": "Experiment tracker",
    "tracking.uri": "Tracking server",
    "tracking.experiment": "Experiment",
    "artifacts.url": "Copies of artifacts",
    "price.usd_per_gpu_hour": "$ per GPU-hour",
    "price.usd_per_hour": "$ per machine-hour",
    "confirm.rounds": "Rounds of confirmation",
    "confirm.budget": "Starts of confirmation",
    "confirm.margin": "Smallest useful gain",
    "confirm.alpha": "Risk of a false gain",
    "strategy.sampler": "Search strategy",
    "strategy.seed": "Seed of the search",
    "strategy.options": "Strategy options",
    "warm_start": "Previous studies",
    "quality.enabled": "Compare the answers",
    "quality.prompts": "Prompts to compare",
    "quality.tokens": "Tokens per answer",
    "quality.min_agreement": "Agreement, at least",
    "quality.max_kl": "KL divergence, at most",
    "deadlines.ready_s": "Seconds to start",
    "deadlines.pending_s": "Seconds to get GPUs",
    "deadlines.probe_s": "Seconds to warm up",
    "deadlines.benchmark_s": "Seconds to measure",
    "deadlines.surroundings_s": "Seconds without cluster",
    "deadlines.stop_s": "Seconds to stop",
    "deploy.kind": "Runs on",
    "deploy.image": "Image",
    "deploy.parallel": "Trials at a time",
    "deploy.gpus": "GPUs to use",
    "deploy.gpus_per_trial": "GPUs per trial",
    "deploy.host": "Host",
    "deploy.port": "Port",
    "deploy.caches": "Keep compile caches",
    "deploy.pull": "Pull the image",
    "deploy.shm_size": "Shared memory",
    "deploy.user": "User in the container",
    "deploy.network": "Network",
    "deploy.volumes": "Volumes",
    "deploy.run_args": "Options of run",
    "deploy.runtime": "Runtime",
    "deploy.namespace": "Namespace",
    "deploy.kubeconfig": "Kubeconfig file",
    "deploy.context": "Context",
    "deploy.resources": "Resources of a pod",
    "deploy.gpu_resource": "Name of a GPU resource",
    "deploy.templates": "Folder of templates",
    "deploy.clusterbasemodel": "ClusterBaseModel",
    "deploy.clusterservingruntime": "ClusterServingRuntime",
    "deploy.table": "Recorded table",
    "deploy.noise": "Noise between starts",
    "deploy.noise_within": "Noise between levels",
    "benchmark.kind": "Benchmark program",
    "benchmark.executable": "Benchmark executable",
    "benchmark.backend": "API of requests",
    "benchmark.executor": "In a cluster it runs as",
    "benchmark.results": "Results of jobs",
    "benchmark.results_size": "Size of results claim",
    "benchmark.api_key": "API key",
    "benchmark.image": "Benchmark image",
    "benchmark.pod": "Fields of its pods",
}
#: The names of values in a list to choose from.
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "engine.kind": {"llama_cpp": "llama.cpp", "vllm": "vLLM", "sglang": "SGLang", "command": "another, by its command"},
    "objective.direction": {"maximize": "highest", "minimize": "lowest"},
    "deploy.kind": {
        "local": "this machine",
        "container": "containers on this machine",
        "ome": "Kubernetes with OME",
        "replay": "a recorded table (replay)",
    },
}
#: The placeholders of empty fields.
PLACEHOLDERS: Mapping[str, str] = {
    "model.id_or_path": "Qwen/Qwen3-8B, or a path",
    "model.tokenizer": "the model's own",
    "model.served_name": "the model's name",
    "model.namespace": "for OME",
    "model.random_weights.kv_heads": "half the heads",
    "engine.executable": "the engine's own",
    "engine.command": "my-server --listen {host}:{port} --weights {model}",
    "engine.args": "such as flag: value, other_flag: value",
    "engine.raw_args": "such as --verbose",
    "engine.env": "such as NAME: value",
    "engine.health_path": "the engine's own",
    "workload.scenarios": "such as D(512,128): 512 tokens in, 128 out",
    "workload.concurrency": "such as 1, 4, 8",
    "workload.rate": "such as 1, 4, 16",
    "workload.request_params": "such as top_k: 1",
    "workload.dataset.path": "for the scenario dataset, such as prompts.csv",
    "workload.dataset.config": "such as split: train",
    "objective.at": "best, or concurrency: 8",
    "strategy.options": "such as multivariate: true",
    "warm_start": "such as runs/qwen3",
    "budget.trials": "20, or the whole grid",
    "budget.minutes": "no limit",
    "budget.patience": "so many trials, or auto",
    "budget.gpu_hours": "no limit",
    "budget.usd": "no limit; needs a price",
    "budget.remeasure_default": "if the study is long",
    "price.usd_per_gpu_hour": "such as 2.5",
    "price.usd_per_hour": "such as 0.4",
    "confirm.rounds": "no confirmation",
    "budget.max_failures": "5, until one completes",
    "deadlines.benchmark_s": "computed from the load levels",
    "deploy.image": "such as vllm/vllm-openai:v0.33.0",
    "deploy.port": "a free one",
    "deploy.gpus": "how many, or which: 0, 1",
    "deploy.gpus_per_trial": "computed from the engine's flags",
    "deploy.runtime": "for OME",
    "deploy.namespace": "the context's",
    "deploy.kubeconfig": "$KUBECONFIG or ~/.kube/config",
    "deploy.context": "the current context",
    "deploy.resources": "cpu: 8, memory: 64Gi",
    "deploy.templates": "a folder of templates",
    "workload.load_search.high": "such as 256",
    "slo.figure": "such as e2e_latency_mean_s",
    "slo.limits": "such as ttft_mean_s <= 1: 2",
    "workload.goodput": "such as ttft_s: 0.5, tpot_s: 0.05",
    "workload.precision": "empty: no level goes on for it",
    "workload.max_seconds_per_level": "1.5 times the seconds",
    "benchmark.results": "pvc://CLAIM/FOLDER",
    "benchmark.results_size": "such as 10Gi, to create the claim",
    "benchmark.image": "the published one",
    "benchmark.backend": "the engine's",
}
NEEDED = "is needed"
#: Messages of the task's checks in the words of a form.
_MESSAGES = {
    "field required": NEEDED,
    NO_VALUES: "write the values to search, such as 1, 2, 4, or select the type int or float for a range",
    "give either id_or_path or random_weights": f"{NEEDED}: a file or folder, or a name such as Qwen/Qwen3-8B",
}
#: Parts of pydantic's messages.
_WORDS = (
    (r"input should be a valid integer(?:, [^,]*)?, not (.+)", r"\1 is not a whole number"),
    (r"input should be a valid number(?:, [^,]*)?, not (.+)", r"\1 is not a number"),
    (r"input should be greater than or equal to", "must be at least"),
    (r"input should be less than or equal to", "must be at most"),
    (r"input should be greater than", "must be more than"),
    (r"input should be less than", "must be less than"),
    (r"^\[(\d+)\]: ", lambda found: f"value {int(found[1]) + 1}: "),
    (
        r"input should be a multiple of (\d+), not (\d+)",
        lambda found: (
            f"must be a multiple of {found[1]}, such as {_multiple(*map(int, found.groups()))}, not {found[2]}"
        ),
    ),
)


def _multiple(of: int, near: int) -> int:
    return max(1, round(near / of)) * of


def label_of(path: str) -> str:
    """Return the label of a field, or of what an error's field belongs to; empty for a section as a whole."""
    name = path
    while name and name not in LABELS:
        name = re.sub(r"(\.|^)[^.\[]*$|\[[^\[]*$", "", name)
    return LABELS.get(name, "")


def plain(message: str) -> str:
    """Return an error's message in the words of the form."""
    if message in _MESSAGES:
        return _MESSAGES[message]
    for pattern, words in _WORDS:
        message = re.sub(pattern, words, message)
    return message
