"""What of a task must not change between two runs of its study."""

from __future__ import annotations

from typing import Any

from autotune_nb.task.placement import unused_fields

#: Sections of a task that may change between two runs of a study: figures remain comparable.
_MAY_CHANGE = (
    "name",
    "description",
    "budget",
    "deadlines",
    "strategy",
    "warm_start",
    "expanded_presets",
    "tracking",
    "on_end",
    "artifacts",
)
#: Fields within a section that may change.
_MAY_CHANGE_WITHIN = {
    "deploy": ("kubeconfig", "context", "templates", "caches"),
    "benchmark": ("results", "results_size"),
}
#: Fields of ``deploy`` that may change too in a cluster, where trials do not share this machine.
_MAY_CHANGE_IN_A_CLUSTER = ("parallel", "gpus")


def _uses_price(task: dict[str, Any]) -> bool:
    objectives = [task["objective"], *task.get("objectives", ())]
    return any(str(one["figure"]).startswith("usd_") for one in objectives) or any("usd_" in x for x in task["limits"])


def task_difference(stored: dict[str, Any], task: dict[str, Any], *, of_worker: bool = False) -> str | None:
    """Return the first field that differs and must not; None if there is none.

    ``of_worker`` allows what may differ between the workers of a shared study.
    """
    for key in task:
        if key in _MAY_CHANGE or stored.get(key) == task[key]:
            continue
        # A study may get a confirmation later; the rules of one are fixed before its first round.
        if key == "confirm" and not (stored.get(key) or {}).get("rounds"):
            continue
        # Only the figures in dollars depend on the price.
        if key == "price" and not _uses_price(task):
            continue
        if not (isinstance(task[key], dict) and isinstance(stored.get(key), dict)):
            return key
        may_change: tuple[str, ...] = _MAY_CHANGE_WITHIN.get(key, ())
        kind = task["deploy"].get("kind")
        if key == "deploy" and kind == "container":
            may_change += ("runtime", "pull")
        if key == "deploy" and kind == "ome":
            may_change += (*_MAY_CHANGE_IN_A_CLUSTER, *(("namespace",) if of_worker else ()))
        else:
            may_change += tuple(unused_fields(kind).get(key, ()))
        for inner in sorted({*task[key], *stored[key]}):
            if inner not in may_change and task[key].get(inner) != stored[key].get(inner):
                return f"{key}.{inner}"
    return None
