"""The task: model, engine, parameters, workload, objective, limits and budget, with the checks between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.secrets.literals import literal_secrets, text_without_secrets, without_secrets
from autotune_nb.task.artifacts import Artifacts
from autotune_nb.task.benchmark_kind import require_benchmark_kind
from autotune_nb.task.budget import CONFIRM_ROUNDS, Budget, Confirm, Price
from autotune_nb.task.deploy_section import Deploy
from autotune_nb.task.figures import require_figures, require_price, require_score
from autotune_nb.task.limits import of_workload
from autotune_nb.task.on_end import OnEnd
from autotune_nb.task.parameters import Choice, Parameter, ParameterName, parameter_name
from autotune_nb.task.preset_expansion import PresetUse
from autotune_nb.task.presets import PRESET_SCHEMA, with_expansion
from autotune_nb.task.quality import Quality
from autotune_nb.task.section import Section
from autotune_nb.task.sections import (
    Benchmark,
    Deadlines,
    EngineSpec,
    LevelRef,
    Model,
    ObjectiveSpec,
    Strategy,
)
from autotune_nb.task.slo import Slo
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.tracking import Tracking
from autotune_nb.task.validation_errors import first_error
from autotune_nb.task.workload import Workload
from autotune_nb.trial.measurement import Level, figure_name
from autotune_nb.trial.score import PROTOTYPE_OBJECTIVES, Limit, Objective

#: The points of a larger space are not counted, since that would take long.
_COUNT_UP_TO = 5000
#: The number of trials if the budget does not give one and the space is not exhausted before.
DEFAULT_TRIALS = 20


def _shorthand(key: str, section: type[Section]) -> BeforeValidator:
    """Return a validator that accepts one text in place of a section, as the value of ``key``."""
    return BeforeValidator(
        lambda value: {key: value} if isinstance(value, str) else value, json_schema_input_type=section | str
    )


def parse_objective(text: str) -> Objective:
    """Return the objective of a text such as ``maximize output_tokens_per_s``. Raises TaskError."""
    data = _objective(text, field="objective")
    return Objective(figure_name(data["figure"], field="objective"), data["direction"])


def _objective(value: Any, *, field: str = "") -> Any:
    """Expand short forms: ``maximize output_tokens_per_s`` and the prototype's ``minimize_latency``."""
    if not isinstance(value, str):
        return value
    if value in PROTOTYPE_OBJECTIVES:
        direction, figure = PROTOTYPE_OBJECTIVES[value]
        return {"direction": direction, "figure": figure}
    words = value.split()
    if len(words) == 2 and words[0] in ("minimize", "maximize"):
        return {"direction": words[0], "figure": words[1]}
    near = get_close_matches(words[0].lower(), ("minimize", "maximize"), 1) if len(words) == 2 else ()
    if near:
        raise TaskError(f"{value!r} is no objective; did you mean '{near[0]} {words[1]}'?", field=field)
    raise UnknownNameError(
        "objective",
        value,
        PROTOTYPE_OBJECTIVES,
        hint="or write 'maximize FIGURE' or 'minimize FIGURE', as in 'maximize output_tokens_per_s'",
    )


def _on_or_off(value: Any) -> Any:
    """Expand ``confirm: true`` to the default number of rounds, and ``false`` to none."""
    return ({"rounds": CONFIRM_ROUNDS} if value else {}) if isinstance(value, bool) else value


def _enabled(value: Any) -> Any:
    """Expand ``quality: true`` and ``false``."""
    return {"enabled": value} if isinstance(value, bool) else value


#: The context of a validation whose data was checked for secrets already, and whose errors are cleaned by the caller.
SECRETS_CHECKED = {"secrets checked": True}


_AnObjective = Annotated[
    ObjectiveSpec, BeforeValidator(lambda value: _objective(value), json_schema_input_type=ObjectiveSpec | str)
]
_OBJECTIVE: TypeAdapter[ObjectiveSpec] = TypeAdapter(_AnObjective)


def _one_or_several(schema: dict[str, Any]) -> None:
    """Describe in the JSON Schema that either ``objective`` or ``objectives`` is required."""
    schema["required"] = [name for name in schema["required"] if name != "objective"]
    schema["anyOf"] = [{"required": ["objective"]}, {"required": ["objectives"]}]


class Task(Section):
    """What to tune: a model and an engine, the parameters to search, the workload, the objective and the budget.

    ``Task.load`` reads one from a JSON or YAML file, ``Task.parse`` from plain data.
    """

    model_config = ConfigDict(json_schema_extra=_one_or_several)

    name: str = Field(min_length=1, max_length=60, pattern=r"^[^\s/\\][^/\\\x00-\x1f]*$")
    description: str = ""
    model: Annotated[Model, _shorthand("id_or_path", Model)]
    engine: Annotated[EngineSpec, _shorthand("kind", EngineSpec)]
    parameters: dict[ParameterName, Parameter] = Field(json_schema_extra=PRESET_SCHEMA)
    rules: list[str] = Field(default_factory=list)
    expanded_presets: list[PresetUse] = Field(
        default_factory=list,
        description="a record of the presets that parameters and rules come from; to use one, write parameters.preset",
    )
    workload: Workload
    objective: _AnObjective
    objectives: list[_AnObjective] = Field(
        default_factory=list,
        description="several at once, in place of objective; the result is their Pareto front",
    )
    limits: list[
        Annotated[str, Field(json_schema_extra={"pattern": r"^\s*\w+\s*[<>]=?\s*[-+0-9.eE]+(\s+of\s+\S.*)?\s*$"})]
    ] = Field(default_factory=list, description="such as ttft_p99_s <= 0.5, or ttft_p99_s <= 0.5 of D(64,32)")
    strategy: Annotated[Strategy, _shorthand("sampler", Strategy)] = Strategy()
    warm_start: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        BeforeValidator(
            lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=list[str] | str
        ),
    ] = Field(default_factory=list, description="previous studies: folders, or files that export or --json wrote")
    budget: Budget = Budget()
    price: Price = Price()
    slo: Slo = Slo()
    confirm: Annotated[Confirm, BeforeValidator(_on_or_off, json_schema_input_type=Confirm | bool)] = Confirm()
    quality: Annotated[Quality, BeforeValidator(_enabled, json_schema_input_type=Quality | bool)] = Quality()
    deadlines: Deadlines = Deadlines()
    deploy: Annotated[Deploy, _shorthand("kind", Deploy)] = Deploy()
    benchmark: Benchmark = Benchmark()
    tracking: Annotated[Tracking, _shorthand("kind", Tracking)] = Tracking()
    on_end: Annotated[OnEnd, _shorthand("command", OnEnd)] = OnEnd()
    artifacts: Annotated[Artifacts, _shorthand("url", Artifacts)] = Artifacts()

    @model_validator(mode="wrap")
    @classmethod
    def _no_plain_secret(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Reject secret values in every task, also one created without ``parse``, and redact them in errors."""
        if info.context is SECRETS_CHECKED:
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

    @model_validator(mode="before")
    @classmethod
    def _first_of_several(cls, data: Any) -> Any:
        """Read the first of several objectives as the objective; an error in it is reported where it is written."""
        several = data.get("objectives") if isinstance(data, dict) else None
        if not isinstance(several, list) or not several or "objective" in data:
            return data
        try:
            first = _OBJECTIVE.validate_python(several[0])
        except (ValidationError, TaskError):
            first = ObjectiveSpec(direction="maximize", figure="output_tokens_per_s")
        return {**data, "objective": first}

    @model_validator(mode="before")
    @classmethod
    def _expand_presets(cls, data: Any) -> Any:
        return with_expansion(data) if isinstance(data, dict) else data

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
        require_objectives(self.objective, self.objectives)
        self.space  # noqa: B018
        both = fixed_and_searched(self.parameters, self.engine)
        if both:
            raise TaskError(f"{both[0]!r} is fixed here and searched in parameters", field=f"engine.args.{both[0]}")
        require_predictions(self.budget, self.strategy, self.goal)
        if self.warm_start and self.strategy.sampler != "auto":
            raise TaskError(
                f"needs strategy auto, whose models learn from previous studies; {self.strategy.sampler} does not",
                field="warm_start",
            )
        require_price(self.budget, self.price)
        require_score(self.goal, self.slo)
        require_figures(self.goal, self.price, self.workload, replayed=self.deploy.kind == "replay")
        require_benchmark_kind(self.benchmark, self.workload, self.deploy, self.goal.figures)
        if self.confirmation is not None and not self.budget.baseline:
            raise TaskError("compares with the engine's default: set budget.baseline to true", field="confirm")
        if self.confirm.rounds and self.goal.others:
            raise TaskError("compares one objective; the task has several: omit confirm", field="confirm")
        if self.strategy.sampler == "grid" and self.space.grid_size is None:
            next(self.space.grid())

    @cached_property
    def space(self) -> SearchSpace:
        """The parameters and the rules between them."""
        return SearchSpace.of(self.parameters, self.rules)

    @property
    def confirmation(self) -> Confirm | None:
        """The rules of the confirmation; None if the study has none, such as with several objectives."""
        return self.confirm if self.confirm.rounds and len(self.objectives) < 2 else None

    @cached_property
    def goal(self) -> Objective:
        """The objective with its level, its parsed limits, and the other objectives."""
        parsed = [Limit.parse(text, field=f"limits[{i}]") for i, text in enumerate(self.limits)]
        level = None if self.objective.at == "best" else self._level(self.objective.at)
        limits = tuple(of_workload(one, self.workload, level, field=f"limits[{i}]") for i, one in enumerate(parsed))
        others = tuple(Objective(one.figure, one.direction, level) for one in self.objectives[1:])
        return Objective(self.objective.figure, self.objective.direction, level, limits, others)

    def _level(self, ref: LevelRef) -> Level:
        found = [
            level
            for level in self.workload.levels
            if (level.concurrency, level.batch_size, level.rate) == (ref.concurrency, ref.batch_size, ref.rate or 0.0)
            and ref.scenario in (None, level.scenario)
        ]
        if len(found) != 1:
            known = "; ".join(str(level) for level in self.workload.levels)
            problem = "does not match any level" if not found else "matches several levels, add the scenario"
            raise TaskError(f"{problem}; the levels of the workload are {known}", field="objective.at")
        return found[0]

    @cached_property
    def num_trials(self) -> int | None:
        """The number of trials that budget and space allow, including the baseline; None if it is unbounded."""
        return trials_allowed(self.budget, self.strategy, self.space)

    def __repr__(self) -> str:
        from autotune_nb.task.summary import task_line

        return task_line(self)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        from autotune_nb.task.summary import task_html

        return task_html(self)

    def __dir__(self) -> list[str]:
        """List the task's own names, without those of pydantic, for tab completion."""
        own = [name for name in vars(Task) if not name.startswith("_") and name != "model_config"]
        return [*own, *type(self).model_fields]

    @classmethod
    def load(cls, path: str | Path) -> Task:
        """Read a task file in JSON or YAML.

        A bare name without a suffix, such as ``quickstart``, is a task of this package. A prototype's file is
        converted; ``PrototypeWarning`` reports fields that are not.

        Raises TaskError for an invalid file, with one line that names the field.
        """
        from autotune_nb.task.file import load_task

        return load_task(path)

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Task:
        """Return the task of plain data. Raises TaskError for invalid data, with one line that names the field."""
        from autotune_nb.task.file import parse_task

        return parse_task(data)

    def save(self, path: str | Path) -> Path:
        """Write the task to a file: JSON if its name ends in .json, otherwise YAML."""
        from autotune_nb.task.file import save_task

        return save_task(self, path)


def fixed_and_searched(parameters: Mapping[str, Parameter], engine: EngineSpec) -> list[str]:
    """Return the flags that are fixed in ``engine.args`` and have several values in the parameters.

    A single value is compared with the fixed one, which only the engine's default has then.
    """
    both = sorted(parameters.keys() & engine.args.keys())
    return [name for name in both if not (isinstance(own := parameters[name], Choice) and len(own.values) == 1)]


def require_objectives(objective: ObjectiveSpec, objectives: Sequence[ObjectiveSpec]) -> None:
    """Raise TaskError if several objectives do not fit together."""
    if not objectives:
        return
    if objective != objectives[0]:
        first = f"{objectives[0].direction} {objectives[0].figure}"
        raise TaskError(
            f"objectives begin with {first}, which objective is not: give one of the two", field="objective"
        )
    for i, one in enumerate(objectives[1:], 1):
        field = f"objectives[{i}]"
        if any(one.figure == other.figure for other in objectives[:i]):
            raise TaskError(f"{one.figure} is given twice", field=field)
        if one.at not in ("best", objectives[0].at):
            raise TaskError("all objectives are read at one level: give at for the first one only", field=f"{field}.at")


def require_predictions(budget: Budget, strategy: Strategy, objective: Objective) -> None:
    """Raise TaskError if budget or objectives need what the strategy does not do."""
    if objective.others and strategy.sampler == "cmaes":
        raise TaskError("cmaes searches for one objective; for several, use auto or nsgaii", field="strategy.sampler")
    if objective.others and budget.patience == "auto":
        raise TaskError(
            "auto needs one objective: the gain of another trial is not predicted for several; give a number of "
            "trials, such as 10",
            field="budget.patience",
        )
    if budget.patience == "auto" and strategy.sampler != "auto":
        raise TaskError(
            f"auto needs strategy auto, which predicts the gain of another trial; {strategy.sampler} does not: give a "
            "number of trials, such as 10",
            field="budget.patience",
        )


def trials_allowed(
    budget: Budget, strategy: Strategy, space: SearchSpace, *, default: int | None = DEFAULT_TRIALS
) -> int | None:
    """Return the number of trials that a budget and a space allow, including the baseline; None if unbounded.

    ``default`` applies if the budget gives no number of trials and the sampler is not a grid.
    """
    grid = strategy.sampler == "grid"
    size = space.grid_size
    available = None
    if grid or (size is not None and size <= _COUNT_UP_TO):
        points = space.num_allowed if grid else space.num_points
        available = None if points is None else points + int(budget.baseline)
    wanted = budget.trials or (None if grid else default)
    return min((n for n in (wanted, available) if n is not None), default=None)
