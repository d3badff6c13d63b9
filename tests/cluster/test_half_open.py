"""Connections that stay open without a word are noticed, in watches, logs and single responses."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from autotune_nb.cluster import client as client_module
from autotune_nb.cluster import watch as watch_module
from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import CONFIG_MAP
from autotune_nb.cluster.watch import Watches
from autotune_nb.errors import ClusterError
from tests.cluster.test_credentials import kubeconfig_with
from tests.stubs import in_loop

LIST = {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": []}
LATER = {"type": "ADDED", "object": {"metadata": {"name": "later", "uid": "u", "resourceVersion": "2"}}}


@dataclass
class FakeServer:
    """An API server that falls silent: after the headers of its first watches, of its lists, or within a log."""

    #: What a list responds; None: half of it, and then nothing.
    listed: Any = field(default_factory=lambda: LIST)
    silent_watches: int = 0
    num_watches: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/log"):
            return await self._silent(request, b"a line\n")
        if "watch" in request.query:
            self.num_watches += 1
            events = [] if self.num_watches <= self.silent_watches else [LATER]
            return await self._silent(request, *(json.dumps(event).encode() + b"\n" for event in events))
        if self.listed is None:
            return await self._silent(request, b'{"items": [')
        return web.json_response(self.listed)

    async def _silent(self, request: web.Request, *pieces: bytes) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        for piece in pieces:
            await reply.write(piece)
        await asyncio.sleep(600)
        return reply


@contextlib.asynccontextmanager
async def connected(server: FakeServer, folder: Path) -> AsyncIterator[Cluster]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    cluster = await Cluster.connect(kubeconfig=kubeconfig_with(folder, url))
    cluster.patience_s, cluster.timeout_s, cluster.silent_log_s = 0.0, 0.3, 0.3
    try:
        yield cluster
    finally:
        await cluster.close()
        await runner.cleanup()


def test_a_watch_that_falls_silent_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "_WATCH_S", 1)
    monkeypatch.setattr(client_module, "_MARGIN_S", -0.8)
    server = FakeServer(silent_watches=2)

    async def scenario() -> None:
        async with connected(server, tmp_path) as cluster:
            watches = Watches(cluster)
            await watches.follow(CONFIG_MAP)
            await watches.until(lambda: "later" in watches.objects(CONFIG_MAP) or None)
            await watches.close()

    in_loop(scenario())
    assert server.num_watches >= 3


def test_a_response_that_stops_within_its_body_is_an_error_of_the_cluster(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with connected(FakeServer(listed=None), tmp_path) as cluster:
            with pytest.raises(ClusterError, match="is cut short"):
                await cluster.list(CONFIG_MAP)
            with pytest.raises(ClusterError, match="is cut short"):
                await cluster.get_path("/version")
            with pytest.raises(ClusterError, match="is cut short"):
                await cluster.log("pod", "container")

    in_loop(scenario())


def test_a_followed_log_that_is_silent_for_long_ends(tmp_path: Path) -> None:
    async def scenario() -> bytes:
        read = b""
        async with connected(FakeServer(), tmp_path) as cluster:
            with pytest.raises(TimeoutError):
                async with cluster.follow_log("pod", "container") as pieces:
                    async for piece in pieces:
                        read += piece
        return read

    assert in_loop(scenario()) == b"a line\n"


@pytest.mark.parametrize(("listed", "told"), [(None, "cut short"), ({"items": []}, "malformed"), ([], "no object")])
def test_objects_that_cannot_be_listed_are_an_error_and_no_endless_wait(tmp_path: Path, listed: Any, told: str) -> None:
    async def scenario() -> None:
        async with connected(FakeServer(listed), tmp_path) as cluster:
            watches = Watches(cluster)
            for _ in range(2):
                # The second time too: a kind that was not listed is not watched.
                with pytest.raises(ClusterError, match=told):
                    await watches.follow(CONFIG_MAP)
            await watches.close()

    in_loop(scenario())


def test_an_unexpected_error_does_not_end_a_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with connected(FakeServer(), tmp_path) as cluster:
            watches, errors = Watches(cluster), [AttributeError("unexpected"), RuntimeError("unexpected")]
            apply = watches._apply

            def failing(*args: Any) -> None:
                if errors:
                    raise errors.pop()
                apply(*args)

            monkeypatch.setattr(watches, "_apply", failing)
            await watches.follow(CONFIG_MAP)
            await watches.until(lambda: "later" in watches.objects(CONFIG_MAP) or None)
            await watches.close()

    in_loop(scenario())
