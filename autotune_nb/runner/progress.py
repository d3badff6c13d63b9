"""Formats the events of a run as lines of text, for a terminal and for the ledger of a headless notebook."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune_nb import events
from autotune_nb.trial.formatting import level_text, params_text, value_text
from autotune_nb.trial.load import cliff_text
from autotune_nb.trial.measurement import QUALITY
from autotune_nb.trial.score import Objective

_log = logging.getLogger(__name__)

#: The environment variable with the path of the ledger, set while a notebook is executed headless.
LEDGER_VARIABLE = "AUTOTUNE_NB_LEDGER"


class ProgressLines:
    """A listener that formats events and calls ``report`` with each line, without a newline.

    ``cost`` returns what all trials have cost so far; empty if it is nothing. ``num_started`` returns how many trials
    of a shared study have started, also those of other workers; without it, those of the events are counted.
    """

    def __init__(
        self,
        objective: Objective,
        num_trials: int | None,
        report: Callable[[str], None],
        *,
        num_finished: int = 0,
        num_started: Callable[[], int] | None = None,
        now: Callable[[], float] = time.monotonic,
        prefix: str = "",
        cost: Callable[[], str] = str,
    ) -> None:
        self._objective = objective
        self._num_trials = num_trials
        self._report = report
        self._now = now
        self._began = now()
        self._prefix = prefix
        self._cost = cost
        self._started, self._num_started = num_finished, num_started

    def __call__(self, event: events.Event) -> None:
        line = self._line(event)
        if line is not None:
            seconds = int(self._now() - self._began)
            self._report(f"[{seconds // 60:02d}:{seconds % 60:02d}] {self._prefix}{line}")

    def _line(self, event: events.Event) -> str | None:
        match event:
            case events.Notice(text=text):
                return text
            case events.StateChanged(state="starting" | "stopping" | "paused" | "stopped" as state):
                return f"the run is {state}"
            case events.Steered(edit=edit, num_trials=number):
                self._num_trials = number
                return edit.text if edit.origin else f"steered: {edit.text}"
            case events.TrialStarted(trial=trial):
                if trial.confirmation is not None:
                    return f"trial {trial.number}: {trial.reason}"
                self._started = self._started + 1 if self._num_started is None else self._num_started()
                # The default may be measured again after the last configuration of a small space.
                of = f" of {self._num_trials}" if self._started <= (self._num_trials or 0) else ""
                why = f", {trial.reason}" if trial.baseline and trial.reason else ""
                return f"trial {trial.number} ({self._started}{of}): {params_text(trial)}{why}"
            case events.LevelMeasured(number=number, measurement=measured, index=index, count=count):
                return f"trial {number}   level {index}/{count}  {level_text(measured, self._objective)}"
            case events.TrialEnded(trial=trial, is_best=is_best):
                cost = self._cost()
                return f"{self._ended(trial, is_best)}{f'  ({cost} so far)' if cost else ''}"
        return None

    def _ended(self, trial: Any, is_best: bool) -> str:
        seconds = trial.work_s
        if trial.state.scored and trial.score is not None:
            values = ", ".join(f"{name} = {value_text(value, name)}" for name, value in trial.score.values.items())
            best = "knee of the Pareto front" if self._objective.others else "best"
            broken = [name for name, violation in trial.score.limits.items() if violation > 0]
            differ = f": {trial.answers}" if any(name.startswith(QUALITY) for name in broken) else ""
            note = f"  breaks {', '.join(broken)}{differ}" if broken else f"  {best} so far" if is_best else ""
            if trial.cut_reason:
                note = f"  cut: {trial.cut_reason}"
            if cliff := cliff_text(trial.measurements, self._objective.limits):
                note += f"  {cliff}"
            return f"trial {trial.number}   {values} in {seconds:.0f} s{note}"
        if trial.failure is not None:
            hint = f"; try: {trial.failure.hint}" if trial.failure.hint else ""
            log_line = f" | {trial.failure.log_lines[0]}" if trial.failure.log_lines else ""
            return f"trial {trial.number}   FAILED, {trial.failure}{log_line}{hint}"
        return f"trial {trial.number}   {trial.state} after {seconds:.0f} s"


class Ledger:
    """A file to which the runs of a headless notebook append progress and results, one JSON object per line.

    The process that executes the notebook reads it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def from_environment(cls) -> Ledger | None:
        path = os.environ.get(LEDGER_VARIABLE)
        return cls(Path(path)) if path else None

    def append(self, entry: dict[str, Any]) -> None:
        """Append an entry. A ledger that cannot be written is logged: no run ends because of it."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            _log.warning("the progress of a notebook cannot be reported: %s", error)

    def read(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Return the complete entries from an offset in bytes, and the next offset."""
        if not self.path.exists():
            return [], offset
        with self.path.open("rb") as file:
            file.seek(offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        return [json.loads(line) for line in whole.splitlines()], offset + len(whole)
