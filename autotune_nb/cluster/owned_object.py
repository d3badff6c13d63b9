"""One object that a trial has in the cluster: asked for to the end, and looked for where the answer never came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from autotune_nb.cluster.api_errors import QUOTA_PAUSE_S, lost, over_quota, waits_for_quota
from autotune_nb.cluster.kinds import Kind, Object, labels_of, name_of, uid_of
from autotune_nb.cluster.names import STUDY_LABEL, TRIAL_LABEL
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.errors import ClusterError

#: A request that takes longer is told of.
_SLOW_S = 4.0
#: A request under way is answered in that time once a trial is asked to stop, or looked for.
_FINISH_S = 3.0
#: What a request may have made is looked for at these times, since it may still be under way.
_LOOK_S = (0.0, 0.5, 1.5)
_PAUSE_S = 0.2


class Owned:
    """An object of a trial: its name, and its ``uid`` while it is known to be there (else empty)."""

    def __init__(self, session: ClusterSession, kind: Kind, trial: int, name: str = "") -> None:
        self.kind, self.trial, self.name = kind, trial, name
        self.uid = ""
        #: How often making it or taking it down was asked to stop.
        self.cancelled = 0
        self._session = session
        #: Whether a request to make it may have had an effect that was never answered.
        self._unsure = False

    @property
    def namespace(self) -> str:
        return self._session.cluster.namespace

    @property
    def full_name(self) -> str:
        """As messages have it, ready to be pasted after ``kubectl delete``."""
        return f"{self.kind.name.lower()} {self.name} in namespace {self.namespace}"

    def is_mine(self, found: Object) -> bool:
        """Whether what has its name is this trial's, whoever made it."""
        labels = labels_of(found)
        return (labels.get(STUDY_LABEL), labels.get(TRIAL_LABEL)) == (self._session.study_label, str(self.trial))

    async def create(
        self,
        body: Object,
        *,
        until: float,
        say: Callable[[str], None],
        who: str,
        on_slow: Callable[[], None] = lambda: None,
    ) -> Object:
        """Make it once, as soon as a quota leaves room for it; ``until`` is the loop's time at which that wait ends.

        ``who`` waits for quota is told to ``say``, once. Raises ClusterError, with status 409 where the name is taken.
        """
        self.name = name_of(body)
        loop, told = asyncio.get_running_loop(), False
        while True:
            try:
                return await self._create(body, on_slow)
            except ClusterError as error:
                late = loop.time() >= until
                if over_quota(error) and not late:
                    if not told:
                        say(waits_for_quota(who, error))
                    told = True
                    await asyncio.sleep(QUOTA_PAUSE_S)
                elif error.reason == "Conflict" and not late:
                    # Many at a time count against one quota.
                    await asyncio.sleep(_PAUSE_S)
                else:
                    raise

    async def _create(self, body: Object, on_slow: Callable[[], None]) -> Object:
        """Ask for it, to the end: a cancellation comes once it is known whether there is something to take down."""
        self._unsure = True
        creating = asyncio.ensure_future(self._session.cluster.create(self.kind, body))
        slow = asyncio.get_running_loop().call_later(_SLOW_S, on_slow)
        before = self.cancelled
        try:
            while not creating.done():
                asked = self.cancelled > before
                try:
                    done, _ = await asyncio.wait((creating,), timeout=_FINISH_S if asked else None)
                except asyncio.CancelledError:
                    self.cancelled += 1
                    continue
                if not done:
                    creating.cancel()
                    raise asyncio.CancelledError
        finally:
            slow.cancel()
        error = creating.exception()
        if error is None:
            self.uid = uid_of(creating.result())
        self._unsure = isinstance(error, ClusterError) and lost(error)
        if self.cancelled > before:
            raise asyncio.CancelledError
        return creating.result()

    async def settle(self) -> None:
        """Find what a request may have made whose answer never came. Raises ClusterError."""
        if self.uid or not self._unsure:
            return
        for pause_s in _LOOK_S:
            await asyncio.sleep(pause_s)
            found = await self._session.cluster.get(self.kind, self.name)
            if found is not None and self.is_mine(found):
                self.uid = uid_of(found)
                break
        self._unsure = False
