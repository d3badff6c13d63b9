"""What an earlier run left and could not be removed: GPUs are held until its pods are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from autotune_nb.cluster.cleanup import Removal
from autotune_nb.cluster.kinds import POD, Object, name_of, uid_of
from autotune_nb.cluster.watch import Watches
from autotune_nb.deploy.ome._gpu_budget import GpuBudget
from autotune_nb.deploy.ome._live_pod_check import gpus_of
from autotune_nb.deploy.ome._pods import ended
from autotune_nb.errors import ClusterError

_AGAIN_S = 5.0


class Earlier:
    """Counts the GPUs of such pods, and gives them back to the budget once they are gone."""

    def __init__(self, budget: GpuBudget, gpu_resource: str) -> None:
        self._budget = budget
        self._resource = gpu_resource
        self._pods: dict[str, Object] = {}

    def count(self, removal: Removal) -> list[str]:
        """Hold what is held; a line for each thing that is still there."""
        lines = []
        for thing, line in zip(removal.remaining_objects, removal.remaining, strict=True):
            gpus = self._gpus(thing.body) if thing.kind is POD else 0
            held = ""
            if gpus and uid_of(thing.body) not in self._pods:
                self._pods[uid_of(thing.body)] = thing.body
                self._budget.hold(gpus)
                held = f"; its {_many(gpus)} count until it is gone"
            lines.append(f"an earlier run left what could not be removed: {line}{held}")
        return lines

    @property
    def left(self) -> list[str]:
        """The pods that are still there."""
        return [f"pod {name_of(pod)} of an earlier run is still there, and holds GPUs" for pod in self._pods.values()]

    async def until_gone(self, watches: Watches, say: Callable[[str], None]) -> None:
        """Give their GPUs back one after the other, for as long as it takes."""

        def gone() -> list[str] | None:
            there = {uid_of(pod) for pod in watches.objects(POD).values() if not ended(pod)}
            return [uid for uid in self._pods if uid not in there] or None

        while self._pods:
            try:
                uids = await watches.until(gone)
            except ClusterError:
                await asyncio.sleep(_AGAIN_S)
                continue
            for uid in uids:
                pod = self._pods.pop(uid)
                self._budget.give(self._gpus(pod))
                say(f"pod {name_of(pod)} of an earlier run is gone: its {_many(self._gpus(pod))} are free again")

    def _gpus(self, pod: Object) -> int:
        """One that waits for a node, or has ended, holds none."""
        if not pod["spec"].get("nodeName") or ended(pod):
            return 0
        return sum(gpus_of(container, self._resource) for container in pod["spec"]["containers"])


def _many(gpus: int) -> str:
    return f"{gpus} GPU{'s' if gpus > 1 else ''}"
