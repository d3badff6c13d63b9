"""Traffic scenarios: genai-bench's spelling, and the tokens that they ask for."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

#: More tokens than the context of any model.
_MAX_TOKENS = 10_000_000


@dataclass(frozen=True)
class RequestSize:
    """The mean number of tokens of a scenario's prompts and requested replies, and the deviation of the latter."""

    input_tokens: float
    output_tokens: float
    output_tokens_stddev: float = 0.0


def request_size(scenario: str) -> RequestSize | None:
    """Return the tokens of a canonical text scenario; None for datasets and other kinds."""
    numbers = [int(number) for number in re.findall(r"\d+", scenario)]
    match scenario[:1], numbers:
        case "D", [tokens_in, tokens_out]:
            return RequestSize(tokens_in, tokens_out)
        case "N", [tokens_in, _, tokens_out, stddev]:
            return RequestSize(tokens_in, tokens_out, stddev)
        case "U", [high_in, high_out]:
            return _uniform(1, high_in, 1, high_out)
        case "U", [low_in, high_in, low_out, high_out]:
            return _uniform(low_in, high_in, low_out, high_out)
    return None


def _uniform(low_in: int, high_in: int, low_out: int, high_out: int) -> RequestSize:
    return RequestSize((low_in + high_in) / 2, (low_out + high_out) / 2, (high_out - low_out) / math.sqrt(12))


_SCENARIO = re.compile(
    r"^(?:[EA]\(\d+\)|[DRU]\(\d+,\d+\)|I\(\d+,\d+(?:,\d+)?\)|[NU]\(\d+,\d+\)/\(\d+,\d+\)|dataset)$", re.ASCII
)


def canonical_scenario(text: str) -> str:
    """Return the scenario in genai-bench's spelling, which identifies its result files. Raises ValueError."""
    squeezed = re.sub(r"\b0+(?=\d)", "", re.sub(r"\s+", "", text))
    if squeezed.startswith("U(") and "/" in squeezed:
        # genai-bench draws at least one token, and omits a minimum of 0 in its spelling.
        squeezed = squeezed.replace("(0,", "(1,")
    squeezed = re.sub(r"^(I\(\d+,\d+),1\)$", r"\1)", squeezed)
    if not _SCENARIO.match(squeezed):
        raise ValueError(
            f"{text!r} is not a traffic scenario; write D(input tokens,output tokens), N(mean,sd)/(mean,sd) or "
            "U(min,max)/(min,max)"
        )
    return squeezed


def require_possible(scenario: str) -> None:
    """Raise ValueError for a scenario whose requests cannot be sent: of no tokens, or of more than any model reads."""
    numbers = [int(digits) for digits in re.findall(r"\d+", scenario)]
    if any(number > _MAX_TOKENS for number in numbers):
        raise ValueError(f"the scenario {scenario[:60]} has a number above {_MAX_TOKENS:,}; no model reads so much")
    match scenario[0], numbers:
        case "N", [*_]:
            least = [numbers[0], numbers[2]]
        case "U", [low_in, high_in, low_out, high_out]:
            if low_in > high_in or low_out > high_out:
                raise ValueError(f"the scenario {scenario} has a minimum above its maximum; write U(min,max)/(min,max)")
            least = [high_in, high_out]
        case _:
            least = numbers
    if 0 in least:
        raise ValueError(f"the scenario {scenario} asks for nothing: each of its numbers must be 1 or more")
