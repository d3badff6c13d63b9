"""Agreement of answers: what differs by noise alone is no difference, and what is broken is one."""

from __future__ import annotations

import json
import math

import pytest

from autotune_nb.trial.quality import END, Answer, Reference, Token, difference_text, divergence
from autotune_nb.trial.score import Limit, Score


def words(text: str) -> Answer:
    """An answer of a server that reports no probabilities."""
    return tuple(map(Token, text.split()))


def sure(text: str, p: float = 0.9, other: str = "x") -> Answer:
    """An answer whose every token has the probability p, and another one nearly all of the rest."""
    return tuple(Token(one, {one: math.log(p), other: math.log(0.98 - p)}) for one in text.split())


def of(*answers: Answer) -> Reference:
    return Reference.of(answers, answers)


@pytest.mark.parametrize(
    ("given", "agreement"),
    [
        ("the sky is blue", 1.0),
        # Later tokens follow from another text, also where they happen to be equal.
        ("the sea is blue", 0.25),
        ("a sky is blue", 0.0),
        ("the sky", 0.5),
        ("the sky is blue today", 1.0),
        ("", 0.0),
    ],
)
def test_tokens_agree_up_to_the_first_that_differs(given: str, agreement: float) -> None:
    assert of(words("the sky is blue")).compare([words(given)]) == {"quality_agreement": agreement}


def test_an_answer_that_goes_on_where_the_default_ended_differs() -> None:
    ended = (*words("the sky"), END)
    assert of(ended).compare([words("the sky is")]) == {"quality_agreement": pytest.approx(2 / 3)}
    assert of(ended).compare([ended]) == {"quality_agreement": 1.0}


def test_the_tokens_of_all_prompts_count_together() -> None:
    reference = of(words("a b c d e f"), words("a b"))
    assert reference.compare([words("a b c d e f"), words("x b")]) == {"quality_agreement": 0.75}


def test_a_token_that_is_about_as_probable_is_no_difference_and_ends_the_comparison() -> None:
    near = sure("a b c d", p=0.5, other="x")
    swapped = (*near[:2], *sure("x y", p=0.48, other="c"))
    figures = of(near).compare([swapped])
    assert figures["quality_agreement"] == 1.0
    assert figures["quality_kl"] < 0.01


def test_a_token_that_the_default_is_sure_not_to_choose_is_a_difference() -> None:
    figures = of(sure("a b c d")).compare([sure("a x c d", p=0.9, other="b")])
    assert figures["quality_agreement"] == 0.25
    # The mean over the two positions that follow the same text.
    assert figures["quality_kl"] == pytest.approx(
        0.5 * (0.9 * math.log(0.9 / 0.08) + 0.08 * math.log(0.08 / 0.0067)), rel=0.3
    )


def test_what_the_default_does_not_repeat_is_not_expected_of_others() -> None:
    reference = Reference.of([words("a b c d"), words("e f")], [words("a b x y"), words("e f")])
    assert reference.repeated == pytest.approx(4 / 6)
    assert reference.compare([words("a b z"), words("e f")]) == {"quality_agreement": 1.0}


def test_without_an_answer_that_is_repeated_there_is_nothing_to_compare() -> None:
    reference = Reference.of([words("a b")], [words("c d")])
    assert reference.compare([words("a b")]) == {}


def test_the_divergence_is_zero_for_equal_and_large_for_disjoint_probabilities() -> None:
    p = {"a": math.log(0.7), "b": math.log(0.2)}
    assert divergence(p, p) == pytest.approx(0.0, abs=1e-9)
    noisy = {"a": math.log(0.69), "b": math.log(0.21)}
    assert 0 < divergence(p, noisy) < 0.001
    assert divergence(p, {"c": math.log(0.9), "d": math.log(0.05)}) > 1.5


def test_the_reference_survives_being_kept_as_json() -> None:
    reference = of(sure("a b"), (*words("c"), END))
    kept = Reference.from_dict(json.loads(json.dumps(reference.to_dict())))
    assert kept.repeated == 1.0
    assert kept.compare([sure("a b"), (*words("c"), END)])["quality_agreement"] == 1.0


def test_the_difference_is_a_plain_sentence() -> None:
    figures = {"quality_agreement": 0.12, "quality_kl": 0.84}
    limits = {"quality_agreement >= 0.6": 0.48, "quality_kl <= 0.1": 0.74, "ttft_p99_s <= 1": 0.5}
    assert difference_text(Score({"x": 1.0}, limits), figures) == (
        "answers differ from the default's: 12% of tokens agree, at least 60% expected; "
        "the probabilities of tokens diverge by 0.84 nats, at most 0.1 expected"
    )
    assert all(Limit.parse(name) for name in limits)
    assert difference_text(Score({"x": 1.0}, {"ttft_p99_s <= 1": 0.5}), figures) == ""
