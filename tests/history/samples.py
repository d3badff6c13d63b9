"""Studies without a folder, made of trials with chosen values."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.history.comparison_report import ComparisonReport
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import score
from autotune_nb.trial.trial import Trial, TrialState
from tests.conftest import MINIMAL

RATE = "output_tokens_per_s"
LEVEL = Level("D(16,8)", 2)
FINGERPRINT = {
    "engine": "vllm",
    "engine_version": "0.10.0",
    "gpus": ["NVIDIA H200, 143771 MiB, 570.86"],
    "cpu": "Xeon",
    "cpu_count": 8,
}


@dataclass(frozen=True)
class Sample:
    """What a comparison reads of a study."""

    task: Task
    history: Sequence[Trial]


def sample_task(**changes: Any) -> Task:
    data = {**MINIMAL, "engine": "vllm", "model": "acme/eight-billion", "parameters": {"max_num_seqs": [1, 2, 4, 8]}}
    return Task.parse({**data, "limits": ["ttft_p99_s <= 1"], "objective": {**_OBJECTIVE, "at": 2}, **changes})


_OBJECTIVE = {"direction": "maximize", "figure": RATE}


def start(task: Task, number: int, rate: float, *, time: float = 0.5, seqs: int | None = None, **changes: Any) -> Trial:
    """A complete trial; without ``seqs`` one of the engine's default."""
    conditions = changes.pop("conditions", {})
    figures = {RATE: rate, "ttft_p99_s": time, "requests_per_s": rate / 8}
    measured = Measurement(LEVEL, 9.0, 9, 9, 0, figures, (), conditions)
    params = {} if seqs is None else {"max_num_seqs": seqs}
    trial = Trial(number, params, TrialState.COMPLETE, (measured,), score((measured,), task.goal))
    changes = {"fingerprint": FINGERPRINT, "baseline": seqs is None, **changes}
    return trial.with_(**changes)


def failed(number: int, seqs: int, kind: FailureKind = FailureKind.OUT_OF_MEMORY) -> Trial:
    failure = Failure(kind, "deploy", "the engine ended with code 1")
    return Trial(number, {"max_num_seqs": seqs}, TrialState.FAILED, failure=failure, fingerprint=FINGERPRINT)


def repeated(
    task: Task, rates: dict[int | None, float], *, starts: int = 6, noise: float = 0.01, **changes: Any
) -> Sample:
    """A study in which each configuration was started so often, with this noise between its starts."""
    dice = random.Random(str((rates, starts, noise)))
    trials: list[Trial] = []
    for seqs, rate in rates.items():
        for _ in range(starts):
            trials.append(start(task, len(trials), rate * (1 + dice.gauss(0, noise)), seqs=seqs, **changes))
    return Sample(task, tuple(trials))


def compared(before: Sample, after: Sample, **options: Any) -> ComparisonReport:
    return ComparisonReport(before, after, ("a", "b"), **options)
