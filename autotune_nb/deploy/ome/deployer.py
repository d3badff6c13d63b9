"""Deploys trials as InferenceServices of OME: creates them, waits until they are ready, and takes them down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune_nb.cluster import executor_choice
from autotune_nb.cluster.api_errors import hint_for, server_message
from autotune_nb.cluster.cleanup import remove_study
from autotune_nb.cluster.kinds import INFERENCE_SERVICE, OME_GROUP, POD, Object, name_of
from autotune_nb.cluster.leftovers import list_objects
from autotune_nb.cluster.names import study_selector
from autotune_nb.cluster.owned_object import OwnedObject
from autotune_nb.cluster.service import ClusterService
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy._engine_identity import served_version
from autotune_nb.deploy.base import DeployRequest, Endpoint
from autotune_nb.deploy.caches import CompileCaches
from autotune_nb.deploy.gpu_budget import GpuBudget
from autotune_nb.deploy.ome._arguments import command_line
from autotune_nb.deploy.ome._creation import Creation
from autotune_nb.deploy.ome._deployment import OmeDeployment, watch_error
from autotune_nb.deploy.ome._live_pod_check import differences, gpus_of, requested_runner
from autotune_nb.deploy.ome._pod_log import EngineLog
from autotune_nb.deploy.ome._previous_run import PreviousRunPods
from autotune_nb.deploy.ome._provision import provision
from autotune_nb.deploy.ome._readiness import ControllerActivity, NotReadyError, TrialObjects, wait_until_ready
from autotune_nb.deploy.ome._teardown import GRACE_S, Teardown
from autotune_nb.deploy.ome.endpoint import (
    argv_of,
    engine_container,
    first_model,
    pod_fingerprint,
    port_of,
    reachable_url,
)
from autotune_nb.deploy.ome.manifest import ModelAndRuntime, gpus_needed, inference_service, manifest_text
from autotune_nb.deploy.ome.model_and_runtime import find_model_and_runtime, storage_of, tokenizer_of
from autotune_nb.deploy.ome.preflight import preflight
from autotune_nb.engines.base import Engine
from autotune_nb.errors import (
    ClusterError,
    DeployError,
    Failure,
    FailureKind,
    MeasurementError,
    SetupError,
    SurroundingsError,
    TaskError,
)
from autotune_nb.secrets.references import bearer, environment_words
from autotune_nb.task.parameters import Value
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import QUEUE, WAIT

#: At the end of a run, how long to wait for objects that could not be taken down.
_CLOSE_S = 3.0
#: While a trial waits for GPUs, the interval at which it checks that the cluster is reachable.
_CHECK_S = 2.0


class OmeDeployer:
    """Deploys a task's engine as InferenceServices of one namespace."""

    def __init__(self, task: Task, engine: Engine, session: ClusterSession, *, folder: Path) -> None:
        self._task = task
        self._engine = engine
        self._session = session
        self._folder = folder
        self._model: Object = {}
        self._model_and_runtime = ModelAndRuntime()
        gpus = task.deploy.gpus
        self._budget = GpuBudget(gpus if isinstance(gpus, int) else None)
        self._previous_run = PreviousRunPods(self._budget, task.deploy.gpu_resource)
        self._controller = ControllerActivity()
        self._hurry = False
        self._caches = CompileCaches(task, engine, folder)
        self._left: set[Teardown] = set()
        self._waiters: set[asyncio.Task[None]] = set()

    async def prepare(self) -> None:
        session = self._session
        try:
            await asyncio.to_thread(self._caches.prepare)
            await session.open()
            await self._preflight()
            await session.acquire()
            await provision(session, self._task)
            await session.follow()
            self._in_background(self._previous_run.release_when_gone(session.watches, session.notify))
            self._model_and_runtime, self._model = await find_model_and_runtime(session.cluster, self._task)
        except ClusterError as error:
            raise SetupError(f"the cluster rejects what a study needs: {error}") from None

    @property
    def tokenizer(self) -> str:
        return self._task.model.tokenizer or tokenizer_of(self._model)

    async def sweep(self) -> list[str]:
        session, within_s = self._session, self._task.deadlines.stop_s + GRACE_S
        try:
            await session.open()
            found = await list_objects(session.cluster, study_selector(session.study_label))
            if all(obj.anchor_or_lease for obj in found):
                return []
            # Another process may not use them.
            await session.acquire()
            removal = await remove_study(session.cluster, session.study_label, keep_anchor=True, within_s=within_s)
        except ClusterError as error:
            raise SetupError(f"what a previous run left cannot be listed: {error}") from None
        return [*removal.messages, *self._previous_run.hold_gpus(removal)]

    def hurry(self) -> None:
        self._hurry = True
        self._session.stop_credential_wait()

    def command(self, params: Mapping[str, Value]) -> list[str]:
        path, name = str(storage_of(self._model).get("path") or ""), self._task.model.served_name
        runner = self._model_and_runtime.runner
        line = command_line(self._task, self._engine, params, runner, model_path=path, served_name=name)
        return [*environment_words(self._task.engine.env), *line]

    def manifest(self, params: Mapping[str, Value]) -> str | None:
        session, task = self._session, self._task
        cluster = getattr(session, "cluster", None)
        return manifest_text(
            task,
            self._engine,
            params,
            self._model_and_runtime,
            session.templates,
            namespace=cluster.namespace if cluster is not None else task.deploy.namespace or "default",
        )

    async def fingerprint(self) -> dict[str, Any]:
        task, cluster = self._task, self._session.cluster
        versions: dict[str, Any] = {}
        for component, path, key in (
            ("kubernetes", "/version", "gitVersion"),
            ("ome", f"/apis/{OME_GROUP}", "versions"),
        ):
            with contextlib.suppress(ClusterError):
                versions[component] = (await cluster.get_path(path) or {}).get(key)
        return {
            "engine": self._engine.name,
            "model": {
                "name": task.model.id_or_path,
                "storage": str(storage_of(self._model).get("storageUri") or ""),
            },
            "runtime": task.deploy.runtime,
            "namespace": cluster.namespace,
            "kubernetes": versions.get("kubernetes"),
            "ome": [one.get("version") for one in versions.get("ome") or ()],
        }

    async def close(self) -> list[str]:
        if self._waiters:
            await asyncio.wait(self._waiters, timeout=_CLOSE_S)
        for waiter in self._waiters:
            waiter.cancel()
        await asyncio.gather(*self._waiters, return_exceptions=True)
        remaining = [*(down.remaining for down in self._left), *self._previous_run.remaining]
        await self._session.close(keep_anchor=bool(remaining))
        return remaining

    @contextlib.asynccontextmanager
    async def deploy(self, request: DeployRequest) -> AsyncIterator[OmeDeployment]:
        session = self._session
        gpus = gpus_needed(self._task, self._engine, request.params, self._model_and_runtime.runner)
        ours = OwnedObject(session, INFERENCE_SERVICE, request.trial, name_of(self._service_manifest(request)))
        log = EngineLog(session.cluster, request, self._engine)
        await self._require_cluster(request)
        await self._wait_for_previous_attempt(request)
        await self._take_gpus(gpus, request)
        running: OmeDeployment | None = None
        succeeded = False
        start = self._caches.start(request.params)
        try:
            async with contextlib.AsyncExitStack() as stack:
                running = await self._bring_up(ours, request, log, stack)
                found = {**running.endpoint.fingerprint, **self._caches.ready(start)}
                running.endpoint = replace(running.endpoint, fingerprint=found)
                try:
                    yield running
                except MeasurementError:
                    await running.require_unbroken()
                    raise
                await running.require_unbroken()
            succeeded = True
        finally:
            down = await self._take_down(ours, gpus, request, log, running)
            if succeeded and not down.free:
                hint = "delete its pods, or drain their node; the next start of this study retries the deletion"
                raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "stop", down.remaining, hint=hint))

    async def _require_cluster(self, request: DeployRequest, phase: str = "deploy") -> None:
        """Raise SetupError if the cluster stays unreachable: this trial and all that follow would fail."""
        within_s, trial = self._task.deadlines.surroundings_s, request.trial
        if self._session.cluster.connection_error is None:
            return
        request.on_phase(WAIT)
        try:
            await self._session.wait_until_reachable(within_s=within_s, notify=request.on_notice)
        except ClusterError as error:
            raise SetupError(
                f"trial {trial} was not started: the cluster did not respond, or rejected the credentials, for "
                f"{within_s:g} s ({error}); start the study again later, it continues with trial {trial}"
            ) from None
        request.on_phase(phase)

    async def _wait_for_previous_attempt(self, request: DeployRequest) -> None:
        """Wait until what the trial's previous attempt left is Terminating, so that it is not adopted."""
        for down in [down for down in self._left if down.trial == request.trial]:
            try:
                async with asyncio.timeout(self._task.deadlines.pending_s):
                    await down.accepted.wait()
            except TimeoutError:
                raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "deploy", down.remaining)) from None

    async def _take_gpus(self, count: int, request: DeployRequest) -> None:
        if self._budget.free(count):
            await self._budget.take(count)
            return
        request.on_phase(QUEUE)
        taking = asyncio.ensure_future(self._budget.take(count))
        try:
            while not taking.done():
                await asyncio.wait((taking,), timeout=_CHECK_S)
                # The trials that hold GPUs cannot release them without the cluster.
                if not taking.done():
                    await self._require_cluster(request, QUEUE)
            taking.result()
        except BaseException:
            await self._release(taking, count)
            raise
        request.on_phase("deploy")

    async def _release(self, taking: asyncio.Task[None], count: int) -> None:
        """Release the GPUs of a trial that does not start, even if they were allocated just now."""
        if taking.cancel():
            await asyncio.gather(taking, return_exceptions=True)
        elif taking.exception() is None:
            self._budget.give(count)

    def _service_manifest(self, request: DeployRequest) -> Object:
        session, task = self._session, self._task
        try:
            return inference_service(
                task,
                self._engine,
                request.params,
                self._model_and_runtime,
                session.templates,
                session.trial_metadata(request.trial),
            )
        except TaskError as error:
            raise DeployError(Failure(FailureKind.CONFIGURATION, "deploy", str(error))) from None

    async def _bring_up(
        self, ours: OwnedObject, request: DeployRequest, log: EngineLog, stack: contextlib.AsyncExitStack
    ) -> OmeDeployment:
        session, deadlines, notify = self._session, self._task.deadlines, request.on_notice
        try:
            await session.ensure_anchor()
        except ClusterError as error:
            message = f"what owns the study's objects cannot be created: {server_message(error)}"
            failure = Failure(FailureKind.INFRASTRUCTURE, "deploy", message, hint=hint_for(error))
            raise SurroundingsError(failure) from None
        body = self._service_manifest(request)
        created = await Creation(session, ours, deadlines, self._controller, notify).create(body)
        objects = TrialObjects(session.watches, ours.trial, ours.name, created)
        try:
            pod = await wait_until_ready(session.cluster, session.watches, objects, deadlines, self._controller, notify)
        except NotReadyError as error:
            failure = await log.failure(error.state, phase="deploy", message=error.message, timed_out=error.timed_out)
            raise (SurroundingsError if error.state.away else DeployError)(failure) from None
        except ClusterError as error:
            raise watch_error(error, "deploy") from None
        requested = requested_runner(body)
        container = engine_container(pod, requested["name"])
        _require_as_requested(requested, container)
        name, port = name_of(pod), port_of(container)
        inside = f"http://{ours.name}.{ours.namespace}.svc.cluster.local:{port}"
        pods = session.watches.objects(POD)
        url, forward = await reachable_url(stack, session.cluster, lambda: name if name in pods else None, port, inside)
        model = executor_choice.required_model_name(self._task) or await first_model(url, deadlines.ready_s)
        headers = bearer(self._task.benchmark.api_key)
        version = await served_version(url, self._engine.version_paths, headers)
        service = ClusterService(
            trial=ours.trial,
            name=ours.name,
            namespace=ours.namespace,
            uid=objects.uid,
            url=inside,
            model=model,
            model_path=str(storage_of(self._model).get("path") or ""),
            node_selector=pod["spec"].get("nodeSelector") or {},
        )
        endpoint = Endpoint(
            url=url,
            model=model,
            tokenizer=self.tokenizer,
            command=argv_of(container),
            gpu_count=gpus_of(container, self._task.deploy.gpu_resource),
            log=request.folder / "engine.log",
            service=service,
            fingerprint={**pod_fingerprint(pod, container), **({"engine_version": version} if version else {})},
        )
        return OmeDeployment(endpoint, pod, objects, log, session.watches, forward)

    async def _take_down(
        self, ours: OwnedObject, gpus: int, request: DeployRequest, log: EngineLog, running: OmeDeployment | None
    ) -> Teardown:
        """Take the service down despite cancellations. Its GPUs are released when its pods are gone."""
        request.on_phase("stop")
        waiting = False

        def free() -> None:
            self._budget.give(gpus)
            if waiting:
                request.on_notice(f"the pods of {ours.full_name} are gone: its GPUs are free")

        def at_once() -> bool:
            return self._hurry or ours.cancellations > 1

        down = Teardown(
            self._session, ours, self._task.deadlines, at_once=at_once, on_free=free, notify=request.on_notice
        )

        async def stop() -> None:
            if running is not None and not at_once():
                await log.fetch(name_of(running.pod), engine_container(running.pod)["name"])
            await down.run()

        stopping = asyncio.ensure_future(stop())
        cancelled = False
        while not stopping.done():
            try:
                await asyncio.wait((stopping,))
            except asyncio.CancelledError:
                # A second cancellation kills the engine; it never leaves it running.
                cancelled = True
                ours.cancellations += 2
        stopping.result()
        if not down.gone:
            waiting = True
            request.on_notice(down.remaining)
            self._left.add(down)
            self._in_background(self._wait_until_gone(down, ours, request))
        if cancelled:
            raise asyncio.CancelledError
        return down

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the trials until ``close``."""
        self._waiters.add(waiter := asyncio.ensure_future(work))
        waiter.add_done_callback(self._waiters.discard)

    async def _wait_until_gone(self, down: Teardown, ours: OwnedObject, request: DeployRequest) -> None:
        """Retry a failed teardown, and report when the service is gone."""
        await down.wait_until_gone()
        self._left.discard(down)
        request.on_notice(f"{ours.full_name} is gone now")

    async def _preflight(self) -> None:
        """Raise SetupError with every failed check."""
        results = await preflight(self._session, self._task, self._engine)
        failed = [f"{one.text} (try: {one.hint})" if one.hint else one.text for one in results if not one.ok]
        if failed:
            raise SetupError("; ".join(failed))


def _require_as_requested(requested: Mapping[str, Any], container: Mapping[str, Any]) -> None:
    """Raise DeployError if the pod differs from the manifest."""
    changed = differences(requested, container)
    if changed:
        message = f"the pod differs from the request: {'; '.join(changed)}"
        hint = "check whether an AcceleratorClass or an admission webhook of the cluster sets it"
        raise DeployError(Failure(FailureKind.CONFIGURATION, "deploy", message, hint=hint))
