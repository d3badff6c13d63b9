"""Compares the answers of a study's trials with those of the engine's default, which the study's folder keeps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from autotune_nb.bench.answers import PROMPTS, ask
from autotune_nb.deploy.base import Endpoint
from autotune_nb.engines.quality import compares_answers, goal_with_quality
from autotune_nb.engines.registry import engine_of_study
from autotune_nb.errors import MeasurementError
from autotune_nb.secrets.references import bearer
from autotune_nb.trial.load import levels_to_score
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.quality import Answer, Reference, answer_data, difference_text, with_quality
from autotune_nb.trial.score import Score, score
from autotune_nb.trial.trial import Trial, TrialState

if TYPE_CHECKING:
    from autotune_nb.study import Study

#: The file of the default's answers in the study's folder, and of each trial's in its own.
_REFERENCE, _ANSWERS = "default-answers.json", "answers.json"
#: As many prompts at once as small batches have, but never more than the heaviest level.
_AT_ONCE = 4


@dataclass(frozen=True)
class Answers:
    """The answers of a trial; empty with the reason in ``text`` if it was not asked, and without one if none is due."""

    given: tuple[Answer, ...] = ()
    text: str = ""


class AnswerComparison:
    """Asks the engine of each trial, and compares with the answers of the default, the first that was asked.

    The starts in the rounds of a confirmation are not asked: their configurations were compared in the search.
    """

    def __init__(self, study: Study) -> None:
        self._study, self._task = study, study.task
        engine = engine_of_study(study.task)
        self.on = compares_answers(study.task, engine)
        #: The task's goal with the limits on the answers.
        self._goal = goal_with_quality(study.task, engine)
        wanted = study.task.quality.prompts
        self._prompts = PROMPTS[:wanted] if isinstance(wanted, int) else tuple(wanted)
        self._reference: Reference | None = None

    async def ask(self, trial: Trial, endpoint: Endpoint, folder: Path) -> Answers:
        """Return the answers of a trial's engine; those of the first default become the reference."""
        if not self.on or endpoint.replayed or trial.in_round:
            return Answers()
        if reason := self._not_comparable(trial):
            return Answers(text=f"answers not compared: {reason}")
        text = ""
        try:
            given = await self._ask(endpoint)
            if self._reference is None and trial.baseline:
                self._reference = Reference.of(given, await self._ask(endpoint))
                await self._keep(self._reference)
                if self._reference.repeated < 1:
                    text = f"the engine's default repeats {self._reference.repeated:.0%} of its own answers"
        except MeasurementError as error:
            return Answers(text=f"answers not compared: {error.failure.message}")
        await asyncio.to_thread(self._write, folder / _ANSWERS, given)
        return Answers(given, text)

    def figures(self, answers: Answers) -> Mapping[str, float]:
        """Return the figures of a trial's answers; empty while there is nothing to compare them with."""
        return self._reference.compare(answers.given) if self._reference is not None and answers.given else {}

    def scored(self, measurements: list[Measurement], answers: Answers) -> tuple[list[Measurement], Score, Answers]:
        """Return the levels with the figures of the answers, the score, and the answers with what they show in words.

        Raises MeasurementError if a measurement is invalid or lacks a figure of the goal.
        """
        figures = self.figures(answers)
        measurements = [with_quality(one, figures) for one in measurements]
        found = score(levels_to_score(measurements, self._goal), self._goal)
        if not answers.given:
            return measurements, found, answers
        if figures:
            text = difference_text(found, figures)
        elif self._reference is None:
            text = "answers not compared: the trial of the engine's default did not answer"
        else:
            text = "answers not compared: the engine's default does not repeat the first word of any of its own"
        return measurements, found, replace(answers, text=text or answers.text)

    async def _ask(self, endpoint: Endpoint) -> tuple[Answer, ...]:
        task = self._task
        return await ask(
            endpoint.url,
            endpoint.model,
            self._prompts,
            tokens=task.quality.tokens,
            at_once=min(_AT_ONCE, max(level.concurrency for level in task.workload.levels)),
            timeout_s=task.deadlines.probe_s,
            request_params=task.workload.request_params,
            headers=bearer(task.benchmark.api_key),
        )

    def _not_comparable(self, trial: Trial) -> str:
        """Return why there is nothing to compare a trial's answers with; empty if there is, or may be by its end."""
        if self._reference is None:
            stored = self._study.folder.read(_REFERENCE)
            if stored is not None:
                try:
                    reference = Reference.from_dict(stored)
                except (TypeError, ValueError, LookupError):
                    return f"{_REFERENCE} in the study's folder is damaged"
                if stored.get("prompts") != list(self._prompts):
                    return f"{_REFERENCE} in the study's folder has the answers to other prompts"
                self._reference = reference
        if self._reference is not None or trial.baseline:
            return ""
        defaults = [one for one in self._study.trials if one.baseline]
        if not defaults:
            return "the engine's default is not measured (budget.baseline is false)"
        if all(one.state.finished or one.state is TrialState.STOPPED for one in defaults):
            return "the trial of the engine's default gave no answers"
        return ""

    async def _keep(self, reference: Reference) -> None:
        data = {"prompts": list(self._prompts), **reference.to_dict()}
        await asyncio.to_thread(self._study.folder.write, _REFERENCE, data)

    def _write(self, file: Path, given: tuple[Answer, ...]) -> None:
        found = [
            {"prompt": prompt, "answer": answer_data(one)} for prompt, one in zip(self._prompts, given, strict=True)
        ]
        file.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
