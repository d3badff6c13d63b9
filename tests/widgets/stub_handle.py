"""A study handle whose values a test sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.handle import StudyHandle
from autotune_nb.runner.live import RunningTrial
from autotune_nb.runner.runner import RunState
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Score
from autotune_nb.trial.trial import Trial, TrialState

FIGURE = "output_tokens_per_s"
LIMIT = "ttft_p99_s <= 0.5"
#: Text that must be escaped: markup, control characters, direction marks, a surrogate.
NASTY = "<img src=x onerror=alert(1)> &amp; \"'</pre></div><script>x</script> \x1b[31mred\x00 \u202eleft שלום 🎉 \ud800"


class StubHandle(StudyHandle):
    """Has an attribute for every abstract property; edits are stored."""

    task: Any = None
    path: Any = None
    state: Any = RunState.RUNNING
    history: Any = ()
    running: Any = ()
    notices: Any = ()
    steering: Any = None
    elapsed_s: Any = 0.0
    error: Any = None
    version: Any = 0
    _trial_numbers_by_edit: Mapping[str, int] = {}

    def __init__(self, task: Task, path: Path, **values: Any) -> None:
        self.task, self.path = task, path
        self.steering = Steering(task, space_for(task, engine_for(task)), [])
        for name, value in values.items():
            setattr(self, name, value)

    def poll(self) -> None:
        pass

    def _command_of(self, trial: Trial) -> str | None:
        return None

    def results(self) -> dict[str, Any]:
        return {}

    def _steer(self, edit: Edit) -> None:
        self.steering = self.steering.with_(edit)
        self.version += 1


def measured(concurrency: int, value: float, *, latency_s: float = 0.2, ttft_s: float = 0.25) -> Measurement:
    figures = {FIGURE: value, "e2e_latency_mean_s": latency_s, "ttft_p99_s": ttft_s}
    return Measurement(Level("D(16,8)", concurrency), 2.0, 10, 10, 0, figures, ())


def complete(number: int, value: float, *, violation: float = -0.25, **params: Any) -> Trial:
    """A complete trial of two levels, scored at the second; ``violation`` is how far its limit is broken."""
    levels = (measured(1, value / 2), measured(2, value, latency_s=0.4))
    return Trial(
        number,
        params or {"threads": number},
        TrialState.COMPLETE,
        levels,
        Score({FIGURE: value}, {LIMIT: violation}, levels[1].level),
        seconds={"deploy": 1.0, "benchmark": 9.0},
    )


def working(trial: Trial, **changes: Any) -> RunningTrial:
    return RunningTrial(trial, 1_000_000.0, **{"phase": "benchmark", "num_levels": 2, **changes})
