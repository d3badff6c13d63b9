"""All errors of a draft of a task, and an estimate of its run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from autotune_nb.engines.given_flags import flag_notes
from autotune_nb.engines.registry import engine_for, engine_problems, space_for
from autotune_nb.errors import TaskError
from autotune_nb.runner.estimate import Estimate, estimate
from autotune_nb.runner.exclusions import Exclusion, exclusions
from autotune_nb.task.file import examine_task

T = TypeVar("T")
#: The sections that the estimated time depends on.
_TIME = frozenset({"workload", "strategy", "budget", "deploy", "deadlines"})


@dataclass(frozen=True)
class Checked:
    """The errors of a draft; ``summary`` has what is known of the run besides the facts of the form's bar.

    ``exclusions`` are what the rules leave out of the space. ``timed`` is whether the estimate's time is known.
    """

    problems: tuple[TaskError, ...]
    summary: tuple[str, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    estimate: Estimate | None = None
    timed: bool = False


def retry_system_error(work: Callable[[], T]) -> T:
    """Call ``work`` and retry on the SystemError that CPython raises if two threads parse a rule at the same time."""
    for _ in range(9):
        with contextlib.suppress(SystemError):
            return work()
    return work()


def check(data: dict[str, Any], *, search: bool = True) -> Checked:
    """Check a draft, also against the engine's catalog.

    ``search`` also counts the points that keep the rules, which may take seconds.
    """
    return retry_system_error(lambda: _check(data, search))


def _check(data: dict[str, Any], search: bool) -> Checked:
    found = examine_task(data, search=search)
    problems = list(found.problems)
    valid_part = found.valid_part
    if "engine" not in found.failed:
        known = {error.field for error in problems}
        problems += [error for error in engine_problems(valid_part) if error.field not in known]
    if not search or found.failed & {"parameters", "rules", "engine"}:
        return Checked(tuple(problems))
    space = valid_part.space
    notes: tuple[str, ...] = ()
    if not any(error.field.startswith(("parameters", "engine")) for error in problems):
        try:
            engine = engine_for(valid_part)
            space, notes = space_for(valid_part, engine), tuple(flag_notes(valid_part, engine))
        except TaskError as error:
            return Checked((*problems, error))
    estimated, timed = estimate(valid_part, space), not found.failed & _TIME
    lines = estimated.text if timed else estimated.text[:1]
    # The bar has the time of a run with an end.
    ends = estimated.minutes is not None and estimated.trials is not None
    summary = (*(line for line in lines if not (ends and line == estimated.time_line)), *notes)
    return Checked(tuple(problems), summary, tuple(exclusions(space)), estimated, timed)
