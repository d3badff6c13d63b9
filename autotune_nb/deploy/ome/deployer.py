"""Trials as InferenceServices of OME: made, watched until they answer, and taken down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any

from autotune_nb.cluster import executor_choice
from autotune_nb.cluster.cleanup import remove_study
from autotune_nb.cluster.kinds import INFERENCE_SERVICE, OME_GROUP, POD, Object, name_of
from autotune_nb.cluster.leftovers import list_objects
from autotune_nb.cluster.names import study_selector
from autotune_nb.cluster.owned_object import OwnedObject
from autotune_nb.cluster.service import ClusterService
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy.base import DeployRequest, Endpoint
from autotune_nb.deploy.ome._arguments import command_line
from autotune_nb.deploy.ome._creation import Creation
from autotune_nb.deploy.ome._deployment import Running, blind
from autotune_nb.deploy.ome._gpu_budget import GpuBudget
from autotune_nb.deploy.ome._live_pod_check import asked_runner, differences, gpus_of
from autotune_nb.deploy.ome._pod_log import EngineLog
from autotune_nb.deploy.ome._previous_run import Earlier
from autotune_nb.deploy.ome._provision import provision
from autotune_nb.deploy.ome._readiness import Controller, NotReadyError, Sight, until_ready
from autotune_nb.deploy.ome._teardown import GRACE_S, Teardown
from autotune_nb.deploy.ome.endpoint import argv_of, engine_container, identity, port_of, served_name, url_from_here
from autotune_nb.deploy.ome.manifest import Ground, gpus_needed, inference_service, manifest_text
from autotune_nb.deploy.ome.model_and_runtime import find_ground, storage_of, tokenizer_of
from autotune_nb.deploy.ome.preflight import preflight
from autotune_nb.engines.base import Engine
from autotune_nb.errors import ClusterError, DeployError, Failure, FailureKind, MeasurementError, SetupError, TaskError
from autotune_nb.task.parameters import Value
from autotune_nb.task.task import Task

#: What could not be taken down has so long at the end of a run to be gone after all.
_LAST_S = 3.0
#: Whether the cluster answers is looked at so often while GPUs are waited for.
_LOOK_S = 2.0


class OmeDeployer:
    """Deploys a task's engine as InferenceServices of one namespace."""

    def __init__(self, task: Task, engine: Engine, session: ClusterSession, *, folder: Path) -> None:
        self._task = task
        self._engine = engine
        self._session = session
        self._folder = folder
        self._model: Object = {}
        self._ground = Ground()
        gpus = task.deploy.gpus
        self._budget = GpuBudget(gpus if isinstance(gpus, int) else None)
        self._earlier = Earlier(self._budget, task.deploy.gpu_resource)
        self._controller = Controller()
        self._hurry = False
        self._left: set[Teardown] = set()
        self._waiters: set[asyncio.Task[None]] = set()

    async def prepare(self) -> None:
        session = self._session
        try:
            await session.open()
            await self._preflight()
            await session.acquire()
            await provision(session, self._task)
            await session.follow()
            self._wait(self._earlier.until_gone(session.watches, session.notify))
            self._ground, self._model = await find_ground(session.cluster, self._task)
        except ClusterError as error:
            raise SetupError(f"the cluster refuses what a study needs: {error}") from None

    @property
    def tokenizer(self) -> str:
        return self._task.model.tokenizer or tokenizer_of(self._model)

    async def sweep(self) -> list[str]:
        session, within_s = self._session, self._task.deadlines.stop_s + GRACE_S
        try:
            await session.open()
            found = await list_objects(session.cluster, study_selector(session.study_label))
            if all(thing.anchor_or_lease for thing in found):
                return []
            # Nobody else may be at work on them.
            await session.acquire()
            removal = await remove_study(session.cluster, session.study_label, keep_anchor=True, within_s=within_s)
        except ClusterError as error:
            raise SetupError(f"the cluster cannot be asked what an earlier run left: {error}") from None
        return [*removal.messages, *self._earlier.count(removal)]

    def hurry(self) -> None:
        self._hurry = True
        self._session.stop_credential_wait()

    def command(self, params: Mapping[str, Value]) -> list[str]:
        path, name = str(storage_of(self._model).get("path") or ""), self._task.model.served_name
        return command_line(self._task, self._engine, params, self._ground.runner, model_path=path, served_name=name)

    def manifest(self, params: Mapping[str, Value]) -> str | None:
        session, task = self._session, self._task
        cluster = getattr(session, "cluster", None)
        return manifest_text(
            task,
            self._engine,
            params,
            self._ground,
            session.templates,
            namespace=cluster.namespace if cluster is not None else task.deploy.namespace or "default",
        )

    async def fingerprint(self) -> dict[str, Any]:
        task, cluster = self._task, self._session.cluster
        versions: dict[str, Any] = {}
        for what, path, key in (("kubernetes", "/version", "gitVersion"), ("ome", f"/apis/{OME_GROUP}", "versions")):
            with contextlib.suppress(ClusterError):
                versions[what] = (await cluster.get_path(path) or {}).get(key)
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
            await asyncio.wait(self._waiters, timeout=_LAST_S)
        for waiter in self._waiters:
            waiter.cancel()
        await asyncio.gather(*self._waiters, return_exceptions=True)
        left = [*(down.left for down in self._left), *self._earlier.left]
        await self._session.close(keep_anchor=bool(left))
        return left

    @contextlib.asynccontextmanager
    async def deploy(self, request: DeployRequest) -> AsyncIterator[Running]:
        session = self._session
        gpus = gpus_needed(self._task, self._engine, request.params)
        body = self._body(request)
        ours = OwnedObject(session, INFERENCE_SERVICE, request.trial, name_of(body))
        log = EngineLog(session.cluster, request, self._engine)
        await self._require_cluster(request)
        await self._let_go_of_the_last(request)
        await self._take_gpus(gpus, request)
        running: Running | None = None
        went_well = False
        try:
            async with contextlib.AsyncExitStack() as reach:
                running = await self._bring_up(body, ours, request, log, reach)
                try:
                    yield running
                except MeasurementError:
                    await running.require_unbroken()
                    raise
                await running.require_unbroken()
            went_well = True
        finally:
            down = await self._take_down(ours, gpus, request, log, running)
            if went_well and not down.free:
                hint = "end its pods, or the node they are on; the next start of this study looks for it"
                raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "stop", down.left, hint=hint))

    async def _require_cluster(self, request: DeployRequest) -> None:
        """Raises SetupError where the cluster stays away: trying would only spend the trial, and all that follow."""
        pending_s, trial = self._task.deadlines.pending_s, request.trial
        if self._session.cluster.connection_error is None:
            return
        request.on_phase("queue")
        try:
            await self._session.wait_until_reachable(within_s=pending_s, notify=request.on_notice)
        except ClusterError as error:
            raise SetupError(
                f"trial {trial} was not begun: the cluster did not answer, or refused the credentials, for "
                f"{pending_s:g} s ({error}); start the study again once it does, it goes on with trial {trial}"
            ) from None
        request.on_phase("deploy")

    async def _let_go_of_the_last(self, request: DeployRequest) -> None:
        """What this trial's last attempt could not delete is no service to adopt: it is on its way out."""
        for down in [down for down in self._left if down.trial == request.trial]:
            try:
                async with asyncio.timeout(self._task.deadlines.pending_s):
                    await down.accepted.wait()
            except TimeoutError:
                raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "deploy", down.left)) from None

    async def _take_gpus(self, count: int, request: DeployRequest) -> None:
        if self._budget.free(count):
            await self._budget.take(count)
            return
        request.on_phase("queue")
        taking = asyncio.ensure_future(self._budget.take(count))
        try:
            while not taking.done():
                await asyncio.wait((taking,), timeout=_LOOK_S)
                # What holds them may not be able to let go.
                if not taking.done():
                    await self._require_cluster(request)
            taking.result()
        except BaseException:
            await self._give_back(taking, count)
            raise
        request.on_phase("deploy")

    async def _give_back(self, taking: asyncio.Task[None], count: int) -> None:
        """No GPU is held for a trial that does not begin, also where it was given in that moment."""
        if taking.cancel():
            await asyncio.gather(taking, return_exceptions=True)
        elif taking.exception() is None:
            self._budget.give(count)

    def _body(self, request: DeployRequest) -> Object:
        session, task = self._session, self._task
        try:
            return inference_service(
                task,
                self._engine,
                request.params,
                self._ground,
                session.templates,
                session.trial_metadata(request.trial),
            )
        except TaskError as error:
            raise DeployError(Failure(FailureKind.CONFIGURATION, "deploy", str(error))) from None

    async def _bring_up(
        self, body: Object, ours: OwnedObject, request: DeployRequest, log: EngineLog, reach: contextlib.AsyncExitStack
    ) -> Running:
        session, deadlines, say = self._session, self._task.deadlines, request.on_notice
        made = await Creation(session, ours, deadlines, self._controller, say).make(body)
        sight = Sight(session.watches, ours.trial, ours.name, made)
        try:
            pod = await until_ready(session.cluster, session.watches, sight, deadlines, self._controller, say)
        except NotReadyError as error:
            told = await log.failure(error.standing, phase="deploy", message=error.message, timed_out=error.timed_out)
            raise DeployError(told) from None
        except ClusterError as error:
            raise DeployError(blind(error, "deploy")) from None
        asked = asked_runner(body)
        container = engine_container(pod, asked["name"])
        _require_as_asked(asked, container)
        name, port = name_of(pod), port_of(container)
        inside = f"http://{ours.name}.{ours.namespace}.svc.cluster.local:{port}"
        alive = session.watches.objects(POD)
        url, forward = await url_from_here(
            reach, session.cluster, lambda: name if name in alive else None, port, inside
        )
        model = executor_choice.required_model_name(self._task) or await served_name(url, deadlines.ready_s)
        service = ClusterService(
            trial=ours.trial,
            name=ours.name,
            namespace=ours.namespace,
            uid=sight.uid,
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
            fingerprint=identity(pod, container),
        )
        return Running(endpoint, pod, sight, log, session.watches, forward)

    async def _take_down(
        self, ours: OwnedObject, gpus: int, request: DeployRequest, log: EngineLog, running: Running | None
    ) -> Teardown:
        """Take it down, whoever cancels meanwhile; its GPUs are given back once its pods are gone."""
        request.on_phase("stop")
        waiting = False

        def free() -> None:
            self._budget.give(gpus)
            if waiting:
                request.on_notice(f"the pods of {ours.full_name} are gone: its GPUs are free again")

        def at_once() -> bool:
            return self._hurry or ours.cancellations > 1

        down = Teardown(self._session, ours, self._task.deadlines, at_once=at_once, on_free=free, say=request.on_notice)

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
                # A second request to stop makes it quick; it never leaves the engine behind.
                cancelled = True
                ours.cancellations += 2
        stopping.result()
        if not down.gone:
            waiting = True
            request.on_notice(down.left)
            self._left.add(down)
            self._wait(self._wait_until_gone(down, ours, request))
        if cancelled:
            raise asyncio.CancelledError
        return down

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for something to be gone, beside the trials."""
        self._waiters.add(waiter := asyncio.ensure_future(work))
        waiter.add_done_callback(self._waiters.discard)

    async def _wait_until_gone(self, down: Teardown, ours: OwnedObject, request: DeployRequest) -> None:
        """Go on taking down what could not be, and say when it is gone."""
        await down.until_gone()
        self._left.discard(down)
        request.on_notice(f"{ours.full_name} is gone now")

    async def _preflight(self) -> None:
        """Raises SetupError with every answer that is no good."""
        answers = await preflight(self._session, self._task, self._engine)
        bad = [f"{a.text} (try: {a.hint})" if a.hint else a.text for a in answers if not a.ok]
        if bad:
            raise SetupError("; ".join(bad))


def _require_as_asked(asked: Mapping[str, Any], container: Mapping[str, Any]) -> None:
    """Raises DeployError where something between the manifest and the pod has changed it."""
    changed = differences(asked, container)
    if changed:
        message = f"the pod does not run what was asked: {'; '.join(changed)}"
        hint = "see whether an AcceleratorClass or an admission webhook of the cluster sets it"
        raise DeployError(Failure(FailureKind.CONFIGURATION, "deploy", message, hint=hint))
