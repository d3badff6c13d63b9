"""Which parameters change the numbers that an engine computes, so that its answers may differ from the default's."""

from __future__ import annotations

import re
from dataclasses import replace

from autotune_nb.engines.base import Engine
from autotune_nb.engines.registry import every_engine
from autotune_nb.task.parameters import parameter_name
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import QUALITY
from autotune_nb.trial.score import Limit, Objective

#: Names of flags that no catalog has: types of numbers, quantization, draft models and attention kernels.
_NAMES = re.compile(
    r"(^|_)(dtype|quantiz\w*|quant|spec|speculative|draft|kv_cache_type)(_|$)|(attention|moe|gemm)\w*_backend"
)


def changing_parameters(task: Task, engine: Engine) -> list[str]:
    """Return the searched parameters whose values change the numbers that the engine computes."""
    found = []
    for name, parameter in task.parameters.items():
        written = parameter_name(parameter.flag.lstrip("-") if parameter.flag is not None else name).partition(".")[0]
        # The server of kind command may be any engine.
        flags = [flag for one in (engine, *every_engine()) if (flag := one.flag_named(written)) is not None]
        own = [flag for flag in flags if flag is engine.flag_named(written)] or flags
        if any(flag.changes_numbers for flag in own) if own else _NAMES.search(written):
            found.append(name)
    return found


def compares_answers(task: Task, engine: Engine) -> bool:
    """Return whether the answers of a study's trials are compared with those of the engine's default."""
    if not task.workload.generates_text or task.quality.enabled is False:
        return False
    wanted = {*task.goal.figures, *(limit.figure for limit in task.goal.limits)}
    return bool(task.quality.enabled or not wanted.isdisjoint(QUALITY) or changing_parameters(task, engine))


def goal_with_quality(task: Task, engine: Engine) -> Objective:
    """Return the task's goal with the limits on the answers, unless the task has other limits on these figures."""
    goal = task.goal
    if not compares_answers(task, engine):
        return goal
    limited = {limit.figure for limit in goal.limits}
    more = tuple(limit for text in task.quality.limits if (limit := Limit.parse(text)).figure not in limited)
    return replace(goal, limits=(*goal.limits, *more))


def quality_lines(task: Task, engine: Engine) -> list[str]:
    """Return in a line why and how the answers of trials are compared; nothing if they are not."""
    if not compares_answers(task, engine):
        return []
    quality, changing = task.quality, changing_parameters(task, engine)
    why = f", since {', '.join(changing)} may change them" if changing else ""
    if not task.budget.baseline:
        return [
            f"answers are not compared, since the engine's default is not measured: set budget.baseline to true{why}"
        ]
    count = quality.prompts if isinstance(quality.prompts, int) else len(quality.prompts)
    limits = " and ".join(str(one) for one in goal_with_quality(task, engine).limits if one.figure in QUALITY)
    return [
        f"each trial answers {count} prompt{'s' * (count != 1)} with up to {quality.tokens} tokens, which are compared "
        f"with those of the engine's default{why}; the limits are {limits}"
    ]
