"""Simulated trials that resemble those of a real engine: eight parameters, three load levels, limits, failures."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.study import machine_fingerprint
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import FIGURES, Level, Measurement
from autotune_nb.trial.score import score
from autotune_nb.trial.trial import Trial, TrialState
from tests.stubs import World, level_data

_CONCURRENCY = (1, 8, 32)
_SCENARIO = "D(16,8)"
PARAMETERS: dict[str, Any] = {
    "max_num_seqs": {"type": "int", "low": 8, "high": 1024, "log": True},
    "max_num_batched_tokens": {"type": "int", "low": 1024, "high": 32768, "log": True},
    "gpu_memory_utilization": {"type": "float", "low": 0.7, "high": 0.95},
    "block_size": [16, 32, 64, 128],
    "enable_prefix_caching": {"type": "bool"},
    "async_scheduling": {"type": "bool"},
    "optimization_level": {"type": "int", "low": 0, "high": 3},
    "scheduling_policy": ["fcfs", "priority"],
}
DATA: dict[str, Any] = {
    "name": "benchmark",
    "model": "acme/eight-billion",
    "engine": "vllm",
    "parameters": PARAMETERS,
    "workload": {
        "scenarios": [_SCENARIO],
        "concurrency": list(_CONCURRENCY),
        "seconds_per_level": 60,
        "requests_per_level": 100,
    },
    "objective": "maximize output_tokens_per_s",
    "limits": ["ttft_p99_s <= 0.2", "tpot_mean_s <= 0.09"],
}
IMAGE_ID = "registry.example/vllm@sha256:" + "5f" * 32
_CLUSTER: dict[str, Any] = {
    "engine": "vllm",
    "model": {"name": "acme/eight-billion", "storage": "hf://acme/eight-billion"},
    "runtime": "vllm-eight-billion",
    "namespace": "tune",
    "kubernetes": "v1.34.1",
    "ome": ["v1beta1"],
    "benchmark": "genai-bench",
    "executor": "job",
    "benchmark_image": "registry.example/genai-bench:0.0.5",
}
_POD: dict[str, Any] = {
    "benchmark_image_id": "registry.example/genai-bench@sha256:" + "6a" * 32,
    "image": "registry.example/vllm:0.23.0",
    "image_id": IMAGE_ID,
    "gpus": ["2 x nvidia.com/gpu (nvidia.com/gpu.product: H100)"],
    "resources": {"cpu": "16", "memory": "128Gi"},
}
#: A crash as the package reports it.
_FAILURE = Failure(
    FailureKind.OUT_OF_MEMORY,
    "deploy",
    "the engine ended with code 1 before it answered",
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB", "RuntimeError: Engine core failed"),
    "lower gpu_memory_utilization or max_num_seqs",
)


def sample_task(trials: int) -> Task:
    """Return a task for a real engine, which is never started."""
    return Task.parse({**DATA, "budget": {"trials": trials, "baseline": False}})


def stub_levels(pause_s: float) -> dict[str, Any]:
    """Return arguments of ``World.task`` for a benchmark whose three levels end ``pause_s`` apart and vary by trial."""
    lines, levels = [], {}
    for n in _CONCURRENCY:
        file = f"D16_8_text-to-text_num_concurrency_{n}_time_2s.json"
        # A hidden file, which the script does not copy unchanged.
        levels[f".{file}"] = level_data(_SCENARIO, n, tokens_per_s=99.5)
        # So many requests of 8 tokens, in two seconds.
        lines.append(f"count=$(($$ % 24 + {15 * n}))")
        figures = "s/: 99[.]5,/: $((4 * count)).371,/; s/\\(num_[a-z_]*requests.: \\)10,/\\1$count,/g; "
        figures += f"s/: 0[.]2,/: 0.$(($$ % 79 + 10 + {n})),/g"
        lines.append(f'sed "{figures}" "$levels/.{file}" > "$out/part"; mv "$out/part" "$out/{file}"; sleep {pause_s}')
    return {"levels": levels, "before": "; ".join(lines)}


def stub_task(folder: Path, *, trials: int, pause_s: float) -> Task:
    """Return a task whose trials run stub engines in real processes, eight at the same time."""
    changes = {"deploy": {"parallel": 8}, "limits": ["ttft_p99_s <= 0.9"], "strategy": {"sampler": "random", "seed": 1}}
    return World(folder, DATA).task(trials=trials, **stub_levels(pause_s), **changes)


class Samples:
    """Creates trials from a fixed seed."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._random = random.Random(7)
        # Fingerprints as in a cluster: a part that all trials share, and a part for each pod.
        common = {"driver": machine_fingerprint(), **_CLUSTER, "seed": 7}
        self._failed, self._pods = common, [{**common, **_POD, "node": f"gpu-node-{n}"} for n in range(4)]

    def params(self) -> dict[str, Any]:
        dice = self._random
        return {
            "max_num_seqs": dice.randint(8, 1024),
            "max_num_batched_tokens": dice.randint(1024, 32768),
            "gpu_memory_utilization": round(dice.uniform(0.7, 0.95), 6),
            "block_size": dice.choice([16, 32, 64, 128]),
            "enable_prefix_caching": dice.random() < 0.5,
            "async_scheduling": dice.random() < 0.5,
            "optimization_level": dice.randint(0, 3),
            "scheduling_policy": dice.choice(["fcfs", "priority"]),
        }

    def measurements(self, params: dict[str, Any]) -> tuple[Measurement, ...]:
        """Return measurements with all figures, which depend on the parameters."""
        speed = 1 + params["max_num_seqs"] / 1024 + 0.2 * params["optimization_level"] + self._random.gauss(0, 0.1)
        return tuple(self._measurement(n, max(0.3, speed)) for n in _CONCURRENCY)

    def _measurement(self, concurrency: int, speed: float) -> Measurement:
        figures = {}
        for name in FIGURES:
            value = self._random.uniform(0.5, 1.5)
            if name.endswith("_s") and "per_s" not in name:
                value *= 0.02 * (1 + concurrency / 16) / speed
            elif "tokens_per_s" in name:
                value = 80 * speed * concurrency**0.7 * (1 + 0.1 * (value - 1))
            elif name.startswith(("input_tokens", "output_tokens")):
                value = 16.0
            figures[name] = value
        figures["ttft_p99_s"] *= 12
        figures["tpot_mean_s"] /= 2
        figures["e2e_latency_mean_s"] *= 20
        return Measurement(Level(_SCENARIO, concurrency), 60.2, 100, 100, 0, figures)

    def begun(self, number: int) -> Trial:
        return Trial(number, self.params())

    def ended(self, trial: Trial, measurements: tuple[Measurement, ...]) -> Trial:
        """Return the ended trial: with a score, or failed for every eleventh one."""
        flags = [word for name, value in trial.params.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        trial = trial.with_(
            seconds={"deploy": 41.31, "probe": 0.42, "benchmark": 187.002, "stop": 2.114},
            command=("vllm", "serve", "acme/eight-billion", "--port", "8000", *flags),
            fingerprint=self._pods[trial.number * 7 // 5 % len(self._pods)],
        )
        if crashes(trial.number):
            # No pod of it became ready.
            return trial.with_(state=TrialState.FAILED, failure=_FAILURE, fingerprint=self._failed)
        scored = score(measurements, self.task.goal)
        return trial.with_(state=TrialState.COMPLETE, measurements=measurements, score=scored)


def crashes(number: int) -> bool:
    return number % 11 == 5
