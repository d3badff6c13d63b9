"""Whether an answer is still waited for, however its bytes are cut up."""

from __future__ import annotations

import pytest

from autotune_nb.cluster._http_progress import Answers

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"
CHUNKED = HEAD + b"4;x=y\r\n\r\n0\r\n\r\n1f\r\n" + b"d" * 31 + b"\r\n0\r\n\r\n"
TRAILED = HEAD + b"1\r\na\r\n0\r\nX-Took: 3\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    "answer",
    [SIZED, CHUNKED, TRAILED, b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED, b"HTTP/1.1 204 No Content\r\n\r\n"],
)
def test_an_answer_is_waited_for_until_its_last_byte(answer: bytes, size: int) -> None:
    answers = Answers()
    assert not answers.waiting
    # One connection carries many.
    for _ in range(2):
        answers.sent()
        for start in range(0, len(answer) - 1, size):
            assert answers.waiting
            answers.came(answer[start : min(start + size, len(answer) - 1)])
        assert answers.waiting
        answers.came(answer[-1:])
        assert not answers.waiting


def test_one_without_a_length_ends_where_it_is_closed() -> None:
    answers = Answers()
    answers.sent()
    answers.came(b"HTTP/1.0 200 OK\r\n\r\nas long")
    assert not answers.waiting


@pytest.mark.parametrize(
    "data", [b"\x00\x01binary", b"HTTPS no", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
)
def test_what_is_no_http_is_waited_for(data: bytes) -> None:
    answers = Answers()
    answers.sent()
    answers.came(data)
    answers.came(SIZED)
    assert answers.waiting
