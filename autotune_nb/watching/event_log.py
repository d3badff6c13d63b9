"""Logs the events of a run with the standard library's logging, and formats log records as JSON."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autotune_nb import events
from autotune_nb.secrets.scrubbing import scrub, scrub_data
from autotune_nb.trial.formatting import params_text
from autotune_nb.trial.trial import Trial, TrialState

#: The logger of every run's events; failed trials are warnings, the rest is information.
RUN_LOGGER = "autotune_nb.run"
_log = logging.getLogger(RUN_LOGGER)
# Otherwise Python would print the warnings of a program that configures no logging.
_log.addHandler(logging.NullHandler())
_FIELDS = ("kind", "study", "trial", "phase")


class EventLog:
    """A listener that logs each event, with the study, the trial and the phase as attributes of the record."""

    def __init__(self, folder: Path) -> None:
        self._study = folder.name
        self._phases: dict[int, str] = {}

    async def close(self, error: BaseException | None) -> None:
        """Do nothing: every event is logged at once."""

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.PhaseStarted):
            self._phases[event.number] = event.phase
        if _log.isEnabledFor(logging.INFO):
            self._write(event)

    def _write(self, event: events.Event) -> None:
        match event:
            case events.Notice(text=text):
                self._info("notice", text)
            case events.StateChanged(state=state):
                level = logging.ERROR if state == "failed" else logging.INFO
                self._info("state", f"the run is {state}", level=level, state=state)
            case events.Steered(edit=edit):
                self._info("steered", edit.text)
            case events.TrialStarted(trial=trial):
                self._info(
                    "trial_started",
                    f"trial {trial.number}: {params_text(trial)}",
                    trial.number,
                    params=dict(trial.params),
                    gpus=trial.gpus,
                    reason=trial.reason or None,
                )
            case events.PhaseStarted(number=number, phase=phase):
                self._info("phase_started", f"trial {number}: {phase}", number)
            case events.LevelMeasured(number=number, measurement=one, index=index, count=count):
                text = f"trial {number}: level {index} of {count}, {one.level}"
                self._info(
                    "level_measured",
                    text,
                    number,
                    at_level=str(one.level),
                    figures=dict(one.figures),
                    problems=list(one.problems) or None,
                )
            case events.TrialEnded(trial=trial, is_best=is_best):
                self._ended(trial, is_best)

    def _ended(self, trial: Trial, is_best: bool) -> None:
        failure = trial.failure.to_dict() if trial.failure is not None else None
        text = f"trial {trial.number}: {trial.failure}" if trial.failure else f"trial {trial.number}: {trial.state}"
        if trial.failure is not None:
            self._phases[trial.number] = trial.failure.phase
        self._info(
            "trial_ended",
            text,
            trial.number,
            level=logging.WARNING if trial.state is TrialState.FAILED else logging.INFO,
            state=str(trial.state),
            values=dict(trial.score.values) if trial.score else None,
            feasible=trial.feasible,
            is_best=is_best,
            seconds={phase: round(value, 3) for phase, value in trial.seconds.items()},
            failure=failure,
        )
        self._phases.pop(trial.number, None)

    def _info(
        self, kind: str, text: str, trial: int | None = None, *, level: int = logging.INFO, **fields: Any
    ) -> None:
        phase = None if trial is None else self._phases.get(trial)
        given = {name: value for name, value in fields.items() if value is not None}
        _log.log(
            level,
            "%s",
            scrub(text),
            extra={"kind": kind, "study": self._study, "trial": trial, "phase": phase, "fields": scrub_data(given)},
        )


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: ``time``, ``level``, ``kind``, ``study``, ``trial``, ``phase``, ``message``
    and what the event has besides; without known secrets."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        data: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        data |= {name: value for name in _FIELDS if (value := getattr(record, name, None)) is not None}
        data["message"] = scrub(record.getMessage())
        if record.exc_info:
            data["error"] = scrub(self.formatException(record.exc_info))
        data |= getattr(record, "fields", None) or {}
        return json.dumps(data, ensure_ascii=False, default=str)


@contextlib.contextmanager
def json_logs(write: Callable[[str], None]) -> Iterator[None]:
    """Call ``write`` with each log record of the package as a line of JSON, meanwhile."""
    handler, logger = _Lines(write), logging.getLogger("autotune_nb")
    before = logger.level, logger.propagate
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    # Not also in the format of a root logger.
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class _Lines(logging.Handler):
    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write_line = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write_line(self.format(record))
        except Exception:  # noqa: BLE001 - as every handler of logging does
            self.handleError(record)
