"""Deploys trials as containers of docker, podman or nerdctl."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from autotune_nb.deploy._host import Host
from autotune_nb.deploy._process import listens, port_owner
from autotune_nb.deploy._readiness import wait_until_healthy
from autotune_nb.deploy.base import DeployRequest, Endpoint
from autotune_nb.deploy.caches import CompileCaches, Start
from autotune_nb.deploy.container._container import Container
from autotune_nb.deploy.container._deployment import ContainerDeployment, stop_container
from autotune_nb.deploy.container._image import Image, image_for_run
from autotune_nb.deploy.container._process import ClientProcess
from autotune_nb.deploy.container._run_options import Program, RunOptions, expanded, listen_host
from autotune_nb.deploy.container.cleanup import find_containers, remove_containers
from autotune_nb.deploy.container.client import ContainerClient, find_client
from autotune_nb.deploy.container.compose import compose_file
from autotune_nb.deploy.engine_log import new_log, tail
from autotune_nb.deploy.ports import free_port, in_url
from autotune_nb.engines.base import Engine
from autotune_nb.errors import (
    AutotuneError,
    DeployError,
    Failure,
    FailureKind,
    SetupError,
    SurroundingsError,
)
from autotune_nb.secrets.references import resolved, variables_in
from autotune_nb.task.parameters import Value
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task

_PORT_TRIES = 3


class ContainerDeployer:
    """Deploys a task's engine in containers of this machine. ``notify`` gets the progress of a pull."""

    def __init__(
        self,
        task: Task,
        engine: Engine,
        *,
        study_label: str,
        folder: Path,
        notify: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._task = task
        self._engine = engine
        self._study_label = study_label
        self.notify = notify
        self._host = Host(task, engine, folder)
        self._given_client: ContainerClient | None = None
        self._image: Image | None = None
        self._caches = CompileCaches(task, engine, folder)
        self._hurry = False

    @property
    def _client(self) -> ContainerClient:
        if self._given_client is None:
            self._given_client = find_client(self._task.deploy.runtime)
        return self._given_client

    async def check(self) -> str:
        """Return what a run would use, in a sentence. Raises SetupError if no trial can run."""
        name, pull = self._image_name, self._task.deploy.pull
        self._require_folders()
        self._host.check()
        try:
            data = await self._client.inspect("image", name)
        except (SurroundingsError, DeployError) as error:
            raise SetupError(f"{error.failure.message}; {error.failure.hint}", field="deploy.runtime") from None
        if data is None and pull == "never":
            await image_for_run(self._client, name, pull, self.notify)
        found = "is on this machine" if data is not None else "is pulled before the first trial"
        gpus = "" if self._task.deploy.gpus is not None else "; containers get no GPU, since deploy.gpus is not set"
        return f"{self._client.title} runs the containers; image {name} {found}{gpus}"

    async def prepare(self) -> None:
        self._require_folders()
        await asyncio.to_thread(self._caches.prepare)
        await self._host.prepare()
        cache = self._options(0, ()).hub_cache
        if cache is not None:
            # docker would create it as root.
            await asyncio.to_thread(os.makedirs, cache, exist_ok=True)
        image = await image_for_run(self._client, self._image_name, self._task.deploy.pull, self.notify)
        asked = self._engine.installed.identity if self._engine.installed is not None else image.id
        if asked.removeprefix("sha256:") != image.id.removeprefix("sha256:"):
            self.notify(
                f"the flags of {self._engine.name} were read from another image of the name {image.name}: run "
                f"autotune-nb engine {self._engine.name} --image {image.name} again"
            )
        self._image = image

    @property
    def tokenizer(self) -> str:
        return self._host.tokenizer

    async def sweep(self) -> list[str]:
        try:
            found = await find_containers(self._client, self._study_label)
            return await remove_containers(self._client, found)
        except (SurroundingsError, DeployError) as error:
            hint = f"; {error.failure.hint}" if error.failure.hint else ""
            raise SetupError(f"{error.failure.message}{hint}", field="deploy.runtime") from None

    def hurry(self) -> None:
        self._hurry = True

    def unused_gpus(self, space: SearchSpace) -> str:
        """Return that no trial uses some of ``deploy.gpus``; empty if all may be used. To be called after ``check``."""
        return self._host.unused_gpus(space)

    def command(self, params: Mapping[str, Value]) -> list[str]:
        options, argv, program = self._to_show(params)
        return self._shown(options, program, argv)

    def compose(self, params: Mapping[str, Value]) -> str:
        """Return one configuration as a file for ``docker compose``."""
        options, argv, program = self._to_show(params)
        return compose_file(self._task, options, program.in_image(self._image_name, argv))

    def manifest(self, params: Mapping[str, Value]) -> str | None:
        return None

    async def fingerprint(self) -> dict[str, Any]:
        assert self._image is not None, "prepare was not called"
        found = {
            "engine": self._engine.name,
            "engine_version": None,
            "model": await self._host.model_fingerprint(),
            **self._image.fingerprint(),
        }
        self._caches.identify(found)
        return {**found, "container_runtime": self._client.title}

    async def close(self) -> list[str]:
        return []

    @contextlib.asynccontextmanager
    async def deploy(self, request: DeployRequest) -> AsyncIterator[ContainerDeployment]:
        async with self._host.gpus.hold(self._host.gpus_needed(request.params)) as held:
            start = await asyncio.to_thread(self._caches.start, request.params)
            for attempt in range(1, _PORT_TRIES + 1):
                running = await self._start(request, held)
                try:
                    try:
                        await self._wait_until_healthy(running)
                    except DeployError as error:
                        # Another process took the port before the engine bound it.
                        taken = error.failure.kind is FailureKind.INFRASTRUCTURE and self._task.deploy.port is None
                        if not taken or attempt == _PORT_TRIES:
                            raise
                        await self._take_down(running, request)
                        continue
                    yield await self._identified(running, start)
                except BaseException as error:
                    # Of a daemon that is away nothing can be taken down; the next attempt removes what is left.
                    await self._take_down(running, request, required=not isinstance(error, SurroundingsError))
                    raise
                await self._take_down(running, request)
                return

    async def _start(self, request: DeployRequest, held: Sequence[str] | None) -> ContainerDeployment:
        assert self._image is not None, "prepare was not called"
        container = Container.of_trial(self._client, self._task.name, self._study_label, request.trial)
        for line in await container.require_free_name():
            request.on_notice(line)
        port = self._task.deploy.port or free_port(self._task.deploy.host)
        options, program = self._options(port, held), self._program
        argv = self._host.argv(request.params, listen_host(self._task), port, program.words)
        log = new_log(request.folder)
        request.on_log(log)
        # By its id, so that every trial has the same image even if the name gets another one.
        image = self._image.name if self._runtime == "nerdctl" else self._image.id
        words = [*replace(options, caches=self._caches).words(shown=False), *program.in_image(image, argv)]
        values = {
            name: resolved(value, field=f"engine.env.{name}")
            for name, value in options.environment.items()
            if variables_in(value)
        }
        ready_by = asyncio.get_running_loop().time() + self._task.deadlines.ready_s
        process = await ClientProcess.start(
            [*self._client.words, "run", *container.options, "--pull", "never", *words],
            env={**os.environ, **values},
            log=log,
            find=container.find_command,
            remove=container.remove_command,
        )
        endpoint = Endpoint(
            url=f"http://{in_url(self._task.deploy.host)}:{port}",
            model=self._host.served_name,
            tokenizer=self._host.tokenizer,
            command=tuple(self._shown(options, program, argv)),
            gpu_count=len(held or ()),
            log=log,
            ready_by=ready_by,
            gpus=None if held is None else tuple(held),
        )
        return ContainerDeployment(endpoint, process, container, self._engine)

    async def _wait_until_healthy(self, running: ContainerDeployment) -> None:
        async def ready(_session: aiohttp.ClientSession) -> None:
            running.state = await running.container.state()
            running.endpoint = replace(running.endpoint, engine_pid=running.own_pid())
            await self._require_own_port(running)

        await wait_until_healthy(running, self._task, self._engine, ready)

    async def _require_own_port(self, running: ContainerDeployment) -> None:
        """Raise DeployError if another program listens on the port: it must not be measured.

        A port that the runtime publishes is the container's.
        """
        state, pid = running.state, running.endpoint.engine_pid
        if state is None or not state.running:
            # It has ended, while another program answered.
            await running.ended()
        if pid is None or state is None or not state.host_network:
            return
        port = int(running.endpoint.url.rpartition(":")[2])
        if await asyncio.to_thread(listens, pid, port) is False:
            owner = port_owner(port) or "another program"
            message = f"{owner}, not the engine, listens on port {port}"
            raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "deploy", message))

    async def _identified(self, running: ContainerDeployment, start: Start | None) -> ContainerDeployment:
        """Add the version that the engine's server reports, and a model that was replaced."""
        served = await self._host.served_fingerprint(running.endpoint.url, version=True)
        found = {**self._caches.ready(start), **served}
        running.endpoint = replace(running.endpoint, fingerprint=found)
        return running

    async def _take_down(self, running: ContainerDeployment, request: DeployRequest, *, required: bool = True) -> None:
        request.on_phase("stop")
        gone = await stop_container(running, grace_s=self._task.deadlines.stop_s, at_once=lambda: self._hurry)
        if not gone and required:
            name = running.container.name
            message = f"container {name} of trial {request.trial} could not be removed"
            hint = f"the next run of the study removes it, or {self._client.runtime} rm -f {name}"
            lines = tuple(tail(running.endpoint.log)[-3:]) if running.endpoint.log else ()
            raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "stop", message, lines, hint))

    def _require_folders(self) -> None:
        """Raise SetupError for a folder to mount that does not exist; docker would create it as root."""
        for volume in self._task.deploy.volumes:
            source = expanded(volume).partition(":")[0]
            if source.startswith("/") and not Path(source).exists():
                raise SetupError(f"there is no {source} on this machine to mount ({volume})", field="deploy.volumes")

    @property
    def _image_name(self) -> str:
        assert self._task.deploy.image is not None, "the task was validated"
        return self._task.deploy.image

    @property
    def _program(self) -> Program:
        return Program.of(self._task, self._engine, None if self._image is None else self._image.entrypoint)

    def _options(self, port: int, gpus: Sequence[str] | None) -> RunOptions:
        return RunOptions(self._task, self._runtime, self._host.model, port, gpus)

    @property
    def _runtime(self) -> str:
        try:
            return self._client.runtime
        except SetupError:
            # A study that is only opened may come from another machine.
            return "docker"

    def _to_show(self, params: Mapping[str, Value]) -> tuple[RunOptions, list[str], Program]:
        """Return what a configuration is started with, on the engine's default port."""
        if self._image is None:
            with contextlib.suppress(AutotuneError):
                data = self._client.inspect_image(self._image_name)
                self._image = None if data is None else Image.of(self._image_name, data)
        visible = None
        with contextlib.suppress(SetupError):
            visible = self._host.visible_gpus()
        port = self._task.deploy.port or self._engine.default_port
        held = None if visible is None else visible[: self._host.gpus_needed(params)]
        program = self._program
        argv = self._host.argv(params, listen_host(self._task), port, program.words)
        return self._options(port, held), argv, program

    def _shown(self, options: RunOptions, program: Program, argv: Sequence[str]) -> list[str]:
        """Return the command line to paste."""
        words = program.in_image(self._image_name, argv)
        given = shlex.split(self._task.deploy.runtime or self._runtime)
        return [*given, "run", "--rm", *options.words(shown=True), *words]
