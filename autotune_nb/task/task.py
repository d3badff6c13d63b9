"""The whole request: model, engine, parameters, workload, objective, limits, budget."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.secrets.literals import literal_secrets, text_without_secrets, without_secrets
from autotune_nb.task.parameters import Parameter, ParameterName, parameter_name
from autotune_nb.task.sections import (
    Benchmark,
    Budget,
    Deadlines,
    Deploy,
    EngineSpec,
    LevelRef,
    Model,
    ObjectiveSpec,
    Strategy,
)
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.validation_errors import first_error
from autotune_nb.task.workload import Section, Workload
from autotune_nb.trial.measurement import Level
from autotune_nb.trial.score import PROTOTYPE_OBJECTIVES, Limit, Objective

#: Counting the points of a larger space takes longer than it is worth.
_COUNT_UP_TO = 5000
#: How many trials there are to be where the budget does not say and the space goes on.
DEFAULT_TRIALS = 20


def _word(key: str, section: type[Section]) -> BeforeValidator:
    """A section that may be given by one word."""
    return BeforeValidator(
        lambda value: {key: value} if isinstance(value, str) else value, json_schema_input_type=section | str
    )


def _objective(value: Any) -> Any:
    """``maximize output_tokens_per_s`` and the prototype's ``minimize_latency`` are short forms."""
    if not isinstance(value, str):
        return value
    if value in PROTOTYPE_OBJECTIVES:
        direction, figure = PROTOTYPE_OBJECTIVES[value]
        return {"direction": direction, "figure": figure}
    words = value.split()
    if len(words) == 2 and words[0] in ("minimize", "maximize"):
        return {"direction": words[0], "figure": words[1]}
    raise UnknownNameError(
        "objective",
        value,
        PROTOTYPE_OBJECTIVES,
        hint="or write 'maximize FIGURE' or 'minimize FIGURE', as in 'maximize output_tokens_per_s'",
    )


#: The context of a validation whose data was searched for secrets already, and whose errors are cleaned by the caller.
LOOKED_AT = {"looked at": True}


class Task(Section):
    """The whole request. ``Task.load`` reads JSON and YAML, the prototype's files too."""

    name: str = Field(min_length=1, max_length=60, pattern=r"^[^\s/\\][^/\\\x00-\x1f]*$")
    description: str = ""
    model: Annotated[Model, _word("id_or_path", Model)]
    engine: Annotated[EngineSpec, _word("kind", EngineSpec)]
    parameters: dict[ParameterName, Parameter]
    rules: list[str] = Field(default_factory=list)
    workload: Workload
    objective: Annotated[ObjectiveSpec, BeforeValidator(_objective, json_schema_input_type=ObjectiveSpec | str)]
    limits: list[Annotated[str, Field(json_schema_extra={"pattern": r"^\s*\w+\s*[<>]=?\s*[-+0-9.eE]+\s*$"})]] = Field(
        default_factory=list, description="such as ttft_p99_s <= 0.5"
    )
    strategy: Annotated[Strategy, _word("sampler", Strategy)] = Strategy()
    budget: Budget = Budget()
    deadlines: Deadlines = Deadlines()
    deploy: Annotated[Deploy, _word("kind", Deploy)] = Deploy()
    benchmark: Benchmark = Benchmark()

    @model_validator(mode="wrap")
    @classmethod
    def _no_plain_secret(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """However a task is made, it holds no secret's own value, and no error repeats one."""
        if info.context is LOOKED_AT:
            return handler(data)
        wrong = None
        try:
            task = handler(data)
            wrong = next(literal_secrets(task.model_dump(exclude_defaults=True)), None)
        except ValidationError as error:
            if text_without_secrets(str(error), data) == str(error):
                raise
            wrong = without_secrets(first_error(error, cls), data)
        if wrong is not None:
            raise wrong
        return task

    @field_validator("parameters", mode="before")
    @classmethod
    def _named_once(cls, parameters: Any) -> Any:
        first: dict[str, str] = {}
        for name in parameters if isinstance(parameters, dict) else ():
            other = first.setdefault(parameter_name(name), name)
            if other is not name:
                raise ValueError(f"{other!r} and {name!r} are the same parameter")
        return parameters

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        try:
            self._require_consistent()
            return self
        except TaskError as error:
            wrong = without_secrets(error, self.model_dump(exclude_defaults=True))
        raise wrong

    def _require_consistent(self) -> None:
        self.goal  # noqa: B018
        self.space  # noqa: B018
        both = sorted(set(self.parameters) & set(self.engine.args))
        if both:
            raise TaskError(f"{both[0]!r} is fixed here and searched in parameters", field=f"engine.args.{both[0]}")
        if self.strategy.sampler == "grid" and self.space.grid_size is None:
            next(self.space.grid())

    @cached_property
    def space(self) -> SearchSpace:
        """The parameters and the rules between them."""
        return SearchSpace.of(self.parameters, self.rules)

    @cached_property
    def goal(self) -> Objective:
        """The objective with its level found and its limits read."""
        limits = tuple(Limit.parse(text, field=f"limits[{i}]") for i, text in enumerate(self.limits))
        level = None if self.objective.at == "best" else self._level(self.objective.at)
        return Objective(self.objective.figure, self.objective.direction, level, limits)

    def _level(self, ref: LevelRef) -> Level:
        found = [
            level
            for level in self.workload.levels
            if (level.concurrency, level.batch_size) == (ref.concurrency, ref.batch_size)
            and ref.scenario in (None, level.scenario)
        ]
        if len(found) != 1:
            known = "; ".join(str(level) for level in self.workload.levels)
            problem = "names no level" if not found else "names several levels, add the scenario"
            raise TaskError(f"{problem} of this workload: {known}", field="objective.at")
        return found[0]

    @cached_property
    def num_trials(self) -> int | None:
        """How many trials budget and space allow, the baseline counted in; None where only the space's end stops it."""
        return trials_allowed(self.budget, self.strategy, self.space)

    @classmethod
    def load(cls, path: str | Path) -> Task:
        """Read a task file, JSON or YAML, the prototype's too (what cannot be carried over comes as a warning).

        A bare name without a suffix, such as ``quickstart``, is a task that comes with this package.

        Raises TaskError, in one line that names the field, where anything is wrong with it.
        """
        from autotune_nb.task.file import load_task

        return load_task(path)

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Task:
        """A task from plain data. Raises TaskError, in one line that names the field."""
        from autotune_nb.task.file import parse_task

        return parse_task(data)

    def save(self, path: str | Path) -> Path:
        """Write the task; a name ending in .json gets JSON, any other YAML."""
        from autotune_nb.task.file import save_task

        return save_task(self, path)


def trials_allowed(
    budget: Budget, strategy: Strategy, space: SearchSpace, *, without: int | None = DEFAULT_TRIALS
) -> int | None:
    """How many trials a budget and a space allow, the baseline counted in; None where only the space's end stops it.

    ``without`` is how many there are to be where neither the budget says so nor a grid.
    """
    grid = strategy.sampler == "grid"
    size = space.grid_size
    there_are = None
    if grid or (size is not None and size <= _COUNT_UP_TO):
        points = space.num_allowed if grid else space.num_points
        there_are = None if points is None else points + int(budget.baseline)
    wanted = budget.trials or (None if grid else without)
    return min((n for n in (wanted, there_are) if n is not None), default=None)
