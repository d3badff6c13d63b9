"""Whether a client of HTTP still waits for an answer, or the rest of one, told from the bytes that pass by."""

from __future__ import annotations

#: A head that is longer is none.
_HEAD_BYTES = 65536


class Answers:
    """Follows one connection. What is no HTTP counts as waited for from the first byte sent on."""

    def __init__(self) -> None:
        self.opened = self.waiting = False
        self._kept = bytearray()
        #: What of the present part is still to come: a body's or a chunk's bytes; None while a line or a head is.
        self._left: int | None = None
        self._chunked = False
        self._in_head = True
        self._readable = True

    def sent(self) -> None:
        """The client said something."""
        self.waiting = True

    def came(self, data: bytes) -> None:
        """The server answered that."""
        if not self._readable:
            return
        self._kept += data
        while self._kept and self._readable and self._step():
            pass

    def _step(self) -> bool:
        """Take one part; whether there may be another."""
        if self._left is not None:
            taken = min(self._left, len(self._kept))
            del self._kept[:taken]
            self._left -= taken
            if self._left == 0:
                self._left = None
                if not self._chunked:
                    self._whole()
            return True
        return self._head() if self._in_head else self._chunk()

    def _head(self) -> bool:
        end = self._kept.find(b"\r\n\r\n")
        head = bytes(self._kept if end < 0 else self._kept[:end])
        if not head.startswith(b"HTTP/"[: len(head)]) or len(head) > _HEAD_BYTES:
            self._readable = False
            return False
        if end < 0:
            return False
        del self._kept[: end + 4]
        first, *lines = head.split(b"\r\n")
        status = first.split(b" ")[1:2]
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if status and status[0].startswith(b"1"):
            return True
        length = fields.get(b"content-length", b"")
        if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
            self._chunked, self._in_head = True, False
        elif length.isdigit() and int(length) and status not in ([b"204"], [b"304"]):
            self._in_head, self._left = False, int(length)
        else:
            # Without a length it lasts until it is closed: its end cannot be told from a cut.
            self._whole()
        return True

    def _chunk(self) -> bool:
        end = self._kept.find(b"\r\n")
        if end < 0:
            return False
        try:
            count = int(self._kept[:end].split(b";")[0], 16)
        except ValueError:
            self._readable = False
            return False
        if count:
            del self._kept[: end + 2]
            # The chunk's own end of line comes after it.
            self._left = count + 2
            return True
        # The last one: its trailer ends with an empty line.
        over = self._kept.find(b"\r\n\r\n", end)
        if over < 0:
            return False
        del self._kept[: over + 4]
        self._whole()
        return True

    def _whole(self) -> None:
        self.waiting = self._chunked = False
        self._in_head, self._left = True, None
