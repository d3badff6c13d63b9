"""Takes a trial's InferenceService down, and detects when its GPUs are free."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from autotune_nb.cluster.api_errors import server_message
from autotune_nb.cluster.kinds import (
    DEPLOYMENT,
    INFERENCE_SERVICE,
    POD,
    REPLICA_SET,
    Kind,
    Object,
    labels_of,
    name_of,
    terminating,
    uid_of,
)
from autotune_nb.cluster.names import STUDY_LABEL, TRIAL_LABEL
from autotune_nb.cluster.owned_object import OwnedObject
from autotune_nb.cluster.pod_errors import has_ended
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy.ome._pods import owners
from autotune_nb.errors import ClusterError
from autotune_nb.task.sections import Deadlines

#: Time for the controllers and a pod's default grace period, in addition to deadlines.stop_s.
GRACE_S = 30.0
#: The shorter wait for an object whose pods are gone, so that it holds no GPU, and for one that cannot be deleted.
_STUCK_S = 20.0
_REFUSED_S = 0.5
#: A watch reports a new object within this time, or the object was gone before.
_WATCH_DELAY_S = 2.0
#: The interval at which a failed deletion is retried.
_RETRY_S = 20.0
#: The polling interval if watches are rejected.
_POLL_S = 1.0
_POD_LABEL = "ome.io/inferenceservice"


class Teardown:
    """Takes one trial's InferenceService down. Calls ``on_free`` when it holds no GPU."""

    def __init__(
        self,
        session: ClusterSession,
        ours: OwnedObject,
        deadlines: Deadlines,
        *,
        at_once: Callable[[], bool],
        on_free: Callable[[], None],
        notify: Callable[[str], None],
    ) -> None:
        self.free = self.gone = False
        self.trial = ours.trial
        #: Set when the deletion is accepted, so that no later attempt adopts the object.
        self.accepted = asyncio.Event()
        self._session = session
        self._ours = ours
        self._within_s = deadlines.stop_s + GRACE_S
        self._at_once = at_once
        self._on_free = on_free
        self._notify = notify
        self._seen = False
        self._error = ""
        self._forced: set[str] = set()
        self._forcing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Delete it and wait, until a deadline, for its pods and the object to be ``gone``. May be called again."""
        self._error = await self._delete()
        if not self._error:
            self.accepted.set()
        if not self._ours.uid:
            if not self._error:
                self._set_gone()
            return
        loop, watches, trial = asyncio.get_running_loop(), self._session.watches, self._ours.trial
        deadline = loop.time() + (_REFUSED_S if self._error else self._within_s)
        try:
            while True:
                left_s = max(deadline - loop.time(), 0.0)
                outcome = await watches.until(self._check(), trial=trial, within_s=left_s)
                if outcome == "gone" or (outcome == "unseen" and await self._confirmed_gone()):
                    self._set_gone()
                if outcome != "unseen" or self.gone:
                    return
        except TimeoutError:
            return
        except ClusterError as error:
            self._error = self._error or server_message(error)
            # Requests may be allowed even if watches are not.
            with contextlib.suppress(ClusterError):
                await self._poll_until_gone(deadline)
        finally:
            for task in self._forcing:
                task.cancel()

    async def wait_until_gone(self) -> None:
        """Retry until it is gone, without a deadline."""
        while not self.gone:
            try:
                await self._session.watches.until(
                    lambda: self._looks_gone() or None, trial=self._ours.trial, within_s=_RETRY_S
                )
            except TimeoutError:
                pass
            except ClusterError:
                await asyncio.sleep(_RETRY_S)
            await self.run()

    @property
    def remaining(self) -> str:
        """A message with what remains, and why."""
        ours, pods = self._ours, self._pods()
        reason = f" ({self._error})" if self._error else ""
        if pods:
            names = ", ".join(f"{name_of(pod)} {_where(pod)}" for pod in pods)
            return f"{ours.full_name} could not be taken down{reason}; still there, and holding GPUs, is pod {names}"
        if not self.free:
            return f"{ours.full_name} could not be taken down{reason}"
        hint = "check that OME's controller runs: it removes the finalizer"
        return f"{ours.full_name} stays Terminating{reason}; its pods are gone, so no GPU is held; {hint}"

    async def _delete(self) -> str:
        """Request its deletion. Returns the error message, empty if it was accepted."""
        ours, cluster = self._ours, self._session.cluster
        try:
            await ours.find_unconfirmed()
            if ours.uid:
                await cluster.delete(INFERENCE_SERVICE, ours.name, uid=ours.uid)
        except ClusterError as error:
            return server_message(error)
        return ""

    async def _poll_until_gone(self, deadline: float) -> None:
        """Poll the object and its pods until they are gone; for when watches are rejected."""
        cluster, ours = self._session.cluster, self._ours
        selector = f"{STUDY_LABEL}={self._session.study_label},{TRIAL_LABEL}={ours.trial}"
        while True:
            found = await cluster.get(INFERENCE_SERVICE, ours.name)
            pods, _ = await cluster.list(POD, selector=selector)
            held = [pod for pod in pods if self._holds_gpus(pod)]
            if not held and (found is None or uid_of(found) != ours.uid):
                self._set_gone()
                return
            if asyncio.get_running_loop().time() >= deadline:
                return
            await asyncio.sleep(_POLL_S)

    def _check(self) -> Callable[[], str | None]:
        """Return a check for the outcome of the deletion: ``gone``, ``stuck`` or ``unseen``.

        ``stuck`` means that its pods are gone, ``unseen`` that the watch never reported the object.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        without_pods: float | None = None

        def check() -> str | None:
            nonlocal without_pods
            if self._at_once():
                self._force_terminating()
            if self._looks_gone():
                return "gone"
            now = loop.time()
            if self._pods():
                without_pods = None
                return None
            without_pods = without_pods or now
            if not self._seen and now - started >= _WATCH_DELAY_S:
                return "unseen"
            # While a Deployment exists, it may create a pod.
            if self._terminating and (now - without_pods >= _WATCH_DELAY_S or not self._children(DEPLOYMENT)):
                self._set_free()
            return "stuck" if now - without_pods >= _STUCK_S else None

        return check

    def _set_free(self) -> None:
        if not self.free:
            self.free = True
            self._on_free()

    def _set_gone(self) -> None:
        self._set_free()
        self.gone = True

    def _looks_gone(self) -> bool:
        """Whether the watches reported it, and no longer contain it or its objects."""
        exists = self._service is not None
        self._seen = self._seen or exists
        return self._seen and not (exists or self._children(DEPLOYMENT) or self._children(REPLICA_SET) or self._pods())

    async def _confirmed_gone(self) -> bool:
        with contextlib.suppress(ClusterError):
            found = await self._session.cluster.get(INFERENCE_SERVICE, self._ours.name)
            return not self._pods() and (found is None or uid_of(found) != self._ours.uid)
        return False

    @property
    def _service(self) -> Object | None:
        found = self._session.watches.of_trial(INFERENCE_SERVICE, self._ours.trial).get(self._ours.name)
        return found if found is not None and uid_of(found) == self._ours.uid else None

    @property
    def _terminating(self) -> bool:
        return self._service is not None and terminating(self._service)

    def _pods(self) -> list[Object]:
        """Return the engine's pods that hold GPUs. The benchmark's pods have the same trial label, but no GPUs."""
        return [pod for pod in self._children(POD) if self._holds_gpus(pod)]

    def _holds_gpus(self, pod: Object) -> bool:
        return not has_ended(pod) and (_replicated(pod) or self._labelled(pod))

    def _labelled(self, pod: Object) -> bool:
        return labels_of(pod).get(_POD_LABEL) == self._ours.name

    def _children(self, kind: Kind) -> list[Object]:
        """Return its objects of a kind, without those of a successor with the same name."""
        watches, trial = self._session.watches, self._ours.trial
        others = {uid_of(obj) for obj in watches.of_trial(INFERENCE_SERVICE, trial).values()} - {self._ours.uid}
        for above in (DEPLOYMENT, REPLICA_SET) if others else ():
            others |= {uid_of(obj) for obj in watches.of_trial(above, trial).values() if owners(obj) & others}
        return [obj for obj in watches.of_trial(kind, trial).values() if not owners(obj) & others]

    def _force_terminating(self) -> None:
        """Kill the pods that are Terminating; others would be replaced."""
        for pod in self._pods():
            if terminating(pod) and uid_of(pod) not in self._forced:
                self._forced.add(uid_of(pod))
                self._forcing.add(asyncio.ensure_future(self._force(pod)))

    async def _force(self, pod: Object) -> None:
        try:
            await self._session.cluster.delete(POD, name_of(pod), uid=uid_of(pod), propagation="Background", grace_s=0)
        except ClusterError as error:
            self._notify(f"pod {name_of(pod)} could not be killed: {server_message(error)}")


def _replicated(pod: Object) -> bool:
    owned_by = pod["metadata"].get("ownerReferences") or ()
    return any(owner.get("kind") == REPLICA_SET.name for owner in owned_by)


def _where(pod: Object) -> str:
    node = (pod.get("spec") or {}).get("nodeName")
    status = "Terminating" if terminating(pod) else "not Terminating yet"
    return f"({status} on node {node})" if node else f"({status})"
