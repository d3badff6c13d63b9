"""Sends a few completions before the first level: they check that the server works, and warm it up."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from autotune_nb.errors import Failure, FailureKind, MeasurementError
from autotune_nb.task.workload import Workload

_WORDS = "the tuning of a server is the search for settings that serve its readers well and "


#: Responses of a server that still loads its model, or takes no requests yet.
_NOT_READY = frozenset({429, 503})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
#: How long one token may take from a server that answers.
_ONE_TOKEN_S = 5.0


async def probe(
    url: str,
    model: str,
    workload: Workload,
    *,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
    ready_by: float = 0.0,
    notify: Callable[[str], None] = lambda _text: None,
) -> None:
    """Send ``workload.warmup_requests`` completions of the first scenario's size, one after another.

    Until ``ready_by`` (the event loop's time) a completion is repeated while the server responds that it is not ready,
    or refuses the connection; ``notify`` is called once. Raises MeasurementError if one is refused, takes over
    ``timeout_s`` seconds, or is not a completion.
    """
    if not workload.generates_text:
        return
    tokens_in, tokens_out = _shape(workload.scenarios[0])
    body = {
        "model": model,
        "max_tokens": tokens_out,
        "temperature": 0.0,
        **workload.request_params,
        "stream": False,
    }
    text = (_WORDS * (tokens_in // 8 + 1))[: tokens_in * 4]
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    pause, notified = _FIRST_PAUSE_S, False
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        for number in range(workload.warmup_requests):
            # Each request starts differently, so that no prefix cache answers it.
            message = {"role": "user", "content": f"{number}: {text}"}
            while True:
                try:
                    await _complete(session, url, {**body, "messages": [message]}, timeout_s)
                    break
                except _NotReadyError as error:
                    if asyncio.get_running_loop().time() + pause > ready_by:
                        raise MeasurementError(error.failure) from None
                    if not notified:
                        notify(f"{error.failure.message}; it is asked again until deadlines.ready_s")
                    notified = True
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, _LONGEST_PAUSE_S)


async def completes(url: str, model: str, *, headers: Mapping[str, str] | None = None) -> bool:
    """Whether the server completes a request for one token within a few seconds."""
    body = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "a"}], "stream": False}
    timeout = aiohttp.ClientTimeout(total=_ONE_TOKEN_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            await _complete(session, url, body, _ONE_TOKEN_S)
    except MeasurementError:
        return False
    return True


class _NotReadyError(MeasurementError):
    """The server may be ready later."""


async def _complete(session: aiohttp.ClientSession, url: str, body: dict[str, Any], timeout_s: float) -> None:
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
        raise _failed(f"{where} answered {status}: {text[:300]}", FailureKind.MEASUREMENT)
    try:
        data = json.loads(text)
        choice = data["choices"][0]
        choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise _failed(
            f"the reply of {where} is not a completion: {text[:200]!r}",
            FailureKind.MEASUREMENT,
            "is this an OpenAI-compatible server?",
        ) from None


def _failed(message: str, kind: FailureKind, hint: str = "") -> MeasurementError:
    return MeasurementError(Failure(kind, "probe", message, hint=hint))


def _shape(scenario: str) -> tuple[int, int]:
    """Return about how many input and output tokens a scenario's requests have."""
    numbers = [int(number) for number in re.findall(r"\d+", scenario)]
    if scenario.startswith("D") and len(numbers) == 2:
        return numbers[0], max(2, numbers[1])
    if scenario.startswith("N") and len(numbers) == 4:
        return numbers[0], max(2, numbers[2])
    if scenario.startswith("U") and numbers:
        half = len(numbers) // 2
        return numbers[half - 1], max(2, numbers[-1])
    return 32, 16
