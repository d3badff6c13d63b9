"""Creates a trial's InferenceService, or adopts the one of a previous attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from autotune_nb.cluster.api_errors import hint_for, of_surroundings, over_quota, quota_timeout, server_message
from autotune_nb.cluster.kinds import INFERENCE_SERVICE, SERVICE, Object, terminating, uid_of
from autotune_nb.cluster.owned_object import OwnedObject
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy.ome._readiness import ControllerActivity
from autotune_nb.errors import ClusterError, DeployError, Failure, FailureKind, SurroundingsError, TrialError
from autotune_nb.task.sections import Deadlines

#: Waiting for an object that is Terminating is reported after this time.
_NOTIFY_AFTER_S = 4.0


class Creation:
    """Creates one trial's InferenceService, or adopts the one of a previous attempt."""

    def __init__(
        self,
        session: ClusterSession,
        ours: OwnedObject,
        deadlines: Deadlines,
        controller: ControllerActivity,
        notify: Callable[[str], None],
    ) -> None:
        self._session = session
        self._controller = controller
        self._ours = ours
        self._deadlines = deadlines
        self._notify = notify
        self._notified: set[str] = set()
        # Waiting for the name or for quota does not count against the engine's deadline.
        self._deadline = asyncio.get_running_loop().time() + deadlines.pending_s

    async def create(self, body: Object) -> Object:
        """Return the InferenceService in the cluster. Raises DeployError or SurroundingsError."""
        ours, subject = self._ours, f"trial {self._ours.trial}"
        while True:
            try:
                await self._require_free_service_names()
                return await ours.create(
                    body, deadline=self._deadline, notify=self._notify, subject=subject, on_slow=self._notify_slow
                )
            except ClusterError as error:
                if error.status != 409 or error.reason == "Conflict":
                    raise self._error(error) from None
                adopted = await self._resolve_name_conflict(body)
                if adopted is not None:
                    return adopted

    async def _require_free_service_names(self) -> None:
        """Raise DeployError if another Service has a name that OME needs: OME would not report that."""
        ours, watches = self._ours, self._session.watches
        if ours.name in watches.of_trial(INFERENCE_SERVICE, ours.trial):
            return
        for name in (ours.name, f"{ours.name}-engine"):
            found = watches.objects(SERVICE).get(name)
            if found is None:
                continue
            if not terminating(found) and _belongs_to_service(found, ours.name):
                if await self._session.cluster.get(INFERENCE_SERVICE, ours.name) is not None:
                    # Creating the InferenceService reports what has the name.
                    return
            elif not terminating(found):
                message = f"there is a service {name} in namespace {ours.namespace} which is not this study's"
                hint = f"delete service {name}, or give the task another name"
                raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "deploy", message, hint=hint))
            await self._wait_until_gone(
                f"service {name}", partial(_exists, watches.objects(SERVICE), name, uid_of(found))
            )

    async def _resolve_name_conflict(self, body: Object) -> Object | None:
        """Return the existing InferenceService to adopt it; None if it was deleted and is gone."""
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
                    self._notify(f"trial {ours.trial} uses {ours.full_name}, which existed")
                    return found
                self._notify(f"{ours.full_name} is of a previous attempt and is deleted")
                await cluster.delete(INFERENCE_SERVICE, ours.name, uid=ours.uid)
        except ClusterError as error:
            raise self._error(error) from None
        uid = uid_of(found)
        services = self._session.watches.objects(INFERENCE_SERVICE)
        await self._wait_until_gone(
            f"InferenceService {ours.namespace}/{ours.name}", partial(_exists, services, ours.name, uid)
        )
        if ours.uid == uid:
            ours.uid = ""
        # The watch may not have reported it yet.
        await asyncio.sleep(0.1)
        return None

    async def _wait_until_gone(self, what: str, exists: Callable[[], bool]) -> None:
        """Wait until an object that is Terminating is gone, and report it if that takes time."""
        loop = asyncio.get_running_loop()
        watches, trial = self._session.watches, self._ours.trial
        try:
            try:
                await watches.until(lambda: None if exists() else True, trial=trial, within_s=_NOTIFY_AFTER_S)
            except TimeoutError:
                self._notify_once(what, f"trial {trial} waits for {what}, which is Terminating, to be gone")
                left_s = max(self._deadline - loop.time(), 0.0)
                await watches.until(lambda: None if exists() else True, trial=trial, within_s=left_s)
        except TimeoutError:
            message = f"{what} was still Terminating after {self._deadlines.pending_s:g} s; its name stays taken"
            hint = "check that OME's controller runs: it removes the finalizer"
            raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "deploy", message, hint=hint)) from None
        except ClusterError as error:
            raise self._error(error) from None

    def _error(self, error: ClusterError) -> TrialError:
        """Return the error of the trial for an error of the API server."""
        return (SurroundingsError if of_surroundings(error) else DeployError)(self._failure(error))

    def _failure(self, error: ClusterError) -> Failure:
        """Return the failure for an error of the API server."""
        message, kind, hint = server_message(error), FailureKind.INFRASTRUCTURE, hint_for(error)
        by_ome = error.by_webhook and error.status < 500
        if over_quota(error):
            message, hint = quota_timeout(self._deadlines.pending_s, error)
            return Failure(kind, "deploy", message, hint=hint)
        if "failed calling webhook" not in message and (error.status in (400, 422) or by_ome):
            kind, hint = FailureKind.CONFIGURATION, "check that the model and its runtime exist, and the template"
        return Failure(kind, "deploy", f"{self._ours.full_name} could not be created: {message}", hint=hint)

    def _notify_slow(self) -> None:
        text = f"{self._ours.full_name} is not created yet: the API server or OME's webhook does not respond"
        self._controller.notify_together("slow", self._ours.trial, text, self._notify)

    def _notify_once(self, key: str, text: str) -> None:
        if key not in self._notified:
            self._notified.add(key)
            self._notify(text)


def _exists(objects: Mapping[str, Object], name: str, uid: str) -> bool:
    """Whether an object with that name and uid still exists."""
    return name in objects and uid_of(objects[name]) == uid


def _belongs_to_service(service: Object, name: str) -> bool:
    """Whether a Service belongs to an InferenceService of that name, and so is deleted with it."""
    owners = service["metadata"].get("ownerReferences") or ()
    return any(owner.get("kind") == INFERENCE_SERVICE.name and owner.get("name") == name for owner in owners)


def includes(found: Any, requested: Any) -> bool:
    """Whether ``found`` includes ``requested``; the server may have added defaults."""
    if isinstance(requested, Mapping):
        return isinstance(found, Mapping) and all(
            value in (None, {}, []) if key not in found else includes(found[key], value)
            for key, value in requested.items()
        )
    if isinstance(requested, list):
        return isinstance(found, list) and len(found) == len(requested) and all(map(includes, found, requested))
    return found == requested or str(found) == str(requested)
