"""What the cells of a table have had so far, so that its columns need not be computed from all rows again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autotune_nb.results.configuration_columns import Cell
from autotune_nb.trial.trial import Value


@dataclass
class SeenValues:
    """``filled`` are the columns with a value, ``largest`` the largest number of each."""

    filled: set[str] = field(default_factory=set)
    largest: dict[str, float] = field(default_factory=dict)
    _values: dict[str, set[str]] = field(default_factory=dict)
    _count: dict[str, int] = field(default_factory=dict)
    _texts: set[str] = field(default_factory=set)

    def add(self, cells: Mapping[str, Cell]) -> None:
        """Add the cells of a row."""
        for key, value in cells.items():
            if value is None:
                continue
            self.filled.add(key)
            if isinstance(value, int | float):
                self.largest[key] = max(value, self.largest.get(key, value))

    def add_params(self, params: Mapping[str, Value]) -> None:
        """Add the parameters of a configuration."""
        for name, value in params.items():
            known = self._values.setdefault(name, set())
            self._count[name] = self._count.get(name, 0) + 1
            if len(known) < 2:
                # With its type, since 1 and True are equal.
                known.add(f"{type(value).__name__} {value!r}")
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                self._texts.add(name)

    @property
    def params(self) -> list[str]:
        """The names of the parameters."""
        return list(self._values)

    def constant(self, name: str) -> bool:
        """Return whether several configurations set a parameter, all to the same value."""
        return self._count.get(name, 0) > 1 and len(self._values[name]) == 1

    def numeric(self, name: str) -> bool:
        """Return whether all values of a parameter are numbers."""
        return name in self._values and name not in self._texts
