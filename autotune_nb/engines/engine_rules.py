"""Rules between an engine's flags, also those that depend on the model's attention heads and on the workload."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from autotune_nb.engines.base import Engine, Flag
from autotune_nb.engines.model_config import model_config
from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import Choice, Value
from autotune_nb.task.rule import Rule
from autotune_nb.task.scenario import RequestSize, request_size, scenario_parts
from autotune_nb.task.task import Task
from autotune_nb.task.written_presets import is_expanded

_HEADS = ("num_attention_heads", "n_head")


class EngineRule(Rule):
    """A rule of the engine's catalog, applied to the names under which the task tunes the flags."""

    owner = "the engine"

    def __init__(self, text: str, tuned: Mapping[str, str], fixed: Mapping[str, Value], engine: Engine) -> None:
        super().__init__(text, list(fixed))
        self._tuned = tuned
        self._fixed = fixed
        self._flags = {flag.name: flag for flag in (*engine.flags, *engine.other_flags)}

    @property
    def tuned(self) -> tuple[str, ...]:
        """The task's parameters that the rule involves."""
        return tuple(self._tuned[name] for name in self.names if name in self._tuned)

    def allows(self, point: Mapping[str, Value]) -> bool:
        values = {n: point.get(self._tuned[n]) if n in self._tuned else self._fixed[n] for n in self.names}
        values = {name: comparable(self._flags.get(name), value) for name, value in values.items()}
        return super().allows(values)


def comparable(flag: Flag | None, value: Value) -> Value:
    """Return a value as rules compare it: a size as its number, and None for a word in place of a number."""
    if flag is None:
        return value
    # YAML reads a bare on/off as a boolean, while the catalog's rules use the words.
    if isinstance(value, bool) and "on" in flag.values:
        return "on" if value else "off"
    if flag.kind in ("int", "float"):
        return None if value in flag.other_values else flag.number(value)
    return value


def rules_for(task: Task, engine: Engine) -> list[EngineRule]:
    """Return the engine's rules that involve a tuned parameter and are not among the task's own.

    For a flag that the task does not tune, a rule uses the value that the task fixes, or else the engine's default. A
    rule that needs an unknown value allows every point.
    """
    written = {rule.text for rule in task.space.rules}
    texts = (*engine.rules, *_head_rules(task, engine), *_context_rules(task, engine))
    rules = (_rule(text, task, engine) for text in texts if text not in written)
    return [rule for rule in rules if rule.tuned]


def _rule(text: str, task: Task, engine: Engine) -> EngineRule:
    fixed: dict[str, Value] = {flag.name: flag.default for flag in (*engine.flags, *engine.other_flags)}
    fixed |= engine.named({**engine.flags_in(task.engine.raw_args), **task.engine.args})
    tuned = {(flag.name if (flag := engine.flag_named(name)) else name): name for name in task.parameters}
    return EngineRule(text, tuned, fixed, engine)


def size_problems(task: Task, engine: Engine) -> Iterator[TaskError]:
    """Yield the given sizes with which no trial can run.

    These are parallel sizes that do not divide the model's attention heads, and contexts that no request of a scenario
    fits.
    """
    heads = attention_heads(task, engine)
    for text in _head_rules(task, engine):
        size = engine.parallel_sizes[0]
        field, wrong, others = _broken(_rule(text, task, engine), size, task, engine)
        if others and is_expanded(task, field.removeprefix("parameters.")):
            # A preset has the sizes of every model: the rule excludes those that do not fit this one.
            continue
        if wrong:
            values = ", ".join(map(str, wrong))
            yield TaskError(
                f"the model's {heads} attention heads cannot be divided among the GPUs with {values}; "
                f"its {size.replace('_', ' ')} must divide them",
                field=field,
            )
    for text in _context_rules(task, engine):
        field, wrong, others = _broken(_rule(text, task, engine), engine.context_flag, task, engine)
        # Of several values, the rule excludes those that are too short.
        if wrong and not others:
            scenario, longest = _longest_requests(task)
            tokens = longest.input_tokens + longest.output_tokens if longest is not None else 0
            yield TaskError(
                f"requests of {scenario} have {tokens:,.0f} tokens, more than {', '.join(map(str, wrong))}: set a "
                "longer context, or send shorter prompts",
                field=field,
            )


def _broken(rule: EngineRule, flag: str, task: Task, engine: Engine) -> tuple[str, list[Value], list[Value]]:
    """Return the field that sets a flag, its values that break a rule, and the others; of a range no values."""
    name = next(iter(rule.tuned), None)
    if name is None:
        fixed = engine.named({**engine.flags_in(task.engine.raw_args), **task.engine.args})
        given = next((arg for arg in task.engine.args if flag in engine.named({arg: None})), None)
        field = "engine.raw_args" if given is None else f"engine.args.{given}"
        return field, ([] if rule.allows({}) else [fixed.get(flag)]), []
    parameter = task.parameters[name]
    values = parameter.values if isinstance(parameter, Choice) and len(rule.tuned) == 1 else []
    allowed = [value for value in values if rule.allows({name: value})]
    return f"parameters.{name}", [value for value in values if value not in allowed], allowed


def _head_rules(task: Task, engine: Engine) -> tuple[str, ...]:
    heads = attention_heads(task, engine)
    return () if heads is None else tuple(text.format(heads=heads) for text in engine.head_rules)


def _context_rules(task: Task, engine: Engine) -> tuple[str, ...]:
    """Return the rule that the longest requests fit the engine's context; 0 is the model's own."""
    flag, size = engine.context_flag, _longest_requests(task)[1]
    if not flag or size is None or task.deploy.kind == "replay":
        return ()
    # A reply that is cut off is valid down to this share of its tokens.
    least = size.input_tokens + size.output_tokens * task.workload.min_output_ratio
    return (f"{flag} == 0 or {flag} >= {math.ceil(least)}",)


def _longest_requests(task: Task) -> tuple[str, RequestSize | None]:
    """Return the scenario, or the part of a mix, with the most tokens on average, and these; None if none is known."""
    parts = [part for scenario in task.workload.scenarios for _, part in scenario_parts(scenario)]
    known = [(part, size) for part in parts if (size := request_size(part)) is not None]
    return max(known, key=lambda one: one[1].input_tokens + one[1].output_tokens, default=("", None))


def attention_heads(task: Task, engine: Engine) -> int | None:
    """Return the number of attention heads of a model in a folder of this machine; None if it is unknown."""
    if not engine.head_rules:
        return None
    if engine.heads_on_gpus_only and not task.deploy.gpus:
        return None
    config = model_config(task, engine)
    found = None if config is None else next((config[key] for key in _HEADS if key in config), None)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None
