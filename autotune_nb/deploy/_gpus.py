"""The GPUs of a study's engines: those that the task asks for, among those that this process may use."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from autotune_nb.deploy.gpu_budget import GpuBudget
from autotune_nb.deploy.visible_gpus import VARIABLE, visible_gpus
from autotune_nb.errors import SetupError
from autotune_nb.task.parameters import Float, Int, Parameter, Value


def chosen_gpus(gpus: int | Sequence[int | str], environment: Mapping[str, str]) -> list[str]:
    """Return the GPUs for ``CUDA_VISIBLE_DEVICES``: so many of the visible ones, or those listed by number or id.

    Raises SetupError if they are not visible: on a shared machine they belong to somebody else.
    """
    given = environment.get(VARIABLE)
    visible = visible_gpus(environment)
    if isinstance(gpus, int):
        if visible is None:
            return [str(number) for number in range(gpus)]
        if gpus > len(visible):
            raise _error(f"{gpus} GPU{'s are' if gpus > 1 else ' is'} requested, but {len(visible)} visible", given)
        return visible[:gpus]
    listed = [str(gpu) for gpu in gpus]
    if visible is None:
        return listed
    # An id may be abbreviated, here and in the variable.
    found = {gpu: next((one for one in visible if _same(gpu, one)), None) for gpu in listed}
    missing = [gpu for gpu, one in found.items() if one is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise _error(f"GPU {', '.join(missing)} {verb} not visible", given)
    return [one for one in found.values() if one is not None]


def _same(one: str, other: str) -> bool:
    if one.isdecimal() or other.isdecimal():
        return one == other
    return one.startswith(other) or other.startswith(one)


def _error(problem: str, given: str | None) -> SetupError:
    return SetupError(
        f"{problem}: {VARIABLE} is {given!r}; give a number of GPUs or some of these, or change the variable",
        field="deploy.gpus",
    )


def largest(parameter: Parameter) -> Value:
    """Return the largest value of a parameter; of values that are no numbers the first."""
    if isinstance(parameter, Int | Float):
        return parameter.high
    values = [value for value in parameter.grid() or () if value is not None]
    numbers = [value for value in values if isinstance(value, int | float)]
    return max(numbers) if numbers else next(iter(values), None)


def unused_text(total: int, parallel: int, need: int) -> str:
    """Return that trials never use all of so many GPUs, of which each needs ``need``; empty if they may."""
    if total <= parallel * need:
        return ""
    at_once = "one runs" if parallel == 1 else f"{parallel} run"
    more = f"deploy.gpus_per_trial: {total // parallel} or " if total // parallel > need else ""
    return (
        f"only {parallel * need} of the {total} GPUs in deploy.gpus are used, since a trial needs {need} and {at_once} "
        f"at a time; {more}a larger deploy.parallel uses more"
    )


class GpuSlots:
    """Allocates GPUs to trials in the order of their requests; without ``gpus`` none are managed."""

    def __init__(self, gpus: Sequence[str] | None) -> None:
        self._all = list(gpus or ())
        self._free = list(self._all)
        self._budget = GpuBudget(None if gpus is None else len(gpus))

    @property
    def total(self) -> int | None:
        return self._budget.ceiling

    @contextlib.asynccontextmanager
    async def hold(self, count: int) -> AsyncIterator[list[str] | None]:
        """Wait for ``count`` GPUs and hold them. Raises DeployError if there are fewer in total."""
        if self.total is None:
            yield None
            return
        await self._budget.take(count)
        held, self._free = self._free[:count], self._free[count:]
        try:
            yield held
        finally:
            self._free = sorted([*self._free, *held], key=self._all.index)
            self._budget.give(count)
