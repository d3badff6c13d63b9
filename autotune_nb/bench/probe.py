"""Sends single completions: before the first level to check the server and warm it up, and after the last."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from autotune_nb.errors import Failure, FailureKind, MeasurementError
from autotune_nb.task.scenario import RequestSize
from autotune_nb.task.workload import Workload
from autotune_nb.trial.measurement import Level

_WORDS = "the tuning of a server is the search for settings that serve its readers well and "
#: The size of the warm-up requests if the scenario does not say it.
_DEFAULT_SIZE = RequestSize(32, 16)
#: Responses of a server that still loads its model, or takes no requests yet.
_NOT_READY = frozenset({429, 503})
#: Responses of a server to a parameter that it does not support.
_UNSUPPORTED = frozenset({400, 422})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
#: The most requests that warm the engine up at the same time.
_MOST_AT_ONCE = 64
#: How long one token may take from a server that answers.
_ONE_TOKEN_S = 5.0


class _NotReadyError(MeasurementError):
    """The server may be ready later."""


class RefusedError(MeasurementError):
    """The server responded with an error."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(Failure(FailureKind.MEASUREMENT, "probe", message))
        self.status = status


async def probe(
    url: str,
    model: str,
    workload: Workload,
    *,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
    ready_by: float = 0.0,
    notify: Callable[[str], None] = lambda _text: None,
) -> bool | None:
    """Send ``workload.warmup_requests`` completions of the first scenario's size, one after another.

    Then as many at once as the heaviest level has, since an engine may be slow until it has served such a load.

    Until ``ready_by`` (the event loop's time) a completion is repeated while the server responds that it is not ready,
    or refuses the connection; ``notify`` is called once. Returns whether the server accepts ``ignore_eos``, or None if
    the workload generates no text. Raises MeasurementError if a completion is refused, takes over ``timeout_s``
    seconds, or is not a completion.
    """
    if not workload.generates_text:
        return None
    size = workload.request_size(workload.scenarios[0]) or _DEFAULT_SIZE
    body = {
        "model": model,
        "max_tokens": max(2, round(size.output_tokens)),
        "temperature": 0.0,
        "ignore_eos": True,
        **workload.request_params,
        "stream": False,
    }
    length = round(size.input_tokens)
    text = (_WORDS * (length // 8 + 1))[: length * 4]
    accepts_ignore_eos = True

    def not_ready(error: _NotReadyError) -> None:
        notify(f"{error.failure.message}; it is asked again until deadlines.ready_s")

    async with http_session(timeout_s, headers) as session:
        for number in range(workload.warmup_requests):
            # Each request starts differently, so that no prefix cache answers it.
            body["messages"] = [{"role": "user", "content": f"{number}: {text}"}]
            try:
                await _complete_by(session, url, body, timeout_s, ready_by, not_ready)
            except RefusedError as error:
                if error.status not in _UNSUPPORTED or not accepts_ignore_eos:
                    raise
                accepts_ignore_eos = False
                body.pop("ignore_eos")
                await _complete_by(session, url, body, timeout_s, ready_by, not_ready)
        load = min(_MOST_AT_ONCE, max(level.concurrency for level in workload.levels))
        if load > 1:
            prompts = [f"warm-up {number}: {text}" for number in range(load)]
            bodies = [{**body, "messages": [{"role": "user", "content": prompt}]} for prompt in prompts]
            # A server that fails under this load does so in the level too, which is reported with its figures.
            await asyncio.gather(
                *(request_completion(session, url, one, timeout_s) for one in bodies), return_exceptions=True
            )
    return accepts_ignore_eos


async def completes(url: str, model: str, *, headers: Mapping[str, str] | None = None) -> bool:
    """Whether the server completes a request for one token within a few seconds."""
    try:
        async with http_session(_ONE_TOKEN_S, headers) as session:
            await request_completion(session, url, _one_token(model), _ONE_TOKEN_S)
    except MeasurementError:
        return False
    return True


async def require_answer(
    url: str, model: str, after: Level, *, timeout_s: float, headers: Mapping[str, str] | None = None
) -> None:
    """Request one token after a level. Raises MeasurementError if the server does not generate it in time.

    An engine that has died or hangs may still report that it is healthy.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    try:
        async with http_session(timeout_s, headers) as session:
            await _complete_by(session, url, _one_token(model), timeout_s, deadline)
    except MeasurementError as error:
        if isinstance(error, RefusedError) and error.status < 500:
            # It answers, even if it expects another request than this one.
            return
        message = f"the engine was asked for one token after {after}, and generated none: {error.failure.message}"
        hint = "it may have stopped during the level, see engine.log; if it is only slow, raise deadlines.probe_s"
        raise MeasurementError(Failure(FailureKind.CRASH, "benchmark", message, hint=hint)) from None


def _one_token(model: str) -> dict[str, Any]:
    return {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "a"}], "stream": False}


def http_session(timeout_s: float, headers: Mapping[str, str] | None) -> aiohttp.ClientSession:
    timeout, connector = aiohttp.ClientTimeout(total=timeout_s), aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(timeout=timeout, headers=headers, connector=connector)


async def _complete_by(
    session: aiohttp.ClientSession,
    url: str,
    body: dict[str, Any],
    timeout_s: float,
    ready_by: float,
    not_ready: Callable[[_NotReadyError], None] = lambda _error: None,
) -> None:
    """Send a completion, again until ``ready_by`` while the server is not ready; ``not_ready`` is called once."""
    pause, notified = _FIRST_PAUSE_S, False
    while True:
        try:
            await request_completion(session, url, body, timeout_s)
            return
        except _NotReadyError as error:
            if asyncio.get_running_loop().time() + pause > ready_by:
                raise MeasurementError(error.failure) from None
            if not notified:
                not_ready(error)
            notified = True
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)


async def request_completion(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], timeout_s: float
) -> dict[str, Any]:
    """Send a completion and return its choice. Raises MeasurementError, RefusedError if the server refuses it."""
    where = f"{url}/v1/chat/completions"
    try:
        async with session.post(where, json=body) as reply:
            status, text = reply.status, await reply.text(errors="replace")
    except TimeoutError:
        raise _failed(
            f"no completion came from {where} within {timeout_s:g} s",
            FailureKind.TIMEOUT,
            "raise deadlines.probe_s",
        ) from None
    except aiohttp.ClientConnectorError as error:
        refused = Failure(FailureKind.CRASH, "probe", f"{where} refused the connection: {error}")
        raise _NotReadyError(refused) from None
    except aiohttp.ClientError as error:
        raise _failed(f"{where} closed the connection: {error}", FailureKind.CRASH) from None
    if status in _NOT_READY:
        message = f"{where} answered {status}: {text[:300]}"
        hint = "raise deadlines.ready_s if the engine is only slow"
        raise _NotReadyError(Failure(FailureKind.TIMEOUT, "probe", message, hint=hint))
    if status != 200:
        raise RefusedError(f"{where} answered {status}: {text[:300]}", status)
    try:
        data = json.loads(text)
        choice: dict[str, Any] = data["choices"][0]
        choice["message"]["content"]
        return choice
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise _failed(
            f"the reply of {where} is not a completion: {text[:200]!r}",
            FailureKind.MEASUREMENT,
            "is this an OpenAI-compatible server?",
        ) from None


def _failed(message: str, kind: FailureKind, hint: str = "") -> MeasurementError:
    return MeasurementError(Failure(kind, "probe", message, hint=hint))
