"""Rules between an engine's flags, also those that depend on the model's attention heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from autotune_nb.engines.base import Engine, Flag
from autotune_nb.engines.model_config import model_config
from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import Choice, Value
from autotune_nb.task.rule import Rule
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
    rules = (_rule(text, task, engine) for text in (*engine.rules, *_head_rules(task, engine)) if text not in written)
    return [rule for rule in rules if rule.tuned]


def _rule(text: str, task: Task, engine: Engine) -> EngineRule:
    fixed: dict[str, Value] = {flag.name: flag.default for flag in (*engine.flags, *engine.other_flags)}
    fixed |= engine.named({**engine.flags_in(task.engine.raw_args), **task.engine.args})
    tuned = {(flag.name if (flag := engine.flag_named(name)) else name): name for name in task.parameters}
    return EngineRule(text, tuned, fixed, engine)


def size_problems(task: Task, engine: Engine) -> Iterator[TaskError]:
    """Yield the given parallel sizes that the model's attention heads cannot be divided by in any trial."""
    heads = attention_heads(task, engine)
    for text in _head_rules(task, engine):
        rule = _rule(text, task, engine)
        if len(rule.tuned) > 1:
            continue
        size = engine.parallel_sizes[0]
        name = next(iter(rule.tuned), None)
        parameter = None if name is None else task.parameters[name]
        if name is None:
            fixed = engine.named({**engine.flags_in(task.engine.raw_args), **task.engine.args})
            wrong = [] if rule.allows({}) else [fixed.get(size)]
            given = next((arg for arg in task.engine.args if size in engine.named({arg: None})), None)
            field = "engine.raw_args" if given is None else f"engine.args.{given}"
        elif isinstance(parameter, Choice):
            wrong = [value for value in parameter.values if not rule.allows({name: value})]
            field = f"parameters.{name}"
            if is_expanded(task, name) and len(wrong) < len(parameter.values):
                # A preset has the sizes of every model: the rule excludes those that do not fit this one.
                continue
        else:
            continue
        if wrong:
            values = ", ".join(map(str, wrong))
            yield TaskError(
                f"the model's {heads} attention heads cannot be divided among the GPUs with {values}; "
                f"its {size.replace('_', ' ')} must divide them",
                field=field,
            )


def _head_rules(task: Task, engine: Engine) -> tuple[str, ...]:
    heads = attention_heads(task, engine)
    return () if heads is None else tuple(text.format(heads=heads) for text in engine.head_rules)


def attention_heads(task: Task, engine: Engine) -> int | None:
    """Return the number of attention heads of a model in a folder of this machine; None if it is unknown."""
    if not engine.head_rules:
        return None
    if engine.heads_on_gpus_only and not task.deploy.gpus:
        return None
    config = model_config(task, engine)
    found = None if config is None else next((config[key] for key in _HEADS if key in config), None)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None
