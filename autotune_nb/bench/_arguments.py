"""genai-bench's command-line arguments for a task, for a local process and for a Job."""

from __future__ import annotations

import json
import math

from autotune_nb.task.task import Task
from autotune_nb.task.workload import BATCH_TASKS

#: The folder of genai-bench's result files, inside ``folder``.
RESULTS = "genai-bench"
#: genai-bench requires a key; a real one is passed by an environment variable.
_PLACEHOLDER_KEY = "no-key"


#: genai-bench's backends that send ``ignore_eos``; its backend openai drops it, and is the same otherwise.
_IGNORE_EOS = ("vllm", "sglang")


def backend_of(task: Task, engines_own: str, accepts_ignore_eos: bool | None) -> str:
    """Return the backend: the task's, or one that sends ``ignore_eos`` if and only if the server accepts it."""
    if task.benchmark.backend is not None or accepts_ignore_eos is None:
        return task.benchmark.backend or engines_own
    if not accepts_ignore_eos:
        return "openai" if engines_own in _IGNORE_EOS else engines_own
    return "vllm" if engines_own == "openai" else engines_own


def arguments(
    task: Task,
    *,
    backend: str,
    engine: str | None,
    url: str,
    model: str,
    tokenizer: str,
    gpu_count: int,
    folder: str,
    whole_minutes: bool,
) -> list[str]:
    """Return the arguments. Between trials only the server's address and the folder differ."""
    workload = task.workload
    seconds = workload.seconds_per_level
    argv = [
        "benchmark",
        *("--api-backend", backend),
        *("--api-base", url),
        *("--api-key", _PLACEHOLDER_KEY),
        *("--api-model-name", model),
        *("--model-tokenizer", tokenizer),
        *("--task", workload.task),
        *("--max-time-per-run", str(math.ceil(seconds / 60)) if whole_minutes else minutes_text(seconds)),
        *("--max-requests-per-run", str(workload.requests_per_level)),
    ]
    for scenario in workload.scenarios:
        argv += ["--traffic-scenario", scenario]
    if workload.task in BATCH_TASKS:
        for size in workload.batch_sizes:
            argv += ["--batch-size", str(size)]
    else:
        for concurrency in workload.concurrency:
            argv += ["--num-concurrency", str(concurrency)]
    if workload.warmup_ratio:
        argv += ["--warmup-ratio", f"{workload.warmup_ratio:g}"]
    if workload.request_params:
        argv += ["--additional-request-params", json.dumps(workload.request_params, sort_keys=True)]
    if engine is not None:
        argv += ["--server-engine", engine]
    if gpu_count:
        argv += ["--server-gpu-count", str(gpu_count)]
    return [
        *argv,
        *("--experiment-base-dir", folder),
        *("--experiment-folder-name", RESULTS),
        *("--log-dir", folder),
    ]


def trusts_tokenizer(task: Task) -> bool:
    """Whether a tokenizer may run the code that comes with it, as the task or the engine's flags allow."""
    args = task.engine.args
    given = args.get("trust_remote_code", args.get("trust-remote-code", "--trust-remote-code" in task.engine.raw_args))
    return task.model.trust_remote_code or given is True


def minutes_text(seconds: int) -> str:
    """Return genai-bench's minutes for whole seconds; times 60 and rounded, they are the same seconds."""
    return str(seconds // 60) if seconds % 60 == 0 else repr(seconds / 60)
