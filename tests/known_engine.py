"""An engine of known behaviour: a small HTTP server that streams chat completions, with faults to choose from.

In a test, ``with KnownEngine(["html"], every=4) as engine:`` serves at ``engine.url``. As an engine of a study,
``python -m tests.known_engine --port 8000 --fault html`` runs until it is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from aiohttp import web

#: What a request with a fault gets; all but ``status`` and ``dropped`` come with status 200.
FAULTS = {
    "html": "a page instead of a stream",
    "json-error": "a JSON object with an error, not a stream",
    "done-only": "a stream with nothing but [DONE]",
    "no-token": "a stream with usage and no token",
    "bad-chunk": "a chunk that is no JSON, after two tokens",
    "stream-error": "an error as a chunk of the stream, after two tokens",
    "cut": "a stream that ends after two tokens, as if complete",
    "dropped": "a connection that is closed after two tokens",
    "abort": "finish_reason abort after two tokens",
    "status": "status 503",
    "hang": "two tokens and then nothing",
    "short": "two tokens instead of all, rightly finished",
    "special": "tokens without text, rightly finished",
    "overclaim": "two tokens, rightly finished, and fifty times as many as all in its usage",
    "burst": "every token at once, at the time of the last one, as from a proxy that buffers",
}


@dataclass
class KnownEngine:
    """Serves ``/health``, ``/v1/models``, ``/version``, ``/get_server_info`` and chat completions.

    A reply has as many tokens as ``max_tokens``: the first after ``first_token_s``, the others ``token_s`` apart.
    Every ``every``-th request gets a fault: the next one of ``faults``, in turn. ``given`` counts them.
    """

    faults: Sequence[str] = ()
    every: int = 1
    #: After so many requests it answers none, though it stays healthy.
    stops_after: int | None = None
    #: A parameter that it refuses with status 400.
    refused: str | None = None
    #: More of each choice of a reply that does not stream, such as its probabilities.
    choice: dict[str, Any] = field(default_factory=dict)
    first_token_s: float = 0.05
    #: So many requests, from the first on, get their first token later by so many seconds.
    slow_first: int = 0
    slow_s: float = 1.0
    token_s: float = 0.01
    version: str = "1.2.3"
    #: For how long completions get status 503, from the first request on; ``health`` is the path's status.
    loading_s: float = 0.0
    health: int = 200
    port: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    #: The Accept-Encoding of each completion that was asked for.
    encodings: list[str | None] = field(default_factory=list)
    given: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        assert set(self.faults) <= set(FAULTS), self.faults
        turns = [turn for fault in self.faults for turn in (*[None] * (self.every - 1), fault)]
        self._loaded_at: float | None = None
        self._turn: Iterator[str | None] = itertools.cycle(turns or [None])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/version", self._version)
        app.router.add_get("/get_server_info", self._version)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._complete)
        return app

    async def start(self) -> web.AppRunner:
        runner = web.AppRunner(self.app(), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    def __enter__(self) -> KnownEngine:
        # A thread of its own, so that a busy test does not change its latency.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner = asyncio.run_coroutine_threadsafe(self.start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=self.health)

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": self.version})

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "m", "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        began = time.monotonic()
        body = await request.json()
        self.bodies.append(body)
        self.encodings.append(request.headers.get("Accept-Encoding"))
        if self._loaded_at is None:
            self._loaded_at = began + self.loading_s
        if began < self._loaded_at:
            return web.json_response({"error": {"message": "Loading model", "code": 503}}, status=503)
        if self.stops_after is not None and len(self.bodies) > self.stops_after:
            await asyncio.sleep(3600)
        if self.refused in body:
            message = f"{self.refused}: extra fields are not permitted"
            return web.json_response({"error": {"message": message, "code": 400}}, status=400)
        fault = next(self._turn)
        if fault is not None:
            self.given[fault] += 1
        if len(self.bodies) <= self.slow_first:
            began += self.slow_s
            await asyncio.sleep(self.slow_s)
        tokens = int(body.get("max_tokens") or 8)
        prompt = max(1, len(json.dumps(body["messages"])) // 4)
        if not body.get("stream"):
            await asyncio.sleep(self.first_token_s + (tokens - 1) * self.token_s)
            message = {"role": "assistant", "content": "word " * tokens}
            choice = {"index": 0, "message": message, "finish_reason": "length"} | self.choice
            return web.json_response({"choices": [choice], "usage": _usage(prompt, tokens)})
        await asyncio.sleep(self.first_token_s)
        if fault == "status":
            return web.json_response({"error": {"message": "no slot is free", "code": 503}}, status=503)
        if fault == "html":
            return web.Response(text="<html><body>Gateway: please log in</body></html>", content_type="text/html")
        if fault == "json-error":
            return web.json_response({"error": {"message": "the engine core is dead", "code": 500}})
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        sent = {None: tokens, "done-only": 0, "no-token": 0, "special": 0}.get(fault, 2)
        if fault == "burst":
            await asyncio.sleep(began + self.first_token_s + (tokens - 1) * self.token_s - time.monotonic())
            events = [_choice({"content": "word "})] * tokens
            events += [_choice({}, "length"), {"choices": [], "usage": _usage(prompt, tokens)}]
            await reply.write("".join(f"data: {json.dumps(event)}\n\n" for event in events).encode())
            return reply
        for number in range(sent):
            # By the clock, so that the latency of a reply does not grow with the sleeps' lateness.
            await asyncio.sleep(began + self.first_token_s + number * self.token_s - time.monotonic())
            await _send(reply, _choice({"content": "word "}))
        if fault == "dropped":
            assert request.transport is not None
            request.transport.abort()
        elif fault == "hang":
            await asyncio.sleep(3600)
        elif fault == "bad-chunk":
            await reply.write(b"data: {'choices': broken\n\n")
        elif fault == "stream-error":
            await _send(reply, {"error": {"message": "the engine core is dead", "code": 500}})
        if fault in (None, "short", "no-token", "special", "abort", "overclaim"):
            reason = "abort" if fault == "abort" else "length"
            await _send(reply, _choice({}, reason))
            claimed = {"special": tokens, "overclaim": 50 * tokens}.get(fault or "", sent)
            await _send(reply, {"choices": [], "usage": _usage(prompt, claimed)})
        if fault not in ("cut", "dropped"):
            await reply.write(b"data: [DONE]\n\n")
        return reply


def _choice(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"object": "chat.completion.chunk", "choices": [choice]}


def _usage(prompt: int, tokens: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}


async def _send(reply: web.StreamResponse, chunk: dict[str, Any]) -> None:
    await reply.write(f"data: {json.dumps(chunk)}\n\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--fault", action="append", default=[], choices=sorted(FAULTS))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--stops-after", type=int)
    parser.add_argument("--first-token-s", type=float, default=0.05)
    parser.add_argument("--token-s", type=float, default=0.01)
    parser.add_argument("--loading-s", type=float, default=0.0)
    options, _ = parser.parse_known_args()
    engine = KnownEngine(
        options.fault,
        options.every,
        first_token_s=options.first_token_s,
        token_s=options.token_s,
        stops_after=options.stops_after,
        port=options.port,
        loading_s=options.loading_s,
    )
    web.run_app(engine.app(), host=options.host, port=options.port, print=None)


if __name__ == "__main__":
    main()
