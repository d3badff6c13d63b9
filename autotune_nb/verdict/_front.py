"""What a study with several objectives says: its Pareto front and the knee, beside the engine's default."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_nb.trial.configuration import (
    Configuration,
    configuration_key,
    default_configuration,
    pareto_front,
)
from autotune_nb.trial.formatting import params_text, value_text
from autotune_nb.trial.pareto import dominates
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial


def _values_text(one: Configuration, objective: Objective) -> str:
    """Format the values of a configuration, one per objective."""
    return ", ".join(f"{name} {value_text(one.figures[name], name)}" for name in objective.figures)


def front_text(trials: Sequence[Trial], knee: Trial, objective: Objective) -> str:
    """Return in words how many configurations are on the front, which is its knee, and where the default is."""
    front = pareto_front(trials, objective)
    best = next(one for one in front if configuration_key(one.trial) == configuration_key(knee))
    starts = f"; {best.starts_text}" if best.starts_text else ""
    several = f"{len(front)} configurations are" if len(front) > 1 else "One configuration is"
    names = " and ".join(filter(None, (", ".join(objective.figures[:-1]), objective.figures[-1])))
    text = f"{several} on the Pareto front of {names}. "
    text += f"Its knee, the best compromise, is trial {best.trial.number} with {_values_text(best, objective)}"
    text += f", under {knee.score.level}{starts}" if knee.score and knee.score.level else starts
    text += f": {params_text(best.trial)}."
    default = default_configuration(trials)
    if default is None or default.trial.number == best.trial.number:
        return text
    text += f" The engine's default ({_values_text(default, objective)}) "
    if not default.feasible:
        return f"{text}breaks {', '.join(name for name, by in default.limits.items() if by > 0) or 'a limit'}."
    own = [default.figures[name] for name in objective.figures]
    better = sum(
        1 for one in front if dominates([one.figures[name] for name in objective.figures], own, objective.every)
    )
    if not better:
        return f"{text}is on the front."
    all_ = "each of them is" if better == len(front) > 1 else f"{better} of them {'are' if better > 1 else 'is'}"
    all_ = "it is" if len(front) == 1 else all_
    return f"{text}is not on the front: {all_} at least as good in every objective, and better in one."
