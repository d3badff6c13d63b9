"""Small recorded tables for tests of the lab."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.recorded import RecordedTable
from autotune_nb.search.lab_problem import LabProblem, lab_problem
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Limit, Objective
from autotune_nb.trial.trial import Trial, TrialState

LEVELS = (Level("dataset", 1), Level("dataset", 4))
RATE, TIME = "output_tokens_per_s", "ttft_p99_s"


def row(number: int, rates: Sequence[float | None], times: Sequence[float] = (0.1, 0.2), **params: object) -> Trial:
    """Return a recorded trial with a rate and a time per level; without rates it ran out of memory."""
    measurements = tuple(
        Measurement(level, 10.0 + number, 5, 5, 0, {TIME: time, **({} if rate is None else {RATE: rate})})
        for level, rate, time in zip(LEVELS, rates, times, strict=False)
    )
    failure = None if rates else Failure(FailureKind.OUT_OF_MEMORY, "deploy", "too large")
    return Trial(
        number,
        params or {"a": number},  # type: ignore[arg-type]
        TrialState.FAILED if failure else TrialState.COMPLETE,
        measurements,
        failure=failure,
        seconds={"deploy": 100.0 + number},
    )


def problem(
    *rows: Trial,
    maximize: bool = True,
    figure: str = RATE,
    at: str | None = "4",
    limits: Sequence[str] = (),
    per_gpu: bool = False,
    gpus: Sequence[int | None] = (),
) -> LabProblem:
    table = RecordedTable.of_trials("x.csv", rows, dict(enumerate(gpus)))
    objective = Objective(figure, "maximize" if maximize else "minimize", None, tuple(map(Limit.parse, limits)))
    return lab_problem(table, objective, at=at, per_gpu=per_gpu)


def grid(size: int = 6, *, failing: int = 0) -> LabProblem:
    """Return a problem of two parameters with one best corner; configurations with a large ``b`` fail."""
    rows = []
    for a in range(size):
        for b in range(size):
            rates = () if b >= size - failing else (50 + a, 100 + 10 * a + 9 * b)
            rows.append(row(len(rows), rates, a=a, b=b))
    return problem(*rows)
