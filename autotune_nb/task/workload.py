"""The workload of every trial: traffic scenarios, load levels and their durations."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from autotune_nb.errors import UnknownNameError
from autotune_nb.task.dataset import Dataset
from autotune_nb.task.parameters import Value
from autotune_nb.task.scenario import (
    RequestSize,
    as_scenario,
    canonical_scenario,
    needs_text,
    request_size,
    require_possible,
)
from autotune_nb.task.section import Section
from autotune_nb.trial.measurement import Level

#: genai-bench's task kinds; those in ``BATCH_TASKS`` send batches instead of concurrent requests.
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
#: More concurrent requests than one load generator sends.
MAX_LOAD = 100_000
#: How many times its seconds a level may last that is imprecise, or, without a maximum, undecided.
LONGEST = 1.5


#: The times of a request that the goodput may bound, and their names in vLLM's benchmark.
_GOODPUT = {"ttft_s": "ttft", "tpot_s": "tpot", "e2e_latency_s": "e2el"}
_GoodputBounds = dict[Literal["ttft_s", "tpot_s", "e2e_latency_s"], Annotated[float, Field(gt=0)]]


def _goodput(value: Any) -> Any:
    """Expand a text like that of vLLM's --goodput, with milliseconds: ``ttft:500 tpot:50``."""
    if isinstance(value, str):
        names = {theirs: ours for ours, theirs in _GOODPUT.items()}
        found = [part.partition(":") for part in value.replace(",", " ").split()]
        try:
            return {names[name]: float(number) / 1000 for name, _, number in found}
        except (KeyError, ValueError):
            raise ValueError(
                f"{value!r} are no bounds of a request; write ttft_s: 0.5, tpot_s: 0.05, e2e_latency_s: 5, or as for "
                "vLLM, in milliseconds, 'ttft:500 tpot:50 e2el:5000'"
            ) from None
    for name in value if isinstance(value, dict) else ():
        if name not in _GOODPUT:
            raise UnknownNameError("time of a request", str(name), _GOODPUT)
    return value


def _path(value: Any) -> Any:
    """Expand a dataset's path in the place of its section."""
    return {"path": value} if isinstance(value, str) else value


class LoadSearch(Section):
    """A search for the highest concurrency that keeps every limit, within each trial."""

    low: int = Field(1, ge=1, le=MAX_LOAD, description="the first concurrency of a load search")
    high: int | None = Field(
        None,
        ge=2,
        le=MAX_LOAD,
        description="search the highest concurrency that keeps every limit, up to this one; empty: measure the given",
    )
    step: float = Field(
        1.1,
        gt=1,
        le=2,
        description="the search ends once a limit breaks at so many times the load that keeps all",
    )

    @model_validator(mode="after")
    def _range(self) -> LoadSearch:
        if self.high is not None and self.high <= self.low:
            raise ValueError(f"high is {self.high}, which must be above low, {self.low}")
        return self

    @property
    def ladder(self) -> tuple[int, ...]:
        """The loads that a benchmark measures that cannot be asked for each: each twice the one before."""
        high = self.high or self.low
        loads = [self.low]
        while loads[-1] < high:
            loads.append(min(2 * loads[-1], high))
        return tuple(loads)

    @property
    def most_runs(self) -> int:
        """The most levels of a trial: the doublings, the halvings of one gap, and six to repeat or move its ends."""
        # No gap is halved further than between a load and the next one.
        halvings = math.ceil(math.log2(max(1.0, min(1 / math.log2(self.step), self.ladder[-1] / 2))))
        return len(self.ladder) + halvings + 6


class Workload(Section):
    """The traffic of every trial: each scenario with each number of concurrent requests, batch size or request rate."""

    task: str = Field("text-to-text", description="genai-bench's task kind")
    scenarios: list[Annotated[str, BeforeValidator(as_scenario, json_schema_input_type=str | dict[str, Any])]] = Field(
        min_length=1, description="traffic scenarios, such as D(64,32): tokens in, tokens out; of a dataset: dataset"
    )
    dataset: Annotated[Dataset, BeforeValidator(_path, json_schema_input_type=Dataset | str)] = Dataset()
    concurrency: list[Annotated[int, Field(ge=1, le=MAX_LOAD)]] = Field(default=[1], min_length=1)
    load_search: LoadSearch = LoadSearch()
    batch_sizes: list[Annotated[int, Field(ge=1, le=MAX_LOAD)]] = Field(default=[1], min_length=1)
    rate: list[Annotated[float, Field(ge=0.001, le=MAX_LOAD)]] = Field(
        default=[], description="requests per second, in place of concurrency: they arrive whether or not others end"
    )
    arrival: Literal["poisson", "constant"] = Field("poisson", description="how the requests of a rate arrive")
    seconds_per_level: int = Field(60, ge=1, le=1_000_000, description="a level ends after so many seconds")
    requests_per_level: int = Field(100, ge=1, description="or after about so many requests")
    precision: float | None = Field(
        0.03,
        gt=0,
        lt=1,
        description="a level goes on, for up to half its time, until the error of its throughput is this share",
    )
    max_seconds_per_level: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="how long a level may go on while a limit on a percentile is undecided; default 1.5 times",
    )
    warmup_requests: int = Field(2, ge=1, le=1000, description="completions sent before the first level")
    warmup_ratio: float = Field(0.0, ge=0, lt=1, description="share of each level's requests to ignore at its start")
    request_params: dict[str, Value] = Field(default_factory=dict, description="added to every request's body")
    max_failed_requests: int = Field(0, ge=0)
    min_completed_requests: int = Field(3, ge=1)
    goodput: Annotated[
        dict[str, Annotated[float, Field(gt=0)]], BeforeValidator(_goodput, json_schema_input_type=_GoodputBounds | str)
    ] = Field(
        default_factory=dict,
        description="the bounds that a request must keep to count for the goodput, such as ttft_s: 0.5, tpot_s: 0.05",
    )
    min_output_ratio: float = Field(
        0.9, ge=0, le=1, description="share of the requested output tokens that replies must have on average"
    )

    @field_validator("scenarios")
    @classmethod
    def _scenario(cls, values: list[str]) -> list[str]:
        scenarios = [canonical_scenario(value) for value in values]
        for text in scenarios:
            require_possible(text)
        return scenarios

    @field_validator("task")
    @classmethod
    def _kind(cls, task: str) -> str:
        if task not in TASK_KINDS:
            raise UnknownNameError("task kind", task, TASK_KINDS)
        return task

    @field_validator("scenarios", "concurrency", "batch_sizes", "rate")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) != len(values):
            raise ValueError("a value is listed twice")
        return values

    @field_validator("rate")
    @classmethod
    def _exact_name(cls, values: list[float]) -> list[float]:
        # A level's name has its rate, and is read back from exported tables.
        return [round(value, 3) for value in values]

    @model_validator(mode="after")
    def _one_load(self) -> Workload:
        if self.load_search.high is None:
            return self
        if self.concurrency != [1]:
            raise ValueError("load_search chooses the concurrency: omit concurrency, or load_search.high")
        if self.task in BATCH_TASKS or len(self.scenarios) > 1:
            raise ValueError("load_search needs one scenario of concurrent requests")
        return self

    @model_validator(mode="after")
    def _own_prompts(self) -> Workload:
        dataset, images = self.dataset, self.task.startswith("image")
        textual = [scenario for scenario in self.scenarios if needs_text(scenario)]
        if textual and self.task != "text-to-text":
            raise ValueError(f"the scenario {textual[0]} is for text-to-text, and the task is {self.task}")
        if dataset.path is None:
            return self
        if images and dataset.image_column is None:
            raise ValueError(f"{self.task} needs dataset.image_column, the column with the images")
        if not images and dataset.image_column is not None:
            raise ValueError(f"dataset.image_column is for image-text-to-text, and the task is {self.task}: omit it")
        return self

    @property
    def longest_s(self) -> float:
        """How long a level may go on while a limit on a percentile is undecided."""
        return self.max_seconds_per_level or LONGEST * self.seconds_per_level

    @property
    def most_seconds(self) -> float:
        """How long a level may last at most."""
        return max(self.longest_s, LONGEST * self.seconds_per_level)

    @property
    def generates_text(self) -> bool:
        return self.task.endswith("-to-text")

    def request_size(self, scenario: str) -> RequestSize | None:
        """Return the tokens of a scenario's requests; None if the scenario does not say how many."""
        size = request_size(scenario) if self.generates_text else None
        for name in ("max_tokens", "max_completion_tokens"):
            tokens = self.request_params.get(name)
            if size is not None and isinstance(tokens, int) and not isinstance(tokens, bool):
                # It replaces the scenario's tokens in every request.
                size = RequestSize(size.input_tokens, tokens)
        return size

    @property
    def levels(self) -> tuple[Level, ...]:
        """Every load level, in the order of the benchmark."""
        if self.task in BATCH_TASKS:
            return tuple(Level(s, 1, b) for s in self.scenarios for b in self.batch_sizes)
        if self.rate:
            return tuple(Level(s, rate=rate) for s in self.scenarios for rate in self.rate)
        return tuple(Level(s, c) for s in self.scenarios for c in self.loads)

    @property
    def loads(self) -> tuple[int, ...]:
        """The concurrencies of the levels; of a load search those that a benchmark measures that cannot be asked."""
        return tuple(self.concurrency) if self.load_search.high is None else self.load_search.ladder

    @property
    def most_levels(self) -> int:
        """How many levels a trial has at most."""
        return len(self.levels) if self.load_search.high is None else self.load_search.most_runs
