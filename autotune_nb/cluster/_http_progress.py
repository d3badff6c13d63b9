"""Whether an HTTP client still waits for a response, from the bytes of its connection."""

from __future__ import annotations

import h11

#: Longer response headers are not taken for HTTP.
_MAX_HEADER_BYTES = 65536
_FRAMED = {b"content-length", b"transfer-encoding"}


class ResponseTracker:
    """Tracks one connection. If it is not HTTP, the client counts as waiting once it has sent a byte."""

    def __init__(self) -> None:
        self.opened = self.waiting = False
        self._readable = True
        self._connection: h11.Connection | None = None

    def on_request(self) -> None:
        """Record that the client has sent something."""
        self.waiting = True

    def on_response(self, data: bytes) -> None:
        """Process bytes that the server has sent."""
        try:
            while data and self._readable:
                data = self._read(data)
        except h11.RemoteProtocolError:
            self._readable = False

    def _read(self, data: bytes) -> bytes:
        """Read the rest of one response. Returns what follows it."""
        if self._connection is None:
            self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEADER_BYTES)
            # What was requested does not matter here.
            self._connection.send(h11.Request(method="GET", target="/", headers=[("Host", "engine")]))
            self._connection.send(h11.EndOfMessage())
        self._connection.receive_data(data)
        while (event := self._connection.next_event()) is not h11.NEED_DATA:
            unframed = isinstance(event, h11.Response) and not _FRAMED & {name for name, _ in event.headers}
            # Without a length the response ends when the connection closes, which may also be a broken connection.
            if unframed or isinstance(event, h11.EndOfMessage):
                rest, _ = self._connection.trailing_data
                self._connection, self.waiting = None, False
                return b"" if unframed else rest
        return b""
