"""The section of a task on output quality: whether trials answer as the engine's default does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from autotune_nb.task.section import Section

#: How many prompts are built in.
BUILT_IN_PROMPTS = 12


class Quality(Section):
    """Whether the answers of each trial are compared with those of the engine's default, at temperature 0."""

    enabled: Annotated[
        bool | None,
        BeforeValidator(
            lambda value: None if value == "auto" else value, json_schema_input_type=bool | Literal["auto"] | None
        ),
    ] = Field(
        None,
        description="default (or auto): if a searched parameter changes the numbers, such as the type of the KV cache",
    )
    prompts: Annotated[int, Field(ge=1, le=BUILT_IN_PROMPTS)] | Annotated[list[str], Field(min_length=1)] = Field(
        6, description=f"how many of the {BUILT_IN_PROMPTS} built-in prompts, or a list of your own"
    )
    tokens: int = Field(32, ge=1, le=1024, description="the length of each answer")
    min_agreement: float = Field(
        0.5, ge=0, le=1, description="the limit on quality_agreement, the share of tokens that are the default's"
    )
    max_kl: float = Field(
        0.1, gt=0, description="the limit on quality_kl, the divergence of the tokens' probabilities in nats per token"
    )

    @property
    def limits(self) -> tuple[str, ...]:
        """The limits on the figures, as they are written in a task."""
        return (f"quality_agreement >= {self.min_agreement:.15g}", f"quality_kl <= {self.max_kl:.15g}")
