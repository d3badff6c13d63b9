"""OpenTelemetry spans of a run, its trials and their phases, where the program has set OpenTelemetry up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from autotune_nb import events
from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.trial.trial import Trial

_NS = 1_000_000_000
_PREFIX = "autotune_nb."


def tracer() -> Any | None:
    """Return the tracer of the program's provider; None if the program has not imported OpenTelemetry."""
    # Whoever sets a provider has imported it; nobody else pays for the import.
    trace = sys.modules.get("opentelemetry.trace")
    return None if trace is None else trace.get_tracer("autotune_nb")


class Spans:
    """A listener that makes one span per run, below it one per trial, and below that one per phase.

    Every measured level is an event of the phase ``benchmark``.
    """

    def __init__(self, tracer: Any, folder: Path) -> None:
        self._tracer = tracer
        self._study = folder.name
        self._run: Any = None
        self._trials: dict[int, Any] = {}
        self._phases: dict[int, Any] = {}
        self._last_ns = 0

    async def close(self, error: BaseException | None) -> None:
        """End the spans of a run that was stopped."""
        for number in list(self._trials):
            self._end_trial(number, self._last_ns)
        if self._run is not None:
            self._run.end(self._last_ns)
            self._run = None

    def __call__(self, event: events.Event) -> None:
        at = self._last_ns = int(event.at * _NS)
        if self._run is None:
            self._run = self._start("run", None, at, {"study": self._study})
        match event:
            case events.StateChanged(state=state):
                self._run.set_attribute(f"{_PREFIX}state", state)
                if state == "failed":
                    self._fail(self._run, "the run failed")
            case events.TrialStarted(trial=trial):
                params = {f"param.{name}": value for name, value in trial.params.items() if value is not None}
                attributes = {"study": self._study, "trial": trial.number, "baseline": trial.baseline, **params}
                self._trials[trial.number] = self._start(f"trial {trial.number}", self._run, at, attributes)
            case events.PhaseStarted(number=number, phase=phase) if number in self._trials:
                self._end_phase(number, at)
                self._phases[number] = self._start(phase, self._trials[number], at, {"trial": number, "phase": phase})
            case events.LevelMeasured(number=number, measurement=one) if number in self._phases:
                figures = {f"{_PREFIX}{name}": value for name, value in one.figures.items()}
                self._phases[number].add_event(str(one.level), figures, at)
            case events.TrialEnded(trial=trial) if trial.number in self._trials:
                self._describe(self._trials[trial.number], trial)
                self._end_trial(trial.number, at)

    def _start(self, name: str, parent: Any, at: int, attributes: dict[str, Any]) -> Any:
        trace = sys.modules["opentelemetry.trace"]
        context = None if parent is None else trace.set_span_in_context(parent)
        return self._tracer.start_span(
            name,
            context,
            attributes={_PREFIX + key: _attribute(value) for key, value in attributes.items()},
            start_time=at,
        )

    def _describe(self, span: Any, trial: Trial) -> None:
        span.set_attribute(f"{_PREFIX}state", str(trial.state))
        for figure, value in (trial.score.values if trial.score else {}).items():
            span.set_attribute(f"{_PREFIX}value.{figure}", value)
        if trial.failure is not None:
            self._fail(span, str(trial.failure))

    def _fail(self, span: Any, text: str) -> None:
        trace = sys.modules["opentelemetry.trace"]
        span.set_status(trace.Status(trace.StatusCode.ERROR, scrub(text)))

    def _end_phase(self, number: int, at: int) -> None:
        if (phase := self._phases.pop(number, None)) is not None:
            phase.end(at)

    def _end_trial(self, number: int, at: int) -> None:
        self._end_phase(number, at)
        self._trials.pop(number).end(at)


def _attribute(value: Any) -> Any:
    """Return a value of one of the types that attributes may have."""
    return value if isinstance(value, bool | int | float) else scrub(str(value))
