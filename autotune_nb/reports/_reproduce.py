"""The cell that measures a study's trials again."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_nb.study.steering import Edit, EditKind
from autotune_nb.study.storage_url import REDACTED, STORAGE_VARIABLE
from autotune_nb.task.python_code import task_code
from autotune_nb.task.task import Task


def again(task: Task | None, name: str, edits: Sequence[Edit] = (), storage: str | None = None) -> str:
    """Python that asks the same again, in a study of its own; empty without a task.

    ``storage`` is a URL as a study's folder keeps it, without a password.
    """
    if task is None:
        return ""
    folder = f"runs/{name or task.name}-again"
    before, where = "", ""
    if storage is not None:
        where = f", storage={storage!r}"
        if REDACTED in storage:
            before = f"# {storage}, with its password\n"
            where = f', storage=os.environ["{STORAGE_VARIABLE}"]'
    steered = "".join(f"run.{_call(edit)}  # {edit.when}\n" for edit in edits)
    if steered:
        steered = f"# Steered as it was, from the first trials on.\n{steered}"
    imports = "import os\n\n" if before else ""
    tuned = f"{before}run = at.tune(task, study={folder!r}{where})\n"
    return f"{imports}{task_code(task)}\n{tuned}{steered}await run\nrun.report()\n"


def _call(edit: Edit) -> str:
    """An edit as the call that makes it."""
    match edit.kind:
        case EditKind.ENQUEUE:
            return f"enqueue({dict(edit.params or {})!r})"
        case EditKind.BUDGET:
            return f"set_budget({', '.join(f'{name}={value!r}' for name, value in (edit.budget or {}).items())})"
        case EditKind.NARROW if edit.values:
            return f"narrow({edit.parameter!r}, values={list(edit.values)!r})"
        case EditKind.NARROW:
            ends = [("low", edit.low), ("high", edit.high)]
            told = ", ".join(f"{name}={end!r}" for name, end in ends if end is not None)
            return f"narrow({edit.parameter!r}, {told})"
    return f"{edit.kind}({', '.join(map(repr, (edit.parameter, *edit.values)))})"
