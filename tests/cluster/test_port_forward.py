"""Port-forwards: many connections at once, complete data in both directions, and new connections after a drop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import socket
import sys
import time
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import POD
from autotune_nb.cluster.port_forward import PortForward
from tests.kubernetes.proxy import FaultProxy
from tests.stubs import HANGS_S, in_loop, until_async

SERVER = """
import asyncio
from aiohttp import web

async def hello(request):
    return web.Response(text=request.query.get("say", "hello"))

async def echo(request):
    return web.Response(body=await request.read())

async def stream(request):
    answer = web.StreamResponse()
    await answer.prepare(request)
    for number in range(int(request.query["n"])):
        await answer.write(b"data: %d\\n\\n" % number)
        await asyncio.sleep(float(request.query["every"]))
    return answer

app = web.Application(client_max_size=2**26)
app.router.add_get("/", hello)
app.router.add_post("/echo", echo)
app.router.add_get("/stream", stream)
web.run_app(app, host="0.0.0.0", port=8080, print=None)
"""


async def pod(cluster: Cluster, name: str) -> None:
    """A pod with a small server, until it is Ready."""
    # The cluster's seconds are tenths, and a busy machine takes its time to start Python.
    seconds = {"periodSeconds": 1, "initialDelaySeconds": 1, "failureThreshold": 500}
    probe = {"httpGet": {"path": "/", "port": 8080}, **seconds}
    container = {
        "name": "server",
        "image": "engine/test:1",
        "command": [sys.executable, "-c", SERVER],
        "startupProbe": probe,
    }
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    await cluster.create(POD, {"metadata": {"name": name}, "spec": spec})
    while True:
        found = await cluster.get(POD, name) or {}
        conditions = (found.get("status") or {}).get("conditions") or []
        if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
            return
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def forwarded(
    kubeconfig: Path, port: int = 8080
) -> AsyncIterator[tuple[Cluster, PortForward, aiohttp.ClientSession]]:
    cluster = await Cluster.connect(kubeconfig=str(kubeconfig))
    try:
        await pod(cluster, "one")
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with (
            PortForward(cluster, lambda: "one", port) as forward,
            aiohttp.ClientSession(connector=connector) as http,
        ):
            yield cluster, forward, http
    finally:
        await cluster.delete(POD, "one", propagation="Background", grace_s=0)
        await cluster.close()


async def text(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url, timeout=aiohttp.ClientTimeout(total=HANGS_S)) as reply:
        return await reply.text()


@pytest.mark.parametrize("steps", range(6))
def test_a_connection_that_is_accepted_while_the_forward_closes_is_closed(steps: int) -> None:
    """At any step of the event loop between the connection and its first byte."""

    async def scenario() -> None:
        cluster = cast(Cluster, SimpleNamespace(namespace="tune"))
        async with PortForward(cluster, lambda: None, 8080) as forward:
            with socket.create_connection(("127.0.0.1", forward.local_port)) as client:
                for _ in range(steps):
                    await asyncio.sleep(0)
        del forward, client

    in_loop(scenario())
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(one.message) for one in found] == []


def test_many_at_once_and_large_bodies_both_ways(kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with forwarded(kubeconfig) as (_, forward, http):
            said = await asyncio.gather(*(text(http, f"{forward.url}/?say={n}") for n in range(64)))
            assert said == [str(n) for n in range(64)]
            body = bytes(range(256)) * 2**14
            async with http.post(f"{forward.url}/echo", data=io.BytesIO(body)) as reply:
                assert await reply.read() == body
            assert forward.drops == 0

    in_loop(scenario())


def test_what_streams_arrives_as_it_is_sent(kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with (
            forwarded(kubeconfig) as (_, forward, http),
            http.get(f"{forward.url}/stream?n=3&every=0.5") as reply,
        ):
            began, came = time.monotonic(), []
            async for line in reply.content:
                if line.strip():
                    came.append(time.monotonic() - began)
            assert len(came) == 3
            # Not all of them at the end.
            assert came[2] - came[0] > 0.7

    in_loop(scenario())


def test_after_a_drop_the_next_connection_opens_anew(proxy: FaultProxy, kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with forwarded(kubeconfig) as (_, forward, http):
            async with http.get(f"{forward.url}/stream?n=100&every=0.1") as reply:
                await reply.content.readline()
                await asyncio.to_thread(proxy.cut)
                with pytest.raises(aiohttp.ClientError):
                    await reply.read()
            assert await text(http, forward.url) == "hello"
            await until_async(lambda: forward.drops == 1)
            assert forward.last_error

    in_loop(scenario())


def test_a_connection_that_is_cut_while_it_is_idle_is_no_drop(proxy: FaultProxy, kubeconfig: Path) -> None:
    """A server that closes an idle one may look like that."""

    async def scenario() -> None:
        async with forwarded(kubeconfig) as (_, forward, _), aiohttp.ClientSession() as http:
            assert await text(http, forward.url) == "hello"
            assert await text(http, f"{forward.url}/stream?n=2&every=0") == "data: 0\n\ndata: 1\n\n"
            assert len(forward._open) == 1
            await asyncio.to_thread(proxy.cut)
            await until_async(lambda: not forward._open)
            assert "was closed" in (forward.last_error or "")
            assert forward.drops == 0

    in_loop(scenario())


def test_a_server_that_is_away_for_a_moment_is_waited_for(proxy: FaultProxy, kubeconfig: Path) -> None:
    proxy.add("GET", "/portforward", status=503, times=2)

    async def scenario() -> None:
        async with forwarded(kubeconfig) as (_, forward, http):
            assert await text(http, forward.url) == "hello"

    in_loop(scenario())


def test_a_port_nobody_listens_on_and_a_right_that_is_missing_are_told(proxy: FaultProxy, kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with forwarded(kubeconfig, port=8099) as (_, forward, http):
            with pytest.raises(aiohttp.ClientError):
                await text(http, forward.url)
            await until_async(lambda: forward.last_error)
            assert "8099" in (forward.last_error or "")
            proxy.add("GET", "/portforward", status=403, message="pods/portforward is forbidden", times=9)
            with pytest.raises(aiohttp.ClientError):
                await text(http, forward.url)
            await until_async(lambda: "403" in (forward.last_error or ""))

    in_loop(scenario())


def test_a_pod_that_was_replaced_is_reached_under_its_new_name(kubeconfig: Path) -> None:
    async def scenario() -> None:
        names: list[str | None] = ["one"]
        async with forwarded(kubeconfig) as (cluster, _, http), PortForward(cluster, lambda: names[0], 8080) as forward:
            assert await text(http, forward.url) == "hello"
            names[0] = None
            waiting = asyncio.ensure_future(text(http, forward.url))
            await pod(cluster, "two")
            names[0] = "two"
            assert await waiting == "hello"
            await cluster.delete(POD, "two", propagation="Background", grace_s=0)

    in_loop(scenario())


def test_closing_ends_what_is_open_and_leaves_nothing(kubeconfig: Path) -> None:
    async def scenario() -> None:
        before = asyncio.all_tasks()
        async with forwarded(kubeconfig) as (cluster, _, http):
            forward = PortForward(cluster, lambda: "one", 8080)
            async with forward:
                reply = await http.get(f"{forward.url}/stream?n=100&every=0.1")
                await reply.content.readline()
            with pytest.raises(aiohttp.ClientError):
                await reply.read()
            with pytest.raises(aiohttp.ClientError):
                await text(http, forward.url)
        assert asyncio.all_tasks() == before

    in_loop(scenario())


def test_a_client_that_hangs_up_ends_its_connection(kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with forwarded(kubeconfig) as (_, forward, http):
            reply = await http.get(f"{forward.url}/stream?n=1000&every=0.05")
            await reply.content.readline()
            open_now: Any = forward._open
            assert len(open_now) == 1
            reply.close()
            await until_async(lambda: not open_now)
            assert await text(http, forward.url) == "hello"

    in_loop(scenario())
