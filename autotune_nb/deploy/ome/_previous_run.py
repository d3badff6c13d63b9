"""Pods of a previous run that could not be removed: their GPUs count as held until they are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from autotune_nb.cluster.cleanup import Removal
from autotune_nb.cluster.kinds import POD, Object, name_of, uid_of
from autotune_nb.cluster.pod_errors import has_ended
from autotune_nb.cluster.watch import Watches
from autotune_nb.deploy.gpu_budget import GpuBudget
from autotune_nb.deploy.ome._live_pod_check import gpus_of
from autotune_nb.errors import ClusterError

_RETRY_S = 5.0


class PreviousRunPods:
    """Holds the GPUs of such pods in the budget, and releases them when the pods are gone."""

    def __init__(self, budget: GpuBudget, gpu_resource: str) -> None:
        self._budget = budget
        self._resource = gpu_resource
        self._pods: dict[str, Object] = {}

    def hold_gpus(self, removal: Removal) -> list[str]:
        """Hold the GPUs of the remaining pods. Returns a message for each remaining object."""
        lines = []
        for obj, text in zip(removal.remaining_objects, removal.remaining, strict=True):
            gpus = self._gpus(obj.body) if obj.kind is POD else 0
            note = ""
            if gpus and uid_of(obj.body) not in self._pods:
                self._pods[uid_of(obj.body)] = obj.body
                self._budget.hold(gpus)
                note = f"; its {_gpus_text(gpus)} count until it is gone"
            lines.append(f"could not remove what a previous run left: {text}{note}")
        return lines

    @property
    def remaining(self) -> list[str]:
        """A message for each pod that is still there."""
        return [f"pod {name_of(pod)} of a previous run is still there, and holds GPUs" for pod in self._pods.values()]

    async def release_when_gone(self, watches: Watches, notify: Callable[[str], None]) -> None:
        """Wait until the pods are gone, and release the GPUs of each."""

        def gone() -> list[str] | None:
            present = {uid_of(pod) for pod in watches.objects(POD).values() if not has_ended(pod)}
            return [uid for uid in self._pods if uid not in present] or None

        while self._pods:
            try:
                uids = await watches.until(gone)
            except ClusterError:
                await asyncio.sleep(_RETRY_S)
                continue
            for uid in uids:
                pod = self._pods.pop(uid)
                self._budget.give(self._gpus(pod))
                notify(
                    f"pod {name_of(pod)} of a previous run is gone: its {_gpus_text(self._gpus(pod))} are free again"
                )

    def _gpus(self, pod: Object) -> int:
        """Return the GPUs a pod holds; none if it is not scheduled or has ended."""
        if not pod["spec"].get("nodeName") or has_ended(pod):
            return 0
        return sum(gpus_of(container, self._resource) for container in pod["spec"]["containers"])


def _gpus_text(gpus: int) -> str:
    return f"{gpus} GPU{'s' if gpus > 1 else ''}"
