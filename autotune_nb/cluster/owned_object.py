"""An object that a trial owns in the cluster: created once, and looked up if the request had no response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from autotune_nb.cluster.api_errors import QUOTA_PAUSE_S, may_have_taken_effect, over_quota, quota_wait_message
from autotune_nb.cluster.kinds import Kind, Object, labels_of, name_of, uid_of
from autotune_nb.cluster.names import STUDY_LABEL, TRIAL_LABEL
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.errors import ClusterError

#: ``on_slow`` is called for a request that takes longer.
_SLOW_S = 4.0
#: After a cancellation, how long to wait for the response to a request that was sent.
_FINISH_S = 3.0
#: Pauses between the lookups of an object whose creation may still be in progress.
_LOOKUP_PAUSES_S = (0.0, 0.5, 1.5)
_PAUSE_S = 0.2


class OwnedObject:
    """An object of a trial. ``uid`` is empty unless the object is known to exist."""

    def __init__(self, session: ClusterSession, kind: Kind, trial: int, name: str = "") -> None:
        self.kind, self.trial, self.name = kind, trial, name
        self.uid = ""
        #: How often its creation or deletion was cancelled.
        self.cancellations = 0
        self._session = session
        #: Whether a request without response may have created it.
        self._unconfirmed = False

    @property
    def namespace(self) -> str:
        """The object's namespace."""
        return self._session.cluster.namespace

    @property
    def full_name(self) -> str:
        """The name in messages, ready to paste after ``kubectl delete``."""
        return f"{self.kind.name.lower()} {self.name} in namespace {self.namespace}"

    def belongs_to_trial(self, found: Object) -> bool:
        """Whether an object of this name has the labels of this study and trial."""
        labels = labels_of(found)
        return (labels.get(STUDY_LABEL), labels.get(TRIAL_LABEL)) == (self._session.study_label, str(self.trial))

    async def create(
        self,
        body: Object,
        *,
        deadline: float,
        notify: Callable[[str], None],
        subject: str,
        on_slow: Callable[[], None] = lambda: None,
    ) -> Object:
        """Create the object, waiting for quota until ``deadline`` (the event loop's time).

        Calls ``notify`` once if ``subject`` waits. Raises ClusterError, with status 409 if the name is taken.
        """
        self.name = name_of(body)
        loop, notified = asyncio.get_running_loop(), False
        while True:
            try:
                return await self._create(body, on_slow)
            except ClusterError as error:
                late = loop.time() >= deadline
                if over_quota(error) and not late:
                    if not notified:
                        notify(quota_wait_message(subject, error))
                    notified = True
                    await asyncio.sleep(QUOTA_PAUSE_S)
                elif error.reason == "Conflict" and not late:
                    # Concurrent requests count against the same quota.
                    await asyncio.sleep(_PAUSE_S)
                else:
                    raise

    async def _create(self, body: Object, on_slow: Callable[[], None]) -> Object:
        """Send the request. A cancellation is raised only once it is known whether there is an object to delete."""
        self._unconfirmed = True
        creating = asyncio.ensure_future(self._session.cluster.create(self.kind, body))
        slow = asyncio.get_running_loop().call_later(_SLOW_S, on_slow)
        before = self.cancellations
        try:
            while not creating.done():
                cancelled = self.cancellations > before
                try:
                    done, _ = await asyncio.wait((creating,), timeout=_FINISH_S if cancelled else None)
                except asyncio.CancelledError:
                    self.cancellations += 1
                    continue
                if not done:
                    creating.cancel()
                    raise asyncio.CancelledError
        finally:
            slow.cancel()
        error = creating.exception()
        if error is None:
            self.uid = uid_of(creating.result())
        self._unconfirmed = isinstance(error, ClusterError) and may_have_taken_effect(error)
        if self.cancellations > before:
            raise asyncio.CancelledError
        return creating.result()

    async def find_unconfirmed(self) -> None:
        """Look up the object if a request without response may have created it. Raises ClusterError."""
        if self.uid or not self._unconfirmed:
            return
        for pause_s in _LOOKUP_PAUSES_S:
            await asyncio.sleep(pause_s)
            found = await self._session.cluster.get(self.kind, self.name)
            if found is not None and self.belongs_to_trial(found):
                self.uid = uid_of(found)
                break
        self._unconfirmed = False
