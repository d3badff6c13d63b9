"""Python code that reproduces a study."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_nb.study.steering import Edit, EditKind
from autotune_nb.study.storage_url import REDACTED, STORAGE_VARIABLE
from autotune_nb.task.python_code import task_code
from autotune_nb.task.task import Task


def reproduce_code(task: Task | None, name: str, edits: Sequence[Edit] = (), storage: str | None = None) -> str:
    """Return the code of a cell that runs the same task in a new study; empty without a task.

    ``storage`` is the URL of the storage, without a password.
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
        steered = f"# The same edits, applied from the first trial.\n{steered}"
    imports = "import os\n\n" if before else ""
    tuned = f"{before}run = at.tune(task, study={folder!r}{where})\n"
    return f"{imports}{task_code(task)}\n{tuned}{steered}await run\nrun.report()\n"


def _call(edit: Edit) -> str:
    """Return the method call that makes an edit."""
    match edit.kind:
        case EditKind.ENQUEUE:
            return f"enqueue({dict(edit.params or {})!r})"
        case EditKind.BUDGET:
            return f"set_budget({', '.join(f'{name}={value!r}' for name, value in (edit.budget or {}).items())})"
        case EditKind.NARROW if edit.values:
            return f"narrow({edit.parameter!r}, values={list(edit.values)!r})"
        case EditKind.NARROW:
            ends = [("low", edit.low), ("high", edit.high)]
            bounds = ", ".join(f"{name}={end!r}" for name, end in ends if end is not None)
            return f"narrow({edit.parameter!r}, {bounds})"
        case EditKind.DEQUEUE | EditKind.REORDER:
            # Positions in the queue of another run are other ones.
            return f"queue  # {edit.text}"
    return f"{edit.kind}({', '.join(map(repr, (edit.parameter, *edit.values)))})"
