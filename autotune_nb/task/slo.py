"""The section of a task with soft limits: a penalty on the objective for each that is broken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from autotune_nb.task.section import Section
from autotune_nb.trial.measurement import SLO_SCORE, figure_name
from autotune_nb.trial.penalty import slo_score
from autotune_nb.trial.score import Direction, Limit


class Slo(Section):
    """Soft limits (service-level objectives) and their weights, for the objective ``slo_score``."""

    figure: str | None = Field(None, description="the figure that penalties make worse, such as output_tokens_per_s")
    limits: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="soft limits with the weights of their penalties, such as ttft_mean_s <= 1: 2"
    )
    steepness: float = Field(
        0.1, gt=0, description="the excess over a limit, as a share, by which its penalty grows by a factor of e"
    )

    @field_validator("figure")
    @classmethod
    def _figure(cls, name: str | None) -> str | None:
        return None if name is None else figure_name(name)

    @field_validator("limits", mode="before")
    @classmethod
    def _with_weights(cls, limits: Any) -> Any:
        if isinstance(limits, str | list) and all(isinstance(text, str) for text in limits):
            listed = json.dumps(dict.fromkeys([limits] if isinstance(limits, str) else limits, 1))
            kind = "text" if isinstance(limits, str) else "list"
            raise ValueError(f"expected the weight of each limit, not a {kind}; write {listed}")
        return limits

    @field_validator("limits")
    @classmethod
    def _limits(cls, limits: dict[str, float]) -> dict[str, float]:
        for text in limits:
            Limit.parse(text, field="slo.limits")
        return limits

    @model_validator(mode="after")
    def _whole(self) -> Slo:
        if self.figure == SLO_SCORE or any(limit.figure == SLO_SCORE for limit in self.parsed):
            raise ValueError(f"{SLO_SCORE} is computed from other figures")
        if (self.figure is None) != (not self.limits):
            raise ValueError("give figure, which the penalties make worse, and limits, those that have a penalty")
        return self

    @property
    def parsed(self) -> Mapping[Limit, float]:
        """The weights by limit."""
        return {Limit.parse(text): weight for text, weight in self.limits.items()}

    def figures(self, figures: Mapping[str, float], direction: Direction) -> dict[str, float]:
        """Return the score of a level with these figures as a figure; empty without soft limits."""
        if self.figure is None:
            return {}
        value = slo_score(figures, self.figure, self.parsed, self.steepness, direction)
        return {} if value is None else {SLO_SCORE: value}
