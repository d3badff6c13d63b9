"""The answers of a server, with probabilities if it reports them."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_nb.bench.answers import PROMPTS, ask
from autotune_nb.errors import MeasurementError
from autotune_nb.task.quality import BUILT_IN_PROMPTS
from autotune_nb.trial.quality import END, Answer, Token
from tests.known_engine import KnownEngine
from tests.stubs import HANGS_S, in_loop


def answers(engine: KnownEngine, *prompts: str, at_once: int = 2, **more: Any) -> tuple[Answer, ...]:
    with engine:
        found = ask(engine.url, "m", prompts, tokens=3, at_once=at_once, timeout_s=HANGS_S, **more)
        return in_loop(found)


def quick(**more: Any) -> KnownEngine:
    return KnownEngine(first_token_s=0.0, token_s=0.0, **more)


def test_prompts_are_sent_at_temperature_0_with_the_task_s_own_parameters() -> None:
    engine = quick()
    assert (
        answers(engine, "a", "b", request_params={"temperature": 0.7, "top_k": 3})
        == ((Token("word"), Token(" word"), Token(" word")),) * 2
    )
    assert [body["messages"][0]["content"] for body in engine.bodies] == ["a", "b"]
    assert {"temperature": 0.0, "max_tokens": 3, "seed": 0, "logprobs": True, "top_k": 3}.items() <= engine.bodies[
        0
    ].items()


def test_tokens_have_their_probabilities_and_an_answer_its_end() -> None:
    half = {"token": "\ufffd", "bytes": [240, 159], "logprob": -0.5, "top_logprobs": [{"token": "no", "logprob": -1.5}]}
    engine = quick(choice={"logprobs": {"content": [half]}, "finish_reason": "stop"})
    assert answers(engine, "a") == ((Token("<0xF0><0x9F>", {"<0xF0><0x9F>": -0.5, "no": -1.5}), END),)


@pytest.mark.parametrize("refused", ["logprobs", "seed"])
def test_a_parameter_that_the_server_refuses_is_left_out(refused: str) -> None:
    engine = quick(refused=refused)
    assert len(answers(engine, "a", "b")) == 2
    assert refused not in engine.bodies[-1]


def test_a_server_that_refuses_everything_is_reported() -> None:
    with pytest.raises(MeasurementError, match=r"answered 400: .*max_tokens"):
        answers(quick(refused="max_tokens"), "a")


@pytest.mark.parametrize("content", [[{"text": "no token"}], "text", [None], {}])
def test_probabilities_in_another_form_are_ignored(content: Any) -> None:
    engine = quick(choice={"logprobs": {"content": content}})
    assert answers(engine, "a") == ((Token("word"), Token(" word"), Token(" word")),)


def test_every_built_in_prompt_can_be_asked_for() -> None:
    assert len(set(PROMPTS)) == BUILT_IN_PROMPTS
