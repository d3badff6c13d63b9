"""Replies whose usage has more tokens than their stream can have had."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from autotune_nb.bench import _launcher

FINISH = b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}'


class Stream:
    """A response whose events come after given seconds, by a clock of its own."""

    def __init__(self, events: int, *, token_s: float = 0.01, finish_s: float = 0.0) -> None:
        self.now = 0.0
        self._waits = [0.05, *[token_s] * (events - 1), finish_s]

    def iter_lines(self) -> Iterator[bytes]:
        for number, wait_s in enumerate(self._waits, 1):
            self.now += wait_s
            last = number == len(self._waits)
            yield FINISH if last else b'data: {"choices": [{"delta": {"content": "word "}, "finish_reason": null}]}'


def overclaimed(stream: Stream, claimed: Any, text_tokens: int, monkeypatch: pytest.MonkeyPatch) -> int | None:
    monkeypatch.setattr(_launcher.time, "monotonic", lambda: stream.now)
    reply = _launcher._Reply(stream, lambda _line: None)
    assert len(list(reply.iter_lines())) == len(stream._waits)
    return reply.tokens_if_overclaimed(claimed, lambda: text_tokens)


@pytest.mark.parametrize(
    ("stream", "claimed", "text_tokens"),
    [(Stream(2), 64, 2), (Stream(33), 99, 33)],
    ids=["two of 64", "three times"],
)
def test_tokens_that_nobody_sent_are_found(
    stream: Stream, claimed: int, text_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert overclaimed(stream, claimed, text_tokens, monkeypatch) == text_tokens


@pytest.mark.parametrize(
    ("stream", "claimed", "text_tokens"),
    [
        (Stream(33), 33, 33),
        (Stream(33), 34, 33),
        (Stream(10), 40, 40),
        (Stream(2, finish_s=0.62), 64, 2),
        (Stream(64, token_s=0.0), 640, 2),
        (Stream(1), 64, 64),
        (Stream(2), None, 2),
    ],
    ids=[
        "a token an event",
        "a special token at the end",
        "four an event",
        "special tokens",
        "a burst",
        "one event",
        "no usage",
    ],
)
def test_what_engines_do_is_accepted(
    stream: Stream, claimed: int | None, text_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert overclaimed(stream, claimed, text_tokens, monkeypatch) is None
