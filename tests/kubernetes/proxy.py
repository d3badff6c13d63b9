"""A proxy before the API server that injects faults of networks and servers, and counts requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "upgrade", "content-length", "accept-encoding"}


@dataclass
class Fault:
    """A fault for requests with this method and path pattern: ``times`` times, after the first ``after`` requests."""

    method: str
    path: str
    #: Answer with this status and a Kubernetes Status, without asking the server.
    status: int = 0
    message: str = "injected"
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    #: What to answer instead of a Status.
    body: dict[str, Any] | None = None
    text: str | None = None
    #: Pass it on, then close the connection without an answer: it took effect and nobody knows.
    lose_answer: bool = False
    #: Pass it on, then answer with ``status`` all the same.
    take_effect: bool = False
    #: Close the connection once so many bytes of the answer have gone through.
    cut_after: int | None = None
    #: Pass it on only after so long, whether or not its client still waits.
    delay_s: float = 0.0
    #: Pass it on at once, and its answer back only after so long.
    late_s: float = 0.0
    #: Pass it on only once so many requests with such a fault have arrived.
    together: int = 0
    after: int = 0
    times: int = 1
    #: How often it happened.
    hits: int = 0
    #: What the server answered to those that were passed on.
    answers: list[int] = field(default_factory=list)

    def takes(self, method: str, path: str) -> bool:
        if method != self.method or not re.search(self.path, path) or self.hits >= self.times:
            return False
        if self.after:
            self.after -= 1
            return False
        self.hits += 1
        return True


class FaultProxy:
    """Runs in a thread. As a context manager it closes every connection at its end."""

    def __init__(self, url: str, ca: str | Path) -> None:
        self.faults: list[Fault] = []
        self.requests: Counter[tuple[str, str]] = Counter()
        self.url = ""
        #: Where set, the one token that is accepted here, and the one that the server is shown for it.
        self.token: tuple[str, str] | None = None
        self._upstream = url.rstrip("/")
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._loop = asyncio.new_event_loop()
        self._open: set[Callable[[], None]] = set()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        stop = self._stop
        assert stop is not None
        self._loop.call_soon_threadsafe(stop.set)
        self._thread.join(15)
        self._loop.close()

    def add(self, method: str, path: str, **what: Any) -> Fault:
        """Inject a fault from now on."""
        fault = Fault(method, path, **what)
        self.faults.append(fault)
        return fault

    @property
    def num_open(self) -> int:
        """The number of open streams and web sockets, without those that are still being opened."""
        return len(self._open)

    def cut(self) -> int:
        """Close every open stream and web socket, and return their number."""
        done = threading.Event()
        count = len(self._open)

        def close() -> None:
            for one in list(self._open):
                one()
            done.set()

        self._loop.call_soon_threadsafe(close)
        assert done.wait(10)
        return count

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Drop every request and close every open stream."""
        fault = Fault("*", ".*", times=10**9)
        self.faults.insert(0, fault)
        self.cut()
        try:
            yield
        finally:
            self.faults.remove(fault)

    def kubeconfig(self, file: Path, *, token: str, namespace: str = "default") -> Path:
        """Write a kubeconfig that goes through the proxy."""
        data = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [
                {"name": "proxy", "context": {"cluster": "proxy", "user": "user", "namespace": namespace}},
            ],
        }
        file.write_text(yaml.safe_dump(data))
        return file

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            app = web.Application(client_max_size=2**26)

            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._handle(request, session)

            app.router.add_route("*", "/{path:.*}", handle)
            runner = web.AppRunner(app, shutdown_timeout=0.05)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            self.url = f"http://127.0.0.1:{port}"
            self._ready.set()
            await self._stop.wait()
            for close in list(self._open):
                close()
            await runner.cleanup()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _fault(self, method: str, path: str) -> Fault | None:
        return next((f for f in self.faults if f.method == "*" or f.takes(method, path)), None)

    async def _handle(self, request: web.Request, session: aiohttp.ClientSession) -> web.StreamResponse:
        watch = request.query.get("watch") in ("1", "true", "True")
        self.requests["WATCH" if watch else request.method, _resource(request.path)] += 1
        fault = self._fault("WATCH" if watch else request.method, request.path_qs)
        # It is here in whole, like in any network: that its client leaves takes nothing back.
        body = await request.read()
        if fault is not None:
            if fault.method == "*":
                return _dropped(request)
            if fault.together:
                while sum(one.hits for one in self.faults if one.together) < fault.together:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            if fault.delay_s:
                await asyncio.sleep(fault.delay_s)
            if fault.status and not fault.take_effect:
                return _status(fault)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        if self.token is not None:
            accepted, shown = self.token
            if headers.get("Authorization") != f"Bearer {accepted}":
                return _status(Fault("", "", status=401, reason="Unauthorized", message="Unauthorized"))
            headers["Authorization"] = f"Bearer {shown}"
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request, session, headers)
        async with session.request(
            request.method,
            self._upstream + request.raw_path,
            headers=headers,
            data=body,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            if fault is not None:
                fault.answers.append(answer.status)
            if fault is not None and fault.late_s:
                await asyncio.sleep(fault.late_s)
            if fault is not None and fault.lose_answer:
                await answer.read()
                return _dropped(request)
            if fault is not None and fault.take_effect:
                await answer.read()
                return _status(fault)
            response = web.StreamResponse(
                status=answer.status, headers={k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
            )
            await response.prepare(request)
            close = _closer(request)
            self._open.add(close)
            left = fault.cut_after if fault is not None else None
            try:
                async for piece in answer.content.iter_any():
                    await response.write(piece if left is None else piece[:left])
                    if left is not None:
                        left -= len(piece)
                        if left <= 0:
                            return _dropped(request)
            except (ConnectionError, aiohttp.ClientError):
                return _dropped(request)
            finally:
                self._open.discard(close)
            return response

    async def _socket(
        self, request: web.Request, session: aiohttp.ClientSession, headers: dict[str, str]
    ) -> web.StreamResponse:
        protocols = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]
        kept = {k: v for k, v in headers.items() if not k.lower().startswith("sec-websocket")}
        try:
            upstream = await session.ws_connect(
                self._upstream + request.raw_path, headers=kept, protocols=protocols, max_msg_size=0
            )
        except aiohttp.WSServerHandshakeError as error:
            return web.Response(status=error.status, text=error.message)
        here = web.WebSocketResponse(protocols=protocols, max_msg_size=0)
        await here.prepare(request)
        close = _closer(request)
        self._open.add(close)

        async def pump(source: Any, sink: Any) -> None:
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                async for message in source:
                    if message.type is aiohttp.WSMsgType.BINARY:
                        await sink.send_bytes(message.data)
                    elif message.type is aiohttp.WSMsgType.TEXT:
                        await sink.send_str(message.data)

        both = [asyncio.ensure_future(pump(here, upstream)), asyncio.ensure_future(pump(upstream, here))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(close)
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            await upstream.close()
            with contextlib.suppress(ConnectionError):
                await here.close()
        return here


def _closer(request: web.Request) -> Callable[[], None]:
    transport = request.transport

    def close() -> None:
        if transport is not None:
            transport.abort()

    return close


def _dropped(request: web.Request) -> web.StreamResponse:
    """Close the connection without a response."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _status(fault: Fault) -> web.Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": fault.message,
        "reason": fault.reason,
        "code": fault.status,
    }
    body = body if fault.body is None else fault.body
    text = json.dumps(body) if fault.text is None else fault.text
    return web.Response(status=fault.status, text=text, content_type="application/json", headers=fault.headers)


def _resource(path: str) -> str:
    """Return the resource of a path, with its subresource: ``pods``, ``pods/log``."""
    parts = path.strip("/").split("/")
    parts = parts[3:] if parts[0] == "apis" else parts[2:]
    if len(parts) > 2 and parts[0] == "namespaces":
        parts = parts[2:]
    return parts[0] + (f"/{parts[2]}" if len(parts) > 2 else "") if parts else ""
