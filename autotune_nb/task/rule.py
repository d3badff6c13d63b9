"""A rule between parameters: a condition that simpleeval evaluates."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from simpleeval import EvalWithCompoundTypes, InvalidExpression

from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.task.parameters import Value

_FUNCTIONS = {"min": min, "max": max, "abs": abs}
_ALLOWED = (
    *(
        ast.Expression,
        ast.BoolOp,
        ast.UnaryOp,
        ast.BinOp,
        ast.Compare,
        ast.IfExp,
        ast.Call,
        ast.Name,
        ast.Constant,
    ),
    *(ast.Tuple, ast.List, ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop),
)
_MAX_RULE = 2000


class Rule:
    """A condition on parameters, as text: ``"ubatch_size <= batch_size"``.

    simpleeval evaluates it: arithmetic, comparison and logic over the parameters, with min, max and abs. The rule
    allows every point in which one of its parameters is missing or None (the engine's default).
    """

    #: Whose rule it is, for messages.
    owner = "the task"

    def __init__(self, text: str, names: Sequence[str], *, field: str = "rules") -> None:
        self.text = text.strip()
        if len(self.text) > _MAX_RULE:
            raise TaskError(f"a rule of {len(self.text)} characters; at most {_MAX_RULE}", field=field)
        try:
            tree = ast.parse(self.text, mode="eval")
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            why = error.args[0] if error.args else "it is too deep"
            raise TaskError(
                f"{text!r} is not an expression ({why}); write one such as 'ubatch_size <= batch_size'",
                field=field,
            ) from None
        tree = _DottedNames(names).visit(tree)
        disallowed = next((node for node in ast.walk(tree) if not isinstance(node, _ALLOWED)), None)
        if disallowed is not None:
            raise TaskError(
                f"{text!r} contains a {type(disallowed).__name__}; a rule compares parameters with numbers and texts",
                field=field,
            )
        sums = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp)]
        if any(isinstance(leaf, ast.Constant) and isinstance(leaf.value, str) for n in sums for leaf in ast.walk(n)):
            raise TaskError(f"{text!r} computes with a text; texts can only be compared", field=field)
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        used = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        for node in used:
            if id(node) in called:
                if node.id not in _FUNCTIONS:
                    raise UnknownNameError("function", node.id, _FUNCTIONS, field=field, hint=f"in rule {text!r}")
            elif node.id not in names:
                raise UnknownNameError("parameter", node.id, names, field=field, hint=f"in rule {text!r}")
        self.names = tuple(sorted({node.id for node in used if id(node) not in called}))
        if not self.names:
            raise TaskError(f"{text!r} names no parameter", field=field)
        if not _is_condition(tree.body):
            raise TaskError(
                f"{text!r} is an expression but not a condition; compare values, as in 'a <= b'", field=field
            )
        self._field = field
        self._evaluator = EvalWithCompoundTypes(functions=dict(_FUNCTIONS))
        self.tree: ast.expr = _DottedNames(names).visit(EvalWithCompoundTypes.parse(self.text).value)

    def allows(self, point: Mapping[str, Value]) -> bool:
        """Return whether the point keeps the rule. Raises TaskError if it cannot be evaluated at this point."""
        values = {name: point.get(name) for name in self.names}
        if any(value is None for value in values.values()):
            return True
        self._evaluator.names = values
        try:
            result = self._evaluator.eval(self.text, previously_parsed=self.tree)
        except (InvalidExpression, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
            at = ", ".join(f"{name}={value!r}" for name, value in values.items())
            raise TaskError(f"the rule {self.text!r} cannot be evaluated at {at}: {error}", field=self._field) from None
        return bool(result)

    def __repr__(self) -> str:
        return f"Rule({self.text!r})"


class _DottedNames(ast.NodeTransformer):
    """Replaces attributes that are parameters, such as ``compilation_config.mode``, by one name."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        text = ast.unparse(node)
        return ast.copy_location(ast.Name(text, ast.Load()), node) if text in self._names else node


def _is_condition(node: ast.expr) -> bool:
    match node:
        case ast.Compare() | ast.BoolOp() | ast.Name():
            return True
        case ast.UnaryOp(op=ast.Not()):
            return True
        case ast.IfExp(body=body, orelse=orelse):
            return _is_condition(body) and _is_condition(orelse)
        case _:
            return False
