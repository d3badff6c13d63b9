"""Parameters of trials as Optuna stores them: a number, and its distribution as JSON text. Without Optuna."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from autotune_nb.task.optuna_space import decode_value
from autotune_nb.task.space import SearchSpace

#: Optuna's value of a parameter, by its distribution's name, from the number and the attributes that are stored.
_VALUES: Mapping[str, Callable[[float, Mapping[str, Any]], Any]] = {
    "CategoricalDistribution": lambda number, attributes: attributes["choices"][int(number)],
    "IntDistribution": lambda number, _: int(number),
    "FloatDistribution": lambda number, _: float(number),
}


class StoredParams:
    """Converts the stored parameters of trials of one space; trials share their values."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._decoded: dict[tuple[str, float, str], Any] = {}

    def points(self, rows: Iterable[tuple[int, str, float, str]]) -> dict[int, dict[str, Any]]:
        """Return the values of each trial's parameters from rows of its id, the name, the number and the distribution.

        Raises LookupError, TypeError or ValueError for a distribution that is unknown or damaged.
        """
        found: dict[int, dict[str, Any]] = {}
        for id_, name, number, distribution in rows:
            key = name, number, distribution
            if key not in self._decoded:
                value = _optuna_value(number, distribution)
                self._decoded[key] = decode_value(self._space.parameters.get(name), value)
            found.setdefault(id_, {})[name] = self._decoded[key]
        return found


def _optuna_value(number: float, distribution: str) -> Any:
    name, attributes = _distribution(distribution)
    if name not in _VALUES:
        raise LookupError(f"the distribution {name} is unknown")
    return _VALUES[name](number, attributes)


@lru_cache(maxsize=256)
def _distribution(text: str) -> tuple[str, Mapping[str, Any]]:
    stored = json.loads(text)
    return stored["name"], stored["attributes"]
