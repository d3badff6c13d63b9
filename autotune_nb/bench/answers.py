"""Asks an endpoint for its answers to fixed prompts at temperature 0, with the probabilities of tokens if it can."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from autotune_nb.bench.probe import RefusedError, http_session, request_completion
from autotune_nb.trial.quality import END, Answer, Token

#: Prompts of several kinds, most of them with a text to read, since errors of a KV cache grow with its length.
PROMPTS = (
    "The lighthouse keeper wrote in his log every evening: the wind, the tide, the ships that passed. On the last day "
    "of March he wrote only one line. Continue the story with that line.",
    "Write a Python function that returns the n-th Fibonacci number without recursion, with a docstring.",
    "A train leaves at 9:40 and arrives at 13:05, with a stop of 25 minutes. How long is it moving? Explain each step.",
    "List the planets of the solar system, from the sun outwards, each with one fact about it.",
    "Translate into French and into German: The meeting is postponed to Thursday, because the room is being painted.",
    "Summarize in two sentences: Photosynthesis converts light into chemical energy. In plants it takes place in the "
    "chloroplasts, where chlorophyll absorbs mostly red and blue light. Water is split, oxygen is released, and the "
    "energy is stored in sugars, which are built from carbon dioxide.",
    'Return this order as JSON with the keys name, items and total: "Ada Brown, two notebooks at 3.50 and a pen at '
    '1.20".',
    "Explain to a child of ten why the sky is blue, and why it is red in the evening.",
    "What is the difference between a process and a thread? Answer in three short paragraphs.",
    "Write the SQL query that returns, for each customer, the number of orders and the date of the last one, from "
    "the tables customers(id, name) and orders(id, customer_id, placed_at).",
    "Give the next three numbers of each sequence and the rule: 2, 6, 12, 20, 30; 1, 1, 2, 6, 24; 3, 4, 6, 9, 13.",
    "Who wrote the following plays: Hamlet, Faust, Peer Gynt, Waiting for Godot, The Cherry Orchard, Tartuffe?",
)
#: How many probabilities of each token are asked for; OpenAI's API allows 20.
_TOP = 5
#: What a server may refuse, in the order in which it is left out.
_OPTIONAL: tuple[dict[str, Any], ...] = ({"logprobs": True, "top_logprobs": _TOP}, {"seed": 0})
#: Of a server that reports no tokens, words are compared.
_WORD = re.compile(r"\s*\S+")


async def ask(
    url: str,
    model: str,
    prompts: Sequence[str],
    *,
    tokens: int,
    at_once: int,
    timeout_s: float,
    request_params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[Answer, ...]:
    """Return the answer to each prompt.

    Raises MeasurementError if a completion is refused, takes over ``timeout_s`` seconds, or is not a completion.
    """
    body = {**(request_params or {}), "model": model, "max_tokens": tokens, "temperature": 0.0, "stream": False}
    limited = asyncio.Semaphore(at_once)

    async def answer(session: aiohttp.ClientSession, prompt: str, more: Mapping[str, Any]) -> Answer:
        messages = [{"role": "user", "content": prompt}]
        async with limited:
            return _answer(await request_completion(session, url, {**body, **more, "messages": messages}, timeout_s))

    async with http_session(timeout_s, headers) as session:
        for left_out in range(len(_OPTIONAL) + 1):
            more: dict[str, Any] = {}
            for optional in _OPTIONAL[left_out:]:
                more |= optional
            try:
                first = await answer(session, prompts[0], more)
                break
            except RefusedError:
                if not more:
                    raise
        return (first, *await asyncio.gather(*(answer(session, one, more) for one in prompts[1:])))


def _answer(choice: Mapping[str, Any]) -> Answer:
    """Return the tokens of a completion; words if it does not have them."""
    reported = choice.get("logprobs")
    content = reported.get("content") if isinstance(reported, dict) else None
    try:
        found = tuple(_token(one) for one in content or ())
    except (TypeError, ValueError, LookupError, AttributeError):
        found = ()
    if not found:
        message = choice["message"]
        text = "".join(part for name in ("reasoning_content", "content") if isinstance(part := message.get(name), str))
        found = tuple(Token(word) for word in _WORD.findall(text))
    return (*found, END) if choice.get("finish_reason") == "stop" else found


def _token(data: Mapping[str, Any]) -> Token:
    listed = (data, *(data.get("top_logprobs") or ()))
    return Token(_text(data), {_text(one): float(one["logprob"]) for one in listed if one.get("logprob") is not None})


def _text(data: Mapping[str, Any]) -> str:
    text, raw = str(data["token"]), data.get("bytes")
    # Many tokens are parts of a character, and all of these have the same text.
    return "".join(f"<0x{byte:02X}>" for byte in raw) if "\ufffd" in text and raw else text
