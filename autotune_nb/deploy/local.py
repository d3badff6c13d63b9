"""Deploys trials as local processes: each with a free port, a process group and GPUs (CUDA_VISIBLE_DEVICES)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from autotune_nb.deploy._engine_environment import engine_environment
from autotune_nb.deploy._engine_identity import (
    engine_packages,
    program_version,
    served_models,
)
from autotune_nb.deploy._host import Host
from autotune_nb.deploy._local_deployment import LocalDeployment
from autotune_nb.deploy._process import (
    STUDY_LABEL,
    TRIAL_LABEL,
    GuardedProcess,
    kill_labelled,
    port_owner,
    serves_a_trial,
)
from autotune_nb.deploy._readiness import wait_until_healthy
from autotune_nb.deploy.base import DeployRequest, Endpoint
from autotune_nb.deploy.caches import CompileCaches, Start
from autotune_nb.deploy.engine_log import new_log, tail
from autotune_nb.deploy.ports import free_port, in_url
from autotune_nb.deploy.visible_gpus import VARIABLE, visible_gpus
from autotune_nb.engines.base import Engine
from autotune_nb.engines.registry import program_for
from autotune_nb.errors import DeployError, Failure, FailureKind, SetupError
from autotune_nb.secrets.references import environment_words, resolved, variables_in
from autotune_nb.task.parameters import Value
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task

_PORT_TRIES = 3
#: How long an engine may take to end after it found its port taken.
_BIND_S = 2.0


class LocalDeployer:
    """Deploys a task's engine as processes of this machine."""

    def __init__(self, task: Task, engine: Engine, *, study_id: str, folder: Path) -> None:
        self._task = task
        self._engine = engine
        self._study_id = study_id
        self._folder = folder
        self._program: Sequence[str] = ()
        self._host = Host(task, engine, folder)
        self._caches = CompileCaches(task, engine, folder, environment=os.environ)
        self._hurry = False
        self._stray_reported = False

    def check(self) -> None:
        """Find the tokenizer. Raises SetupError if the program or the model is missing."""
        program_for(self._task, self._engine)
        self._host.check()

    async def prepare(self) -> None:
        self._program = program_for(self._task, self._engine)
        await asyncio.to_thread(self._caches.prepare)
        await self._host.prepare()

    @property
    def tokenizer(self) -> str:
        return self._host.tokenizer

    async def sweep(self) -> list[str]:
        return await asyncio.to_thread(kill_labelled, self._study_id)

    def hurry(self) -> None:
        self._hurry = True

    def command(self, params: Mapping[str, Value]) -> list[str]:
        program = self._program
        if not program:
            # A study that is only opened may come from another machine.
            with contextlib.suppress(SetupError):
                program = program_for(self._task, self._engine)
        argv = self._host.argv(
            params, self._task.deploy.host, self._task.deploy.port or self._engine.default_port, program
        )
        visible = None
        with contextlib.suppress(SetupError):
            visible = self._host.visible_gpus()
        held = None if visible is None else visible[: self._host.gpus_needed(params)]
        return [*environment_words(self._variables(held)), *argv]

    def _variables(self, held: Sequence[str] | None) -> dict[str, str]:
        """Return the variables of a pasted command line: those of the task, and the GPUs that a trial holds."""
        return {**self._task.engine.env, **({} if held is None else {VARIABLE: ",".join(held)})}

    def unused_gpus(self, space: SearchSpace) -> str:
        """Return that no trial uses some of ``deploy.gpus``; empty if all may be used. To be called after ``check``."""
        return self._host.unused_gpus(space)

    def manifest(self, params: Mapping[str, Value]) -> str | None:
        return None

    async def fingerprint(self) -> dict[str, Any]:
        model = await self._host.model_fingerprint()
        version = await program_version(self._program, self._engine.version_args)
        found: dict[str, Any] = {"engine": self._engine.name, "engine_version": version, "model": model}
        packages = await engine_packages(self._program)
        self._caches.identify(found, packages)
        return {**found, "engine_packages": packages} if packages else found

    async def close(self) -> list[str]:
        return []

    @contextlib.asynccontextmanager
    async def deploy(self, request: DeployRequest) -> AsyncIterator[LocalDeployment]:
        gpus = self._host.gpus_needed(request.params)
        async with self._host.gpus.hold(gpus) as held:
            start = await asyncio.to_thread(self._caches.start, request.params)
            for attempt in range(1, _PORT_TRIES + 1):
                running = await self._start(request, held)
                try:
                    try:
                        await self._wait_until_healthy(running)
                    except DeployError as error:
                        # Another process took the port before the engine bound it.
                        taken = error.failure.kind is FailureKind.INFRASTRUCTURE and self._task.deploy.port is None
                        if taken and attempt < _PORT_TRIES:
                            continue
                        raise
                    yield await self._identified(running, start)
                    return
                finally:
                    await self._take_down(running, request)

    async def _identified(self, running: LocalDeployment, start: Start | None) -> LocalDeployment:
        """Add the version that the engine's server reports, if its program does not, and a model that was replaced."""
        reports = bool(self._engine.version_paths) and not self._engine.version_args
        served = await self._host.served_fingerprint(running.endpoint.url, version=reports)
        found = {**self._caches.ready(start), **served}
        running.endpoint = replace(running.endpoint, fingerprint=found)
        return running

    async def _start(self, request: DeployRequest, held: Sequence[str] | None) -> LocalDeployment:
        port = self._task.deploy.port or free_port(self._task.deploy.host)
        argv = self._host.argv(request.params, self._task.deploy.host, port, self._program)
        log = new_log(request.folder)
        request.on_log(log)
        given = self._task.engine.env
        # A key that requests are sent with is meant for the engine too.
        environment, stray = engine_environment(variables_in(self._task.benchmark.api_key))
        if stray and not self._stray_reported and not given.keys() >= set(stray):
            names = ", ".join(name for name in stray if name not in given)
            request.on_notice(f"kept from the engine: {names} of this environment; to pass them, use engine.env")
        self._stray_reported = True
        env = {
            **environment,
            **self._caches.variables(),
            **{name: resolved(value, field=f"engine.env.{name}") for name, value in given.items()},
            STUDY_LABEL: self._study_id,
            TRIAL_LABEL: str(request.trial),
        }
        if held is not None:
            env[VARIABLE] = ",".join(held)
        visible = visible_gpus(env)
        ready_by = asyncio.get_running_loop().time() + self._task.deadlines.ready_s
        # Only the process gets the secrets' values: argv is stored and displayed.
        started = [resolved(word, field="engine.args") for word in argv]
        process = await GuardedProcess.start(started, env=env, log=log, grace_s=self._task.deadlines.stop_s)
        endpoint = Endpoint(
            url=f"http://{in_url(self._task.deploy.host)}:{port}",
            model=self._host.served_name,
            tokenizer=self._host.tokenizer,
            command=(*environment_words(self._variables(held)), *argv),
            gpu_count=len(held or ()),
            log=log,
            ready_by=ready_by,
            engine_pid=process.guard_pid,
            gpus=None if visible is None else tuple(visible),
        )
        return LocalDeployment(endpoint, process, self._engine, port)

    async def _wait_until_healthy(self, running: LocalDeployment) -> None:
        """Poll the health path until it returns 200. Raises DeployError if the process ends or time is up."""

        async def ready(session: aiohttp.ClientSession) -> None:
            await self._require_own_port(running, session)

        await wait_until_healthy(running, self._task, self._engine, ready)

    async def _require_own_port(self, running: LocalDeployment, session: aiohttp.ClientSession) -> None:
        """Raise DeployError if another program listens on the port: it must not be measured.

        A server that the command started elsewhere, such as a container of a daemon, serves the task's model.
        """
        port = running.port
        running.listeners = await asyncio.to_thread(running.process.listeners, port)
        if running.listeners is None or running.listeners:
            return
        owner = port_owner(port) or "another program"
        message = f"{owner}, not the engine, listens on port {port}"
        models = await served_models(session, running.endpoint.url)
        if running.endpoint.model in models and not serves_a_trial(port):
            # An engine that could not bind the port ends.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BIND_S):
                    await running.process.wait()
            if running.process.exit_code is None:
                # Not a process of the engine's, so that a restart is not recognized.
                running.listeners = None
                return
        elif models and running.endpoint.model not in models:
            message += f"; it serves {', '.join(map(repr, models[:3]))}, not {running.endpoint.model!r}"
        raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "deploy", message))

    async def _take_down(self, running: LocalDeployment, request: DeployRequest) -> None:
        request.on_phase("stop")
        stopping = asyncio.ensure_future(running.process.stop(at_once=self._hurry))
        cancelled = False
        while not stopping.done():
            try:
                await asyncio.shield(stopping)
            except asyncio.CancelledError:
                # A second cancellation kills the engine; it never leaves it running.
                cancelled = True
                running.process.kill()
        if not stopping.result():
            message = f"pid {running.process.pid} of trial {request.trial} could not be taken down"
            raise DeployError(
                Failure(
                    FailureKind.INFRASTRUCTURE,
                    "stop",
                    message,
                    tuple(tail(running.endpoint.log)[-3:]) if running.endpoint.log else (),
                )
            )
        if cancelled:
            raise asyncio.CancelledError
