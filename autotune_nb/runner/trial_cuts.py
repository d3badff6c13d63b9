"""Decides after each level of a trial whether it goes on, and with which level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from autotune_nb.runner.load_search import bisection
from autotune_nb.trial.configuration import best_configuration, configuration_key
from autotune_nb.trial.load import LoadRange
from autotune_nb.trial.measurement import QUALITY, Level, Measurement
from autotune_nb.trial.trial import Trial
from autotune_nb.verdict import level_to_confirm

if TYPE_CHECKING:
    from autotune_nb.study import Study


class TrialCuts:
    """The order of one trial's levels, and the reason to cut it.

    The trial of the engine's default is never cut, nor a repeat; but its levels run in the same order as all others.
    A start of the confirmation measures the level at which it is compared, and no other.
    """

    def __init__(self, trial: Trial, study: Study) -> None:
        # The models of search need numpy, which takes long to import.
        from autotune_nb.search.cutting import Cutting

        task = study.task
        self._study, self._goal = study, task.goal
        rules = task.confirmation if trial.in_round else None
        self._confirmed = None if rules is None else level_to_confirm(study.trials, task.goal, rules)
        goal = task.goal if self._confirmed is None else replace(task.goal, level=self._confirmed)
        # Its answers are the same at every level.
        goal = replace(goal, limits=tuple(one for one in goal.limits if one.figure not in QUALITY))
        self._cutting = Cutting(goal, task.workload.levels)
        self._load = bisection(task, study.trials)
        self._asked = False
        # With several objectives, one that is worse may have its place on the front.
        self._on = task.budget.cut and len(task.workload.levels) > 1 and not task.goal.others
        key = configuration_key(trial)
        repeated = any(other.state.scored and configuration_key(other) == key for other in study.trials)
        self._may_cut = self._on and not trial.baseline and not repeated

    @property
    def order(self) -> tuple[Level, ...]:
        """The order in which levels run; empty for that of the task."""
        return self._cutting.order if self._on or self._confirmed is not None else ()

    @property
    def asks(self) -> bool:
        """Whether the benchmark should ask for each level."""
        return self._on or self._load is not None

    @property
    def most_levels(self) -> int:
        """How many levels the benchmark measures at most unless it is ended before."""
        return len(self._study.task.workload.levels) if self._load is None else self._load.most_runs

    @property
    def needed_levels(self) -> int:
        """How many levels the trial needs at most: one, if it is compared at this level only."""
        return 1 if self._confirmed is not None and self._load is None else self.most_levels

    def next_level(self, measured: Sequence[Measurement]) -> Level | None:
        """Return the next level to run; None if every level was measured, or once the highest load is known."""
        if self._load is None:
            return self._cutting.next_level(measured)
        self._asked = True
        load = self._load.next_load(measured)
        return None if load is None else replace(self._study.task.workload.levels[0], concurrency=load)

    def in_order(self, measured: Sequence[Measurement]) -> tuple[Measurement, ...]:
        """Return the levels as they are stored: those of a load search by their load, others as they ran."""
        return tuple(measured if self._load is None else sorted(measured, key=lambda one: one.level))

    def is_enough(self, measured: Sequence[Measurement]) -> bool:
        """Return whether what is compared was measured, or a load breaks a limit that could not be chosen."""
        if self._load is not None and not self._asked:
            return LoadRange.of(measured, self._goal.limits).broken is not None
        return self._confirmed is not None and any(one.level == self._confirmed for one in measured)

    def reason(self, measured: Sequence[Measurement]) -> str:
        """Return why the trial is cut after these levels; empty if it goes on."""
        if not self._may_cut:
            return ""
        from autotune_nb.search.cutting import margin_of

        trials, task = self._study.trials, self._study.task
        margin = margin_of(trials, confirmed=task.confirmation is not None)
        if self._load is not None:
            return self._reason_of_load(measured, margin)
        cutting = replace(self._cutting, margin=margin)
        return cutting.reason_to_cut(measured, best_configuration(trials, self._goal)) or ""

    def _reason_of_load(self, measured: Sequence[Measurement], margin: float) -> str:
        """Return why no load that is left makes the trial the best; empty if one may."""
        found, best = LoadRange.of(measured, self._goal.limits), best_configuration(self._study.trials, self._goal)
        if best is None or found.kept is None or found.broken is None or found.broken * (1 + margin) > best.value:
            return ""
        return (
            f"breaks a limit at concurrency {found.broken}, where trial {best.trial.number} keeps them all at "
            f"{best.value:.4g}"
        )

    def will_fail(self, measured: Sequence[Measurement]) -> bool:
        """Return whether the trial fails in any case, since its last level is invalid."""
        # A load that is too high may make requests fail.
        return self._may_cut and self._load is None and not measured[-1].valid
