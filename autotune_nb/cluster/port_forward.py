"""Forwards a local port to a pod's, over web sockets of the API server: without kubectl."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable

import aiohttp

from autotune_nb.cluster._http_progress import ResponseTracker
from autotune_nb.cluster.client import Cluster
from autotune_nb.errors import ClusterError

_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_CHUNK_BYTES = 65536
#: How long opening a web socket is retried, and how often; then the client's connection is closed.
_OPEN_S, _PAUSE_S = 5.0, 0.2
_ACCEPT_STEPS = 3


class _PortError(ClusterError):
    """An error of the pod's end, such as that no process listens on the port. The port-forward itself works."""


class PortForward:
    """Listens on a free port of 127.0.0.1 and opens a web socket for each connection.

    A web socket that breaks closes its connection; the next connection opens a new one. ``pod`` is called for each,
    since the pod may be replaced; None means that there is none now.
    """

    def __init__(
        self, cluster: Cluster, pod: Callable[[], str | None], port: int, *, namespace: str | None = None
    ) -> None:
        self._cluster = cluster
        self._pod = pod
        self._port = port
        self._namespace = namespace or cluster.namespace
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.local_port = 0
        #: How many connections broke or could not be opened while the client waited for a response (a pod that closes
        #: an idle one may look like that), and the last error of any kind.
        self.drops = 0
        self.last_error: str | None = None
        self._drop = asyncio.Event()

    @property
    def url(self) -> str:
        """The local URL."""
        return f"http://127.0.0.1:{self.local_port}"

    async def wait_for_drop(self, before: int) -> str:
        """Wait until ``drops`` exceeds ``before``. Returns the last error."""
        while self.drops <= before:
            self._drop.clear()
            await self._drop.wait()
        return self.last_error or "no error was reported"

    async def __aenter__(self) -> PortForward:
        # Load generators open a hundred connections at once.
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.local_port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        # The loop calls _accept some steps after it accepted a connection; if the server is closed between, 3.11 leaves
        # the connection open.
        for listening in self._server.sockets or ():
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _step in range(_ACCEPT_STEPS):
            await asyncio.sleep(0)
        self._server.close()
        open_now = dict(self._open)
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)
        # A task that is cancelled before its first step closes nothing.
        for writer in open_now.values():
            await _close(writer)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._handle(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tracker = ResponseTracker()
        try:
            await self._relay(reader, writer, tracker)
        except (ClusterError, aiohttp.ClientError, OSError) as error:
            self.last_error = str(error) or type(error).__name__
            gone = reader.at_eof() or writer.transport.is_closing()
            # Before the web socket is open, nothing was read from the client.
            waiting = tracker.waiting or not tracker.opened
            if waiting and not gone and not isinstance(error, _PortError):
                self.drops += 1
                self._drop.set()
        except asyncio.CancelledError:
            # Cancelled by __aexit__, which waits for this task.
            pass
        finally:
            await _close(writer)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tracker: ResponseTracker
    ) -> None:
        async with contextlib.AsyncExitStack() as stack:
            socket = await self._connect(stack)
            tracker.opened = True
            up = asyncio.ensure_future(self._to_pod(reader, socket, tracker))
            down = asyncio.ensure_future(self._from_pod(socket, writer, tracker))
            try:
                # The client may have sent all it has and still be reading: only the pod's end closes the connection.
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
                if up.done() and not up.exception() and not reader.at_eof():
                    await down
                elif up.done() and reader.at_eof():
                    await self._drain(down, writer)
                if down.done():
                    down.result()
            finally:
                for task in (up, down):
                    task.cancel()
                await asyncio.gather(up, down, return_exceptions=True)

    @staticmethod
    async def _drain(down: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        """Wait for the rest of the response while the client reads: the protocol has no half-close."""
        while not down.done() and not writer.transport.is_closing():
            await asyncio.wait((down,), timeout=0.2)

    async def _connect(self, stack: contextlib.AsyncExitStack) -> aiohttp.ClientWebSocketResponse:
        """Open a web socket to the current pod. Raises ClusterError if that fails until the deadline."""
        deadline = asyncio.get_running_loop().time() + _OPEN_S
        while True:
            try:
                pod = self._pod()
                if pod is None:
                    raise ClusterError("there is no pod to forward to")
                path = f"/api/v1/namespaces/{self._namespace}/pods/{pod}/portforward"
                return await stack.enter_async_context(
                    self._cluster.websocket(path, {"ports": str(self._port)}, (_PROTOCOL,))
                )
            except ClusterError as error:
                if error.status == 403 or asyncio.get_running_loop().time() + _PAUSE_S > deadline:
                    raise
                await asyncio.sleep(_PAUSE_S)

    async def _to_pod(
        self, reader: asyncio.StreamReader, socket: aiohttp.ClientWebSocketResponse, tracker: ResponseTracker
    ) -> None:
        # _from_pod raises the errors of the web socket.
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            while data := await reader.read(_CHUNK_BYTES):
                tracker.on_request()
                await socket.send_bytes(bytes((_DATA,)) + data)

    async def _from_pod(
        self, socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter, tracker: ResponseTracker
    ) -> None:
        # The first message of each channel is the port number in two bytes.
        greeted: set[int] = set()
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel not in greeted:
                greeted.add(channel)
                if data[:2] == struct.pack("<H", self._port):
                    data = data[2:]
                if not data:
                    continue
            if channel == _ERROR:
                raise _PortError(data.decode(errors="replace"))
            if channel == _DATA:
                tracker.on_response(data)
                writer.write(data)
                await writer.drain()
        if socket.close_code not in (None, 1000, 1005) or socket.exception() is not None:
            raise ClusterError(f"the port-forward was closed (code {socket.close_code})")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()
