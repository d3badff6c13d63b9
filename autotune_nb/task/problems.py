"""Collects every error in a task's plain data, each with its field, instead of stopping at the first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError, model_validator

from autotune_nb.errors import TaskError
from autotune_nb.task.figures import require_figures, require_price, require_score
from autotune_nb.task.limits import of_workload
from autotune_nb.task.parameters import Parameter, ParameterName, parameter_name
from autotune_nb.task.rule import Rule
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import SECRETS_CHECKED, Task, fixed_and_searched, require_objectives
from autotune_nb.task.validation_errors import every_error
from autotune_nb.trial.score import Limit


class _Fields(Task):
    """A task whose fields are validated one by one, without the checks between them."""

    @model_validator(mode="after")
    def _consistent(self) -> _Fields:
        return self


_PARAMETERS = TypeAdapter(dict[ParameterName, Parameter])
#: Replaces a required field that is invalid, so that the others can be validated.
_PLACEHOLDERS: dict[str, Any] = {
    "name": "x",
    "model": "x",
    "engine": "llama_cpp",
    "parameters": {},
    "workload": {"scenarios": ["D(1,1)"]},
    "objective": "minimize ttft",
}


@dataclass(frozen=True)
class Examination:
    """Every error in a task's data, and a task of its valid part.

    ``failed`` are the top-level fields with an error. In ``valid_part`` a default or a placeholder replaces them, but
    valid parameters are kept.
    """

    problems: tuple[TaskError, ...]
    valid_part: Task
    failed: frozenset[str]


def examine(data: dict[str, Any], *, search: bool = True) -> Examination:
    """Validate all of a task's data.

    With ``search`` it also searches for a point that keeps every rule, which may take seconds.
    """
    found: list[TaskError] = []
    failed: frozenset[str] = frozenset()
    try:
        valid_part: Task = _Fields.model_validate(data, context=SECRETS_CHECKED)
    except ValidationError as error:
        found = every_error(error, Task)
        failed = frozenset(_top_level_field(e.field) for e in found)
        valid_part = _Fields.model_validate(_valid_fields(data, failed), context=SECRETS_CHECKED)
    found += _cross_field_errors(data, valid_part, failed, search)
    return Examination(tuple(found), valid_part, frozenset(_top_level_field(e.field) for e in found))


def _top_level_field(field: str) -> str:
    return re.split(r"[.\[]", field, maxsplit=1)[0]


def _valid_fields(data: dict[str, Any], failed: frozenset[str]) -> dict[str, Any]:
    part = {key: value for key, value in data.items() if key not in failed}
    part |= {key: value for key, value in _PLACEHOLDERS.items() if key not in part}
    if "parameters" in failed and isinstance(data.get("parameters"), dict):
        right = (item for item in data["parameters"].items() if _is_valid(_PARAMETERS, dict([item])))
        part["parameters"] = {parameter_name(name): value for name, value in right}
    return part


def _is_valid(adapter: TypeAdapter[Any], value: Any) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def _cross_field_errors(
    data: dict[str, Any], valid_part: Task, failed: frozenset[str], search: bool
) -> list[TaskError]:
    """Return the errors between fields that are valid by themselves, in the order in which ``Task`` checks them."""
    found: list[TaskError] = []
    limits: dict[int, Limit] = {}
    for i, text in _indexed_texts(data.get("limits")):
        with _collected(found):
            limits[i] = Limit.parse(text, field=f"limits[{i}]")
    if not failed & {"objective", "objectives", "workload"}:
        with _collected(found):
            require_objectives(valid_part.objective, valid_part.objectives)
        with _collected(found):
            level = valid_part.model_copy(update={"limits": []}).goal.level
            for i, limit in limits.items():
                with _collected(found):
                    of_workload(limit, valid_part.workload, level, field=f"limits[{i}]")
    if not valid_part.parameters and "parameters" not in failed:
        found.append(TaskError("there is nothing to tune: name at least one parameter", field="parameters"))
    else:
        before = len(found)
        given = data.get("parameters")
        # Rules may name a parameter that is itself invalid.
        wrong = [parameter_name(name) for name in given if isinstance(name, str)] if isinstance(given, dict) else []
        names = list(dict.fromkeys([*valid_part.parameters, *wrong]))
        for i, text in _indexed_texts(data.get("rules")):
            with _collected(found):
                Rule(text, names, field=f"rules[{i}]")
        if search and len(found) == before and not failed & {"parameters", "rules"}:
            with _collected(found):
                SearchSpace.of(valid_part.parameters, valid_part.rules)
    if not found and not failed & {"objective", "objectives", "limits", "price", "budget", "workload", "slo"}:
        with _collected(found):
            require_price(valid_part.budget, valid_part.price)
        with _collected(found):
            require_score(valid_part.goal, valid_part.slo)
        with _collected(found):
            require_figures(
                valid_part.goal, valid_part.price, valid_part.workload, replayed=valid_part.deploy.kind == "replay"
            )
    if not failed & {"parameters", "engine"}:
        for name in fixed_and_searched(valid_part.parameters, valid_part.engine):
            found.append(TaskError(f"{name!r} is fixed here and searched in parameters", field=f"engine.args.{name}"))
    if valid_part.strategy.sampler == "grid" and "strategy" not in failed:
        for name, parameter in valid_part.parameters.items():
            with _collected(found):
                next(SearchSpace({name: parameter}).grid())
    return found


@contextmanager
def _collected(found: list[TaskError]) -> Iterator[None]:
    try:
        yield
    except TaskError as error:
        found.append(error)


def _indexed_texts(value: Any) -> list[tuple[int, str]]:
    return [(i, v) for i, v in enumerate(value) if isinstance(v, str)] if isinstance(value, list) else []
