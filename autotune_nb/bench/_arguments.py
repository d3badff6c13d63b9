"""genai-bench's command-line arguments for a task, for a local process and for a Job."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from autotune_nb.bench._single_requests import REQUEST_FIELDS
from autotune_nb.task.task import Task
from autotune_nb.task.workload import BATCH_TASKS
from autotune_nb.trial.measurement import Level

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
    levels: Sequence[Level] = (),
    dataset: Sequence[str] = (),
) -> list[str]:
    """Return the arguments for these levels, or all of the task's; ``dataset`` are those for its dataset.

    Between trials only the server's address, the folder and the levels differ.
    """
    workload = task.workload
    run = run_order(levels or workload.levels)
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
    for scenario in dict.fromkeys(level.scenario for level in run):
        argv += ["--traffic-scenario", scenario]
    argv += dataset
    batches = in_batches(task)
    for load in dict.fromkeys(level.batch_size if batches else level.concurrency for level in run):
        argv += ["--batch-size" if batches else "--num-concurrency", str(load)]
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


def level_plan(task: Task) -> dict[str, Any]:
    """Return, as JSON, when the levels of a trial may end after their planned end (see ``_steady_state.LevelEnd``)."""
    workload, goal = task.workload, task.goal
    limits, scenarios = [], []
    for limit in goal.limits:
        if limit.tail is not None:
            field, _ = REQUEST_FIELDS.get(limit.tail.figure, (limit.tail.figure, 1.0))
            limits.append([field, limit.operator, limit.bound, limit.tail.share])
            scenarios.append(limit.scenario)
    level = goal.level
    return {
        "precision": workload.precision if workload.generates_text else None,
        "fewest": min(workload.min_completed_requests, workload.requests_per_level),
        "max_seconds": workload.longest_s,
        "limits": limits,
        # The scenario whose levels each limit bounds; empty for all.
        "limits_of": scenarios,
        # Limits count at this level only.
        "limits_at": level and [level.scenario, level.batch_size if in_batches(task) else level.concurrency],
    }


def in_batches(task: Task) -> bool:
    """Whether the load of a level is the size of its batches."""
    return task.workload.task in BATCH_TASKS


def run_order(levels: Sequence[Level]) -> tuple[Level, ...]:
    """Return levels in the order in which one run of genai-bench measures them: all loads of a scenario, then the next.

    The first level stays the first.
    """
    loads = dict.fromkeys((level.concurrency, level.batch_size) for level in levels)
    known = set(levels)
    every = (Level(name, *load) for name in dict.fromkeys(level.scenario for level in levels) for load in loads)
    return tuple(level for level in every if level in known)


def trusts_tokenizer(task: Task) -> bool:
    """Whether a tokenizer may run the code that comes with it, as the task or the engine's flags allow."""
    args = task.engine.args
    given = args.get("trust_remote_code", args.get("trust-remote-code", "--trust-remote-code" in task.engine.raw_args))
    return task.model.trust_remote_code or given is True


def minutes_text(seconds: int) -> str:
    """Return genai-bench's minutes for whole seconds; times 60 and rounded, they are the same seconds."""
    return str(seconds // 60) if seconds % 60 == 0 else repr(seconds / 60)
