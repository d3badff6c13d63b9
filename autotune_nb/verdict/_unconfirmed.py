"""What a study says without a confirmation: its best configuration beside the engine's default, measured once."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_nb.task.budget import Confirm
from autotune_nb.trial.configuration import Configuration, best_configuration, default_configuration
from autotune_nb.trial.formatting import params_text, value_text
from autotune_nb.trial.measurement import MAX_CONCURRENCY
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.verdict._front import front_text
from autotune_nb.verdict.closest import broken_text, closest_text


def unconfirmed_text(trials: Sequence[Trial], objective: Objective, rules: Confirm | None) -> str:
    """Return a sentence or two on the best configuration and the engine's default, without a ratio of the two."""
    return _text(trials, objective, rules) + undecided_text(best_configuration(trials, objective))


def undecided_text(configuration: Configuration | None) -> str:
    """Return a sentence that names the limits which its requests leave undecided; empty if there are none."""
    limits = configuration.undecided if configuration is not None else {}
    return f" Undecided: {'; '.join(f'{name} ({why})' for name, why in limits.items())}." if limits else ""


def _text(trials: Sequence[Trial], objective: Objective, rules: Confirm | None) -> str:
    best = best_configuration(trials, objective)
    if best is None:
        scored = [t for t in trials if t.state.scored]
        if scored:
            if len(scored) == 1:
                return f"The only measured trial breaks {broken_text(scored[0])}."
            return f"None of the {len(scored)} measured trials keeps every limit: {closest_text(scored)}."
        last = next((t for t in reversed(trials) if t.failure is not None), None)
        return f"No trial completed.{f' Trial {last.number}: {last.failure}.' if last else ''}"
    if objective.others:
        return front_text(trials, best.trial, objective)
    shown, of_starts = best.trial, best.starts_text
    where = f", under {shown.score.level}" if shown.score and shown.score.level else ""
    where += f", {of_starts}" if of_starts else ""
    text = f"Best is trial {shown.number} with {value_text(best.value, objective.figure)} ({objective.figure}){where}"
    if best.baseline:
        return f"{text}: the engine's default configuration. {_nothing_better(trials)}"
    text = f"{text}: {params_text(shown)}."
    default = default_configuration(trials)
    if default is None:
        failed = any(t.baseline and t.state is TrialState.FAILED for t in trials)
        why = "failed" if failed else "was not measured"
        return f"{text} The engine's default {why}, so there is nothing to compare it with."
    against = value_text(default.value, objective.figure)
    against += f", {default.starts_text}" if default.starts_text else ""
    level = _at_another_level(best, default, objective)
    if not default.feasible:
        broken = ", ".join(name for name, violation in default.limits.items() if violation > 0) or "a limit"
        return f"{text} The engine's default ({against}{level}) breaks {broken}."
    return f"{text} The engine's default has {against}{level}. {_how_often(best, default, rules)}"


def _how_often(best: Configuration, default: Configuration, rules: Confirm | None) -> str:
    starts = (len(best.values), len(default.values))
    once = "one of them was measured once" if 1 in starts else "it is not confirmed"
    once = "both were measured once" if starts == (1, 1) else once
    if rules is not None:
        return f"{once.capitalize()}: the confirmation has not completed a round."
    return f"Part of the difference may be noise, since {once}; confirm: true in the task measures how much."


def _at_another_level(best: Configuration, default: Configuration, objective: Objective) -> str:
    """Return the level of the default's score and its value at the level of the best; empty if the levels are equal."""
    of_best, of_default = best.level, default.level
    # Of the highest load, the value is the level itself, at every level.
    if of_default is None or of_best is None or of_default == of_best or objective.figure == MAX_CONCURRENCY:
        return ""
    there = [
        m.figures[objective.figure]
        for m in default.trial.measurements
        if m.level == of_best and objective.figure in m.figures
    ]
    same = f"; under {of_best} it has {value_text(there[0], objective.figure)}" if there else ""
    return f", its best, under {of_default}{same}"


def _nothing_better(trials: Sequence[Trial]) -> str:
    others = [trial for trial in trials if not trial.baseline]
    complete = sum(1 for trial in others if trial.state is TrialState.COMPLETE)
    cut = sum(1 for trial in others if trial.state is TrialState.CUT)
    failed = sum(1 for trial in others if trial.state is TrialState.FAILED)
    if complete or cut:
        counts = [f"{_others(complete)} completed"] if complete else []
        counts += [f"{cut if complete else _others(cut)} cut"] if cut else []
        counts += [f"{failed} failed"] if failed else []
        return f"No other configuration is better ({', '.join(counts)})."
    if failed:
        return f"It is the only one that could be measured: {_others(failed)} failed."
    return "No other configuration was tried."


def _others(count: int) -> str:
    return f"{count} other{'s' * (count != 1)}"
