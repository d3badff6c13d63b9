"""One measured figure and its goal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A figure that should be at most its goal; without a unit it is a ratio."""

    name: str
    value: float
    goal: float
    note: str = ""
    unit: str = ""

    @property
    def reached(self) -> bool:
        return self.value <= self.goal

    def __str__(self) -> str:
        verdict = "reached" if self.reached else "MISSED"
        unit = f" {self.unit}" if self.unit else ""
        text = f"{self.name} = {self.value:.3f}{unit} (goal: at most {self.goal:.2f}{unit}, {verdict})"
        return f"{text} {self.note}".rstrip()
