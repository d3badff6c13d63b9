"""Taking a trial's InferenceService down, and knowing when its GPUs are free."""

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
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy.ome._pods import ended, owners
from autotune_nb.errors import ClusterError
from autotune_nb.task.sections import Deadlines

#: On top of the engine's own time to stop: what the controllers take, and a pod's grace period where it is the usual.
GRACE_S = 30.0
#: An object whose pods are gone holds no GPU; it is not waited for as long, nor is one that may not be deleted.
_STUCK_S = 20.0
_REFUSED_S = 0.5
#: A watch shows what was made after so long, or it was gone before the watch saw it.
_SEEN_S = 2.0
#: Deleting what could not be deleted is tried again so often.
_AGAIN_S = 20.0
#: Where nothing can be watched, it is asked for so often.
_ASK_S = 1.0
_POD_LABEL = "ome.io/inferenceservice"


class Teardown:
    """Takes one trial's InferenceService down. ``on_free`` is called once no GPU is held any more."""

    def __init__(
        self,
        session: ClusterSession,
        ours: OwnedObject,
        deadlines: Deadlines,
        *,
        at_once: Callable[[], bool],
        on_free: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self.free = self.gone = False
        self.trial = ours.trial
        #: Set once its deletion was accepted, so that nobody takes it for one to go on with.
        self.accepted = asyncio.Event()
        self._session = session
        self._ours = ours
        self._within_s = deadlines.stop_s + GRACE_S
        self._at_once = at_once
        self._on_free = on_free
        self._say = say
        self._seen = False
        self._refusal = ""
        self._forced: set[str] = set()
        self._forcing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Delete it and wait, for a bounded time, until its pods and then it are ``gone``. May be asked again."""
        self._refusal = await self._delete()
        if not self._refusal:
            self.accepted.set()
        if not self._ours.uid:
            if not self._refusal:
                self._is_gone()
            return
        loop, watches, trial = asyncio.get_running_loop(), self._session.watches, self._ours.trial
        deadline = loop.time() + (_REFUSED_S if self._refusal else self._within_s)
        try:
            while True:
                left_s = max(deadline - loop.time(), 0.0)
                what = await watches.until(self._check(), trial=trial, within_s=left_s)
                if what == "gone" or (what == "unseen" and await self._confirmed_gone()):
                    self._is_gone()
                if what != "unseen" or self.gone:
                    return
        except TimeoutError:
            return
        except ClusterError as error:
            self._refusal = self._refusal or server_message(error)
            # What may not be watched may still be asked for.
            with contextlib.suppress(ClusterError):
                await self._ask_until_gone(deadline)
        finally:
            for task in self._forcing:
                task.cancel()

    async def until_gone(self) -> None:
        """Go on, for as long as it takes."""
        while not self.gone:
            try:
                await self._session.watches.until(
                    lambda: self._looks_gone() or None, trial=self._ours.trial, within_s=_AGAIN_S
                )
            except TimeoutError:
                pass
            except ClusterError:
                await asyncio.sleep(_AGAIN_S)
            await self.run()

    @property
    def left(self) -> str:
        """What is still there, and why."""
        ours, pods = self._ours, self._pods()
        why = f" ({self._refusal})" if self._refusal else ""
        if pods:
            names = ", ".join(f"{name_of(pod)} {_where(pod)}" for pod in pods)
            return f"{ours.full_name} could not be taken down{why}; still there, and holding GPUs, is pod {names}"
        if not self.free:
            return f"{ours.full_name} could not be taken down{why}"
        hint = "see whether OME's controller runs, it takes the finalizer away"
        return f"{ours.full_name} stays Terminating{why}; its pods are gone, so no GPU is held; {hint}"

    async def _delete(self) -> str:
        """Ask for its deletion; why that was refused."""
        ours, cluster = self._ours, self._session.cluster
        try:
            await ours.find_unconfirmed()
            if ours.uid:
                await cluster.delete(INFERENCE_SERVICE, ours.name, uid=ours.uid)
        except ClusterError as error:
            return server_message(error)
        return ""

    async def _ask_until_gone(self, deadline: float) -> None:
        """Ask again and again whether it and its pods are there, where nothing can be watched."""
        cluster, ours = self._session.cluster, self._ours
        selector = f"{STUDY_LABEL}={self._session.study_label},{TRIAL_LABEL}={ours.trial}"
        while True:
            found = await cluster.get(INFERENCE_SERVICE, ours.name)
            pods, _ = await cluster.list(POD, selector=selector)
            held = [pod for pod in pods if self._holds(pod)]
            if not held and (found is None or uid_of(found) != ours.uid):
                self._is_gone()
                return
            if asyncio.get_running_loop().time() >= deadline:
                return
            await asyncio.sleep(_ASK_S)

    def _check(self) -> Callable[[], str | None]:
        """What has come of the deletion: ``gone``; ``stuck``, with its pods gone; ``unseen`` where the watch never had
        it, since it was made just before."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        without_pods: float | None = None

        def check() -> str | None:
            nonlocal without_pods
            if self._at_once():
                self._hurry()
            if self._looks_gone():
                return "gone"
            now = loop.time()
            if self._pods():
                without_pods = None
                return None
            without_pods = without_pods or now
            if not self._seen and now - began >= _SEEN_S:
                return "unseen"
            # With a Deployment that lives, a pod may be on its way.
            if self._going and (now - without_pods >= _SEEN_S or not self._made(DEPLOYMENT)):
                self._is_free()
            return "stuck" if now - without_pods >= _STUCK_S else None

        return check

    def _is_free(self) -> None:
        if not self.free:
            self.free = True
            self._on_free()

    def _is_gone(self) -> None:
        self._is_free()
        self.gone = True

    def _looks_gone(self) -> bool:
        """Whether it was in the watches, and nothing of it is any more."""
        there = self._service is not None
        self._seen = self._seen or there
        return self._seen and not (there or self._made(DEPLOYMENT) or self._made(REPLICA_SET) or self._pods())

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
    def _going(self) -> bool:
        return self._service is not None and terminating(self._service)

    def _pods(self) -> list[Object]:
        """The engine's pods that hold GPUs; the benchmark's pods have the same trial and none of them."""
        return [pod for pod in self._made(POD) if self._holds(pod)]

    def _holds(self, pod: Object) -> bool:
        return not ended(pod) and (_replicated(pod) or self._labelled(pod))

    def _labelled(self, pod: Object) -> bool:
        return labels_of(pod).get(_POD_LABEL) == self._ours.name

    def _made(self, kind: Kind) -> list[Object]:
        """What controllers made for it; what belongs to a successor of its name does not count."""
        watches, trial = self._session.watches, self._ours.trial
        others = {uid_of(obj) for obj in watches.of_trial(INFERENCE_SERVICE, trial).values()} - {self._ours.uid}
        for above in (DEPLOYMENT, REPLICA_SET) if others else ():
            others |= {uid_of(obj) for obj in watches.of_trial(above, trial).values() if owners(obj) & others}
        return [obj for obj in watches.of_trial(kind, trial).values() if not owners(obj) & others]

    def _hurry(self) -> None:
        """End the pods that are on their way out; one that is not yet would be replaced."""
        for pod in self._pods():
            if terminating(pod) and uid_of(pod) not in self._forced:
                self._forced.add(uid_of(pod))
                self._forcing.add(asyncio.ensure_future(self._force(pod)))

    async def _force(self, pod: Object) -> None:
        try:
            await self._session.cluster.delete(POD, name_of(pod), uid=uid_of(pod), propagation="Background", grace_s=0)
        except ClusterError as error:
            self._say(f"pod {name_of(pod)} could not be ended at once: {server_message(error)}")


def _replicated(pod: Object) -> bool:
    owned_by = pod["metadata"].get("ownerReferences") or ()
    return any(owner.get("kind") == REPLICA_SET.name for owner in owned_by)


def _where(pod: Object) -> str:
    node = (pod.get("spec") or {}).get("nodeName")
    standing = "Terminating" if terminating(pod) else "not asked to end yet"
    return f"({standing} on node {node})" if node else f"({standing})"
