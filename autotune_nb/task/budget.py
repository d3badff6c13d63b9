"""The sections of a task that say how much is measured: its budget, the price of a trial, the confirmation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from autotune_nb.task.section import Section


class Price(Section):
    """What a trial costs per hour, in US dollars: so much for each of its GPUs, and so much for its machine."""

    usd_per_gpu_hour: float | None = Field(None, ge=0, description="the price of one GPU for an hour, such as 2.5")
    usd_per_hour: float | None = Field(
        None, ge=0, description="the price of a trial's machine for an hour, besides its GPUs; such as of one without"
    )

    @property
    def is_set(self) -> bool:
        return (self.usd_per_gpu_hour, self.usd_per_hour) != (None, None)

    def per_hour(self, gpus: int) -> float | None:
        """Return the price of a trial with so many GPUs per hour; None without a price."""
        return gpus * (self.usd_per_gpu_hour or 0.0) + (self.usd_per_hour or 0.0) if self.is_set else None


class Budget(Section):
    """When to stop; the first bound that is reached applies."""

    trials: int | None = Field(None, ge=1, description="default: the whole grid, or 20 for the other samplers")
    minutes: float | None = Field(
        None, gt=0, description="no trial starts that would probably end after so many minutes"
    )
    gpu_hours: float | None = Field(
        None, gt=0, description="no trial starts with which the trials would probably take more GPU-hours"
    )
    usd: float | None = Field(
        None, gt=0, description="no trial starts with which the trials would probably cost more; needs a price"
    )
    patience: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        None,
        description="stop after so many trials without a better one; auto: once the gain that strategy auto expects of "
        "another trial is not worth its time",
    )
    max_failures: int | None = Field(
        None,
        ge=1,
        description="stop after so many trials in a row that failed in the same way; default: 5, and no bound once a "
        "trial with parameters has completed",
    )
    baseline: bool = Field(True, description="measure the engine's default configuration first, as trial 0")
    cut: bool = Field(
        True,
        description="end a trial as soon as the levels that it ran show that it is not the best; never that of the "
        "engine's default, nor a repeat",
    )
    remeasure_default: bool | None = Field(
        None,
        description="measure it again as the last trial and hourly, to find drift of the machine; the repeats are part "
        "of the budget. Default: if the trials since took 5 minutes, and the budget has 10 trials or some left",
    )


#: The rounds of a confirmation for which none are given.
CONFIRM_ROUNDS = 5


class Confirm(Section):
    """Whether the best configuration is better than the engine's default: both are started again, after the search."""

    rounds: int = Field(
        0,
        ge=0,
        le=50,
        description="at most so often, the finalists and the default are started again; 0: no confirmation",
    )
    budget: int = Field(12, ge=5, le=1000, description="at most so many starts, besides the trials of the search")
    margin: float = Field(0.03, gt=0, le=1, description="a gain below it is not worth further rounds, such as 0.03")
    alpha: float = Field(0.05, ge=0.001, le=0.3, description="the probability to find a difference where there is none")

    @model_validator(mode="before")
    @classmethod
    def _on_if_given(cls, data: Any) -> Any:
        return {"rounds": CONFIRM_ROUNDS, **data} if isinstance(data, dict) and data else data

    @model_validator(mode="after")
    def _two_starts_a_round(self) -> Confirm:
        if self.rounds == 1:
            raise ValueError("one round does not show the noise between starts; set confirm.rounds to 2 or more")
        if self.budget <= 2 * self.rounds:
            raise ValueError(
                f"{self.rounds} rounds need at least {2 * self.rounds + 1} starts, not {self.budget}: two in each "
                "round and one of the default before the search; raise confirm.budget, or lower confirm.rounds"
            )
        return self
