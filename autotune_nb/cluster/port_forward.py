"""A pod's port as a port of this machine, over the API server's web sockets: no kubectl, no rights but port-forward."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable

import aiohttp

from autotune_nb.cluster._http_progress import Answers
from autotune_nb.cluster.client import Cluster
from autotune_nb.errors import ClusterError

_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_PIECE = 65536
#: A web socket that cannot be opened is tried again for so long; then the client's connection is closed.
_OPEN_S, _PAUSE_S = 5.0, 0.2


class _PodError(ClusterError):
    """What the pod's end says of a connection, such as that nobody listens on that port: the forward itself holds."""


class PortForward:
    """Listens on a free port of 127.0.0.1; each connection there gets a web socket of its own.

    What drops closes the connection it carried, and the next one opens anew. ``pod`` is asked each time, since a pod
    may be replaced; None means that there is none now.
    """

    def __init__(
        self, cluster: Cluster, pod: Callable[[], str | None], port: int, *, namespace: str | None = None
    ) -> None:
        self._cluster = cluster
        self._pod = pod
        self._port = port
        self._namespace = namespace or cluster.namespace
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.local_port = 0
        #: How often one was cut, or could not be had, while its client waited for an answer; and the latest trouble of
        #: any kind. A pod that closes one that is idle may look like a cut.
        self.drops = 0
        self.last_error: str | None = None
        self._drop = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.local_port}"

    async def dropped(self, before: int) -> str:
        """Wait until there are more drops than ``before``; what was wrong with the latest."""
        while self.drops <= before:
            self._drop.clear()
            await self._drop.wait()
        return self.last_error or "no reason is known"

    async def __aenter__(self) -> PortForward:
        # A burst of a hundred connections at once is what load generators do.
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, backlog=1024)
        self.local_port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        answers = Answers()
        try:
            await self._carry(reader, writer, answers)
        except (ClusterError, aiohttp.ClientError, OSError) as error:
            self.last_error = str(error) or type(error).__name__
            gone = reader.at_eof() or writer.transport.is_closing()
            # One that could not be opened has taken nothing from its client yet.
            waiting = answers.waiting or not answers.opened
            if waiting and not gone and not isinstance(error, _PodError):
                self.drops += 1
                self._drop.set()
        except asyncio.CancelledError:
            # Closing: nobody waits for this task's end but __aexit__.
            pass
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: Answers) -> None:
        async with contextlib.AsyncExitStack() as stack:
            socket = await self._opened(stack)
            answers.opened = True
            up = asyncio.ensure_future(self._up(reader, socket, answers))
            down = asyncio.ensure_future(self._down(socket, writer, answers))
            try:
                # The client may have said all it has to say and still be listening: only the pod's end ends it.
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
                if up.done() and not up.exception() and not reader.at_eof():
                    await down
                elif up.done() and reader.at_eof():
                    await self._after_the_client(down, writer)
                if down.done():
                    down.result()
            finally:
                for task in (up, down):
                    task.cancel()
                await asyncio.gather(up, down, return_exceptions=True)

    @staticmethod
    async def _after_the_client(down: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        """The protocol has no half-close: what is still on its way is waited for, as long as anybody listens."""
        while not down.done() and not writer.transport.is_closing():
            await asyncio.wait((down,), timeout=0.2)

    async def _opened(self, stack: contextlib.AsyncExitStack) -> aiohttp.ClientWebSocketResponse:
        """A web socket to the pod there is now. Raises ClusterError where none can be had in time."""
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

    async def _up(
        self, reader: asyncio.StreamReader, socket: aiohttp.ClientWebSocketResponse, answers: Answers
    ) -> None:
        # What is wrong with the web socket is seen, and said, on the way down.
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            while data := await reader.read(_PIECE):
                answers.sent()
                await socket.send_bytes(bytes((_DATA,)) + data)

    async def _down(
        self, socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter, answers: Answers
    ) -> None:
        # Each channel begins with the port's number in two bytes.
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
                raise _PodError(data.decode(errors="replace"))
            if channel == _DATA:
                answers.came(data)
                writer.write(data)
                await writer.drain()
        if socket.close_code not in (None, 1000, 1005) or socket.exception() is not None:
            raise ClusterError(f"the port-forward was cut off (code {socket.close_code})")
