"""Whether a configuration answers as the engine's default does: agreement of tokens, divergence of probabilities.

As in vLLM's ``check_logprobs_close``, tokens are compared up to the first that differs, since all later ones follow
from another text; and a token that is about as probable as the expected one does not count as different.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

from autotune_nb.trial.measurement import QUALITY, Measurement
from autotune_nb.trial.score import Limit, Score
from autotune_nb.trial.trial import Trial

AGREEMENT, KL = QUALITY
#: Two tokens are about as probable if their log probabilities differ by at most so much: with 16-bit numbers, the
#: order of a sum alone changes logits by a tenth.
_NEAR_TIE = 0.25
#: The smallest probability that a server is assumed to report.
_SMALLEST = 1e-6


@dataclass(frozen=True)
class Token:
    """One token of an answer. ``logprobs`` are those of the most probable tokens; empty if the server reports none."""

    text: str
    logprobs: Mapping[str, float] = field(default_factory=dict)


#: The end of an answer, as a token that others are compared with.
END = Token("<end of the answer>")
Answer = tuple[Token, ...]


@dataclass(frozen=True)
class Reference:
    """The answers of the engine's default to each prompt, of one start; each prompt was sent twice.

    ``expected`` are the first answers as far as the second ones are the same: what the default itself does not repeat
    is not expected of others. ``repeated`` is the share of their tokens.
    """

    expected: tuple[Answer, ...]
    repeated: float

    @classmethod
    def of(cls, first: Sequence[Answer], second: Sequence[Answer]) -> Reference:
        expected = tuple(_common(*both) for both in zip(first, second, strict=True))
        total = sum(map(len, first))
        return cls(expected, sum(map(len, expected)) / total if total else 0.0)

    def compare(self, answers: Sequence[Answer]) -> dict[str, float]:
        """Return the figures of answers to the same prompts, those of QUALITY that could be computed.

        ``quality_agreement`` is the share of the expected tokens that are equal up to the first that differs.
        ``quality_kl`` is the mean divergence of the probabilities of tokens, after the same text, in nats.
        """
        agreed = compared = 0
        divergences: list[float] = []
        for expected, given in zip(self.expected, answers, strict=True):
            equal, counted = 0, len(expected)
            for position, (token, other) in enumerate(zip_longest(expected, given[: len(expected)], fillvalue=END)):
                if token.logprobs and other.logprobs:
                    divergences.append(divergence(token.logprobs, other.logprobs))
                if token.text != other.text:
                    if _near_tie(token, other):
                        counted = position
                    break
                equal += 1
            agreed, compared = agreed + equal, compared + counted
        figures = {KL: math.fsum(divergences) / len(divergences)} if divergences else {}
        if compared:
            return {AGREEMENT: agreed / compared, **figures}
        # Every answer begins with another token that is about as probable: only the probabilities show more.
        return {AGREEMENT: 1.0, **figures} if figures else {}

    def to_dict(self) -> dict[str, Any]:
        return {"expected": [answer_data(one) for one in self.expected], "repeated": round(self.repeated, 4)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reference:
        """Return the reference that ``to_dict`` wrote. Raises TypeError, ValueError or LookupError for other data."""
        expected = tuple(
            tuple(Token(str(text), {str(k): float(v) for k, v in logprobs.items()}) for text, logprobs in one)
            for one in data["expected"]
        )
        return cls(expected, float(data["repeated"]))


def answer_data(answer: Answer) -> list[list[Any]]:
    """Return an answer for JSON: each token with the log probabilities."""
    return [[token.text, {text: round(value, 4) for text, value in token.logprobs.items()}] for token in answer]


def _common(first: Answer, second: Answer) -> Answer:
    """Return the first answer up to the token from which the second one differs."""
    pairs = zip(first, second, strict=False)
    length = next((i for i, (a, b) in enumerate(pairs) if a.text != b.text), min(len(first), len(second)))
    return first[:length]


def _near_tie(expected: Token, other: Token) -> bool:
    """Whether both tokens are about as probable, in the expected and in the given distribution."""
    return all(
        expected.text in logprobs
        and other.text in logprobs
        and abs(logprobs[expected.text] - logprobs[other.text]) <= _NEAR_TIE
        for logprobs in (expected.logprobs, other.logprobs)
    )


def divergence(expected: Mapping[str, float], given: Mapping[str, float]) -> float:
    """Return the Kullback-Leibler divergence of a distribution from the expected one, in nats.

    Only the most probable tokens of each are known: those of the expected one are compared, and all others together.
    A token that the given distribution does not list has at most the probability of its least listed one.
    """
    p = {token: math.exp(value) for token, value in expected.items()}
    listed = {token: math.exp(value) for token, value in given.items()}
    least = max(_SMALLEST, min(*listed.values(), max(0.0, 1 - math.fsum(listed.values()))))
    q = {token: max(_SMALLEST, listed.get(token, least)) for token in p}
    rest_p, rest_q = (max(_SMALLEST, 1 - math.fsum(one.values())) for one in (p, q))
    total = math.fsum(p[token] * math.log(p[token] / q[token]) for token in p if p[token] > 0)
    return max(0.0, total + rest_p * math.log(rest_p / rest_q))


def with_quality(measurement: Measurement, figures: Mapping[str, float]) -> Measurement:
    """Return a level's measurement with the figures of its trial's answers, which are the same at every level."""
    return replace(measurement, figures={**measurement.figures, **figures})


def quality_of(trial: Trial) -> dict[str, float]:
    """Return the figures of a trial's answers; empty if they were not compared."""
    figures = trial.measurements[0].figures if trial.measurements else {}
    return {name: figures[name] for name in QUALITY if name in figures}


def difference_text(score: Score, figures: Mapping[str, float]) -> str:
    """Return by how much the answers differ from the default's, in words; empty if no limit on that is broken."""
    broken = [Limit.parse(name) for name, excess in score.limits.items() if excess > 0]
    found = []
    for limit in broken:
        least = "at least" if limit.operator == ">=" else "at most"
        if limit.figure == AGREEMENT:
            found.append(f"{figures[AGREEMENT]:.0%} of tokens agree, {least} {limit.bound:.0%} expected")
        elif limit.figure == KL:
            found.append(
                f"the probabilities of tokens diverge by {figures[KL]:.3g} nats, {least} {limit.bound:.3g} expected"
            )
    return f"answers differ from the default's: {'; '.join(found)}" if found else ""
