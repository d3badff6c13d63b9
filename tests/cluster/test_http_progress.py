"""Whether a response is incomplete, for any division of its bytes."""

from __future__ import annotations

import pytest

from autotune_nb.cluster._http_progress import ResponseTracker

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"
CHUNKED = HEAD + b"5;x=y\r\n\r\n0\r\n\r\n1f\r\n" + b"d" * 31 + b"\r\n0\r\n\r\n"
TRAILED = HEAD + b"1\r\na\r\n0\r\nX-Took: 3\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    "answer",
    [SIZED, CHUNKED, TRAILED, b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED, b"HTTP/1.1 204 No Content\r\n\r\n"],
)
def test_an_answer_is_waited_for_until_its_last_byte(answer: bytes, size: int) -> None:
    tracker = ResponseTracker()
    assert not tracker.waiting
    # One connection carries many.
    for _ in range(2):
        tracker.on_request()
        for start in range(0, len(answer) - 1, size):
            assert tracker.waiting
            tracker.on_response(answer[start : min(start + size, len(answer) - 1)])
        assert tracker.waiting
        tracker.on_response(answer[-1:])
        assert not tracker.waiting


def test_one_without_a_length_ends_where_it_is_closed() -> None:
    tracker = ResponseTracker()
    tracker.on_request()
    tracker.on_response(b"HTTP/1.0 200 OK\r\n\r\nas long")
    assert not tracker.waiting


@pytest.mark.parametrize(
    "data", [b"\x00\x01binary", b"HTTPS no", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
)
def test_what_is_no_http_is_waited_for(data: bytes) -> None:
    tracker = ResponseTracker()
    tracker.on_request()
    tracker.on_response(data)
    tracker.on_response(SIZED)
    assert tracker.waiting
