"""Whether an HTTP client still waits for a response, from the bytes of its connection."""

from __future__ import annotations

#: Longer response headers are not taken for HTTP.
_MAX_HEADER_BYTES = 65536


class ResponseTracker:
    """Tracks one connection. If it is not HTTP, the client counts as waiting once it has sent a byte."""

    def __init__(self) -> None:
        self.opened = self.waiting = False
        self._buffer = bytearray()
        #: Bytes of the current body or chunk that are still to come; None while headers or a chunk's size are read.
        self._remaining: int | None = None
        self._chunked = False
        self._in_headers = True
        self._readable = True

    def on_request(self) -> None:
        """Record that the client has sent something."""
        self.waiting = True

    def on_response(self, data: bytes) -> None:
        """Process bytes that the server has sent."""
        if not self._readable:
            return
        self._buffer += data
        while self._buffer and self._readable and self._step():
            pass

    def _step(self) -> bool:
        """Parse one part of the buffer. Returns whether there may be another."""
        if self._remaining is not None:
            taken = min(self._remaining, len(self._buffer))
            del self._buffer[:taken]
            self._remaining -= taken
            if self._remaining == 0:
                self._remaining = None
                if not self._chunked:
                    self._response_complete()
            return True
        return self._headers() if self._in_headers else self._chunk()

    def _headers(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        head = bytes(self._buffer if end < 0 else self._buffer[:end])
        if not head.startswith(b"HTTP/"[: len(head)]) or len(head) > _MAX_HEADER_BYTES:
            self._readable = False
            return False
        if end < 0:
            return False
        del self._buffer[: end + 4]
        first, *lines = head.split(b"\r\n")
        status = first.split(b" ")[1:2]
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if status and status[0].startswith(b"1"):
            return True
        length = fields.get(b"content-length", b"")
        if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
            self._chunked, self._in_headers = True, False
        elif length.isdigit() and int(length) and status not in ([b"204"], [b"304"]):
            self._in_headers, self._remaining = False, int(length)
        else:
            # Without a length the response ends when the connection closes, which may also be a broken connection.
            self._response_complete()
        return True

    def _chunk(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        try:
            count = int(self._buffer[:end].split(b";")[0], 16)
        except ValueError:
            self._readable = False
            return False
        if count:
            del self._buffer[: end + 2]
            # The chunk ends with a line break of its own.
            self._remaining = count + 2
            return True
        # The last chunk: its trailer ends with an empty line.
        trailer_end = self._buffer.find(b"\r\n\r\n", end)
        if trailer_end < 0:
            return False
        del self._buffer[: trailer_end + 4]
        self._response_complete()
        return True

    def _response_complete(self) -> None:
        self.waiting = self._chunked = False
        self._in_headers, self._remaining = True, None
