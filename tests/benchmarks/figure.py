"""One measured figure and its goal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A figure that should be at most its goal."""

    name: str
    value: float
    goal: float
    note: str = ""

    @property
    def reached(self) -> bool:
        return self.value <= self.goal

    def __str__(self) -> str:
        verdict = "reached" if self.reached else "MISSED"
        return f"{self.name} = {self.value:.3f} (goal: at most {self.goal:.2f}, {verdict}) {self.note}".rstrip()
