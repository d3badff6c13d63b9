"""Which kind of benchmark a workload needs: genai-bench keeps a concurrency, aiperf sends requests at a rate."""

from __future__ import annotations

from collections.abc import Container

from autotune_nb.errors import TaskError
from autotune_nb.task.deploy_section import Deploy
from autotune_nb.task.sections import Benchmark
from autotune_nb.task.workload import Workload
from autotune_nb.trial.measurement import MAX_CONCURRENCY


def require_benchmark_kind(benchmark: Benchmark, workload: Workload, deploy: Deploy, figures: Container[str]) -> None:
    """Raise TaskError if the benchmark's kind cannot run the workload, or has none of the ``figures`` of the goal."""
    if benchmark.kind == "genai-bench":
        if workload.rate and deploy.kind != "replay":
            raise TaskError(
                "genai-bench holds a concurrency and sends at no rate; set benchmark.kind to aiperf, or give "
                "workload.concurrency in place of a rate",
                field="workload.rate",
            )
        return
    if not workload.rate:
        raise TaskError(
            "aiperf sends requests at a rate, and the workload has none; give rates in requests per second, such as "
            "[1, 4, 16], or set benchmark.kind to genai-bench",
            field="workload.rate",
        )
    if workload.concurrency != [1]:
        raise TaskError(
            f"{workload.concurrency} is given beside workload.rate {workload.rate}; give one of the two",
            field="workload.concurrency",
        )
    if workload.load_search.high is not None:
        raise TaskError("searches a concurrency, and aiperf sends at a rate; omit it", field="workload.load_search")
    if MAX_CONCURRENCY in figures:
        raise TaskError(f"{MAX_CONCURRENCY} needs levels of a concurrency, not of a rate", field="objective")
    if workload.task != "text-to-text":
        raise TaskError(f"aiperf runs text-to-text here, not {workload.task}", field="workload.task")
    if workload.dataset.path is not None:
        raise TaskError("aiperf sends generated prompts here; omit the dataset", field="workload.dataset.path")
    if workload.warmup_ratio:
        raise TaskError("aiperf has no warm-up ratio; omit it", field="workload.warmup_ratio")
    if benchmark.api_key is not None:
        raise TaskError(
            "aiperf takes the key only as an argument, which every process of the machine can read; use a server "
            "without a key, or benchmark.kind genai-bench",
            field="benchmark.api_key",
        )
    if deploy.kind == "ome" and benchmark.executor != "direct":
        raise TaskError(
            f"{benchmark.executor} runs genai-bench in the cluster; for benchmark.kind aiperf, set it to direct",
            field="benchmark.executor",
        )
