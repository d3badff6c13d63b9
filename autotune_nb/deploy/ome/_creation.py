"""Making a trial's InferenceService: once, under its name, and never beside a twin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from autotune_nb.cluster.api_errors import hint_for, over_quota, quota_timeout, server_message
from autotune_nb.cluster.kinds import INFERENCE_SERVICE, SERVICE, Object, terminating, uid_of
from autotune_nb.cluster.owned_object import OwnedObject
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy.ome._readiness import Controller
from autotune_nb.errors import ClusterError, DeployError, Failure, FailureKind
from autotune_nb.task.sections import Deadlines

#: Waiting for something on its way out is told after so long.
_TOLD_AFTER_S = 4.0


class Creation:
    """Makes one trial's InferenceService, or adopts the one an earlier attempt made."""

    def __init__(
        self,
        session: ClusterSession,
        ours: OwnedObject,
        deadlines: Deadlines,
        controller: Controller,
        say: Callable[[str], None],
    ) -> None:
        self._session = session
        self._controller = controller
        self._ours = ours
        self._deadlines = deadlines
        self._say = say
        self._told: set[str] = set()
        # Waiting for a name or for quota is no time of the engine's.
        self._until = asyncio.get_running_loop().time() + deadlines.pending_s

    async def make(self, body: Object) -> Object:
        """The InferenceService, as it is in the cluster. Raises DeployError."""
        ours, who = self._ours, f"trial {self._ours.trial}"
        while True:
            try:
                await self._free_of_services()
                return await ours.create(
                    body, deadline=self._until, notify=self._say, subject=who, on_slow=self._tell_slow
                )
            except ClusterError as error:
                if error.status != 409 or error.reason == "Conflict":
                    raise DeployError(self._refused(error)) from None
                adopted = await self._name_taken(body)
                if adopted is not None:
                    return adopted

    async def _free_of_services(self) -> None:
        """A Service of that name that is not OME's blocks it silently: look first."""
        ours, watches = self._ours, self._session.watches
        if ours.name in watches.of_trial(INFERENCE_SERVICE, ours.trial):
            return
        for name in (ours.name, f"{ours.name}-engine"):
            there = watches.objects(SERVICE).get(name)
            if there is None:
                continue
            if not terminating(there) and _of_an_inference_service(there, ours.name):
                if await self._session.cluster.get(INFERENCE_SERVICE, ours.name) is not None:
                    # What holds the name is seen when it is asked for.
                    return
            elif not terminating(there):
                message = f"there is a service {name} in namespace {ours.namespace} which is not this study's"
                hint = f"delete service {name}, or give the task another name"
                raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "deploy", message, hint=hint))
            await self._gone(f"service {name}", partial(_there, watches.objects(SERVICE), name, uid_of(there)))

    async def _name_taken(self, body: Object) -> Object | None:
        """What to do about an object of that name: adopt it, or wait until it is gone (None)."""
        ours, cluster = self._ours, self._session.cluster
        try:
            found = await cluster.get(INFERENCE_SERVICE, ours.name)
            if found is None:
                return None
            if not ours.belongs_to_trial(found):
                message = f"there is an {ours.full_name} which is not this study's"
                hint = "delete it, or give the task another name"
                raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "deploy", message, hint=hint))
            if not terminating(found):
                ours.uid = uid_of(found)
                if includes(found["spec"], body["spec"]):
                    self._say(f"trial {ours.trial} goes on with {ours.full_name}, which was there")
                    return found
                self._say(f"{ours.full_name} is of an earlier attempt and is deleted")
                await cluster.delete(INFERENCE_SERVICE, ours.name, uid=ours.uid)
        except ClusterError as error:
            raise DeployError(self._refused(error)) from None
        uid = uid_of(found)
        services = self._session.watches.objects(INFERENCE_SERVICE)
        await self._gone(f"InferenceService {ours.namespace}/{ours.name}", partial(_there, services, ours.name, uid))
        if ours.uid == uid:
            ours.uid = ""
        # The watch may not have had it yet.
        await asyncio.sleep(0.1)
        return None

    async def _gone(self, what: str, there: Callable[[], bool]) -> None:
        """Wait until something on its way out is gone, and say so where that takes time."""
        loop = asyncio.get_running_loop()
        watches, trial = self._session.watches, self._ours.trial
        try:
            try:
                await watches.until(lambda: None if there() else True, trial=trial, within_s=_TOLD_AFTER_S)
            except TimeoutError:
                self._tell_once(what, f"trial {trial} waits for {what}, which is Terminating, to be gone")
                left_s = max(self._until - loop.time(), 0.0)
                await watches.until(lambda: None if there() else True, trial=trial, within_s=left_s)
        except TimeoutError:
            message = f"{what} was still Terminating after {self._deadlines.pending_s:g} s; its name stays taken"
            hint = "see whether OME's controller runs; it takes the finalizer away"
            raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "deploy", message, hint=hint)) from None
        except ClusterError as error:
            raise DeployError(self._refused(error)) from None

    def _refused(self, error: ClusterError) -> Failure:
        """What a refusal to make it means."""
        told, kind, hint = server_message(error), FailureKind.INFRASTRUCTURE, hint_for(error)
        by_ome = error.by_webhook and error.status < 500
        if over_quota(error):
            told, hint = quota_timeout(self._deadlines.pending_s, error)
            return Failure(kind, "deploy", told, hint=hint)
        if "failed calling webhook" not in told and (error.status in (400, 422) or by_ome):
            kind, hint = FailureKind.CONFIGURATION, "see that the model and a runtime for it exist, and the template"
        return Failure(kind, "deploy", f"{self._ours.full_name} was not made: {told}", hint=hint)

    def _tell_slow(self) -> None:
        text = f"{self._ours.full_name} is not made yet: the API server or OME's webhook does not answer"
        self._controller.tell("slow", self._ours.trial, text, self._say)

    def _tell_once(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._say(text)


def _there(objects: Mapping[str, Object], name: str, uid: str) -> bool:
    """Whether the object of that name is still the one with that uid."""
    return name in objects and uid_of(objects[name]) == uid


def _of_an_inference_service(service: Object, name: str) -> bool:
    """Whether a Service belongs to an InferenceService of that name, and so goes with it."""
    owners = service["metadata"].get("ownerReferences") or ()
    return any(owner.get("kind") == INFERENCE_SERVICE.name and owner.get("name") == name for owner in owners)


def includes(found: Any, asked: Any) -> bool:
    """Whether what was asked for stands in what is there; defaults that were added do not count."""
    if isinstance(asked, Mapping):
        return isinstance(found, Mapping) and all(
            value in (None, {}, []) if key not in found else includes(found[key], value) for key, value in asked.items()
        )
    if isinstance(asked, list):
        return isinstance(found, list) and len(found) == len(asked) and all(map(includes, found, asked))
    return found == asked or str(found) == str(asked)
