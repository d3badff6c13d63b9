"""The traffic of every trial: scenarios, load levels, and how long each lasts."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from autotune_nb.errors import UnknownNameError
from autotune_nb.task.parameters import Value
from autotune_nb.trial.measurement import Level

#: genai-bench's task kinds, and of them those that load the server with batches rather than with concurrent requests.
TASK_KINDS = (
    "text-to-text",
    "text-to-image",
    "text-to-embeddings",
    "text-to-rerank",
    "text-to-speech",
    "image-text-to-text",
    "image-to-embeddings",
)
BATCH_TASKS = ("text-to-embeddings", "text-to-rerank")


class Section(BaseModel):
    """A part of a task: frozen, and no field that nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Workload(Section):
    """The traffic of every trial: each scenario under each load level."""

    task: str = Field("text-to-text", description="genai-bench's task kind")
    scenarios: list[str] = Field(min_length=1, description="genai-bench's traffic scenarios, such as D(64,32)")
    concurrency: list[Annotated[int, Field(ge=1)]] = Field(default=[1], min_length=1)
    batch_sizes: list[Annotated[int, Field(ge=1)]] = Field(default=[1], min_length=1)
    seconds_per_level: int = Field(60, ge=1, description="a level ends after so many seconds")
    requests_per_level: int = Field(100, ge=1, description="or after about so many requests")
    warmup_requests: int = Field(2, ge=1, le=1000, description="completions sent before the first level")
    warmup_ratio: float = Field(0.0, ge=0, lt=1, description="share of each level's first requests to leave out")
    request_params: dict[str, Value] = Field(default_factory=dict, description="added to every request's body")
    max_failed_requests: int = Field(0, ge=0)
    min_completed_requests: int = Field(3, ge=1)

    @field_validator("scenarios")
    @classmethod
    def _scenario(cls, values: list[str]) -> list[str]:
        return [_scenario(value) for value in values]

    @field_validator("task")
    @classmethod
    def _kind(cls, task: str) -> str:
        if task not in TASK_KINDS:
            raise UnknownNameError("task kind", task, TASK_KINDS)
        return task

    @field_validator("scenarios", "concurrency", "batch_sizes")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) != len(values):
            raise ValueError("a value stands there twice")
        return values

    @property
    def generates_text(self) -> bool:
        return self.task.endswith("-to-text")

    @property
    def levels(self) -> tuple[Level, ...]:
        """Every load level, in the order the benchmark runs them."""
        if self.task in BATCH_TASKS:
            return tuple(Level(s, 1, b) for s in self.scenarios for b in self.batch_sizes)
        return tuple(Level(s, c) for s in self.scenarios for c in self.concurrency)


_SCENARIO = re.compile(
    r"^(?:[EA]\(\d+\)|[DRU]\(\d+,\d+\)|I\(\d+,\d+(?:,\d+)?\)|[NU]\(\d+,\d+\)/\(\d+,\d+\)|dataset)$", re.ASCII
)


def _scenario(text: str) -> str:
    """The scenario in genai-bench's own words, since its result files are told apart by them."""
    squeezed = re.sub(r"\b0+(?=\d)", "", re.sub(r"\s+", "", text))
    if squeezed.startswith("U(") and "/" in squeezed:
        # It draws at least one token, and writes a least value of 0 as no least value at all.
        squeezed = squeezed.replace("(0,", "(1,")
    squeezed = re.sub(r"^(I\(\d+,\d+),1\)$", r"\1)", squeezed)
    if not _SCENARIO.match(squeezed):
        raise ValueError(
            f"{text!r} is no traffic scenario; write D(input tokens,output tokens), N(mean,sd)/(mean,sd) or "
            "U(min,max)/(min,max)"
        )
    return squeezed
