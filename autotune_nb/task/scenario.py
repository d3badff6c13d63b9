"""Traffic scenarios: genai-bench's spelling, and the tokens that they ask for."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

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
    if scenario.startswith(_MIX):
        return _mixed_size([(weight, request_size(part)) for weight, part in scenario_parts(scenario)])
    if prefixed := _PREFIXED.match(scenario):
        size = request_size(prefixed[2])
        return size and RequestSize(int(prefixed[1]) + size.input_tokens, size.output_tokens, size.output_tokens_stddev)
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


def _mixed_size(parts: list[tuple[float, RequestSize | None]]) -> RequestSize | None:
    total = math.fsum(weight for weight, _ in parts)
    sizes = [(weight / total, size) for weight, size in parts if size is not None]
    if len(sizes) < len(parts):
        return None
    mean_in = math.fsum(share * size.input_tokens for share, size in sizes)
    mean_out = math.fsum(share * size.output_tokens for share, size in sizes)
    variance = math.fsum(
        share * (size.output_tokens_stddev**2 + (size.output_tokens - mean_out) ** 2) for share, size in sizes
    )
    return RequestSize(mean_in, mean_out, math.sqrt(variance))


def _uniform(low_in: int, high_in: int, low_out: int, high_out: int) -> RequestSize:
    return RequestSize((low_in + high_in) / 2, (low_out + high_out) / 2, (high_out - low_out) / math.sqrt(12))


_SCENARIO = re.compile(
    r"^(?:[EA]\(\d+\)|[DRU]\(\d+,\d+\)|I\(\d+,\d+(?:,\d+)?\)|[NU]\(\d+,\d+\)/\(\d+,\d+\)|dataset)$", re.ASCII
)


#: Prompts that begin with so many tokens that are the same in all of them, in front of those of the scenario.
_PREFIXED = re.compile(r"prefix\((\d{1,12})\)\+(.+)", re.ASCII | re.DOTALL)
_MIX, _WEIGHTED = "mix(", re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\*(.+)", re.ASCII | re.DOTALL)
#: genai-bench's result files have the scenario in their names.
_LONGEST = 180


def as_scenario(value: Any) -> Any:
    """Return the text of a scenario that is given as a mapping; other values as they are. Raises ValueError."""
    match value:
        case {"mix": list(parts), **rest} if not rest and parts:
            return f"mix({','.join(map(_weighted, parts))})"
        case {"prefix": int(tokens), "scenario": inner, **rest} if not rest:
            return f"prefix({tokens})+{as_scenario(inner)}"
        case dict():
            raise ValueError(
                "a scenario is a text such as D(512,128), or a mapping {prefix: 256, scenario: 'D(64,32)'} or "
                "{mix: [{scenario: 'D(64,32)', weight: 3}, {scenario: 'D(512,128)'}]}"
            )
    return value


def _weighted(part: Any) -> str:
    match part:
        case {"scenario": inner, "weight": int() | float() as weight, **rest} if not rest:
            return f"{weight:.12g}*{as_scenario(inner)}"
        case {"scenario": inner, **rest} if not rest:
            return f"1*{as_scenario(inner)}"
        case str():
            return f"1*{part}"
    raise ValueError("each part of a mix is {scenario: 'D(64,32)', weight: 3}; the weight is 1 if it is omitted")


def split_scenarios(text: str) -> list[str]:
    """Split a text at its commas outside of parentheses: D(1,2) contains a comma."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def scenario_parts(scenario: str) -> list[tuple[float, str]]:
    """Return the scenarios of a canonical mix, with their weights; of another scenario itself."""
    if not scenario.startswith(_MIX):
        return [(1.0, scenario)]
    found = (part.partition("*") for part in split_scenarios(scenario[len(_MIX) : -1]))
    return [(float(weight), name) for weight, _, name in found]


def without_prefix(scenario: str) -> tuple[int, str]:
    """Return the tokens of the shared prefix of a canonical scenario, 0 without one, and the scenario behind it."""
    found = _PREFIXED.match(scenario)
    return (int(found[1]), found[2]) if found else (0, scenario)


def needs_text(scenario: str) -> bool:
    """Whether a canonical scenario is only for requests from text to text."""
    return scenario.startswith(_MIX) or _PREFIXED.match(scenario) is not None


def canonical_scenario(text: str) -> str:
    """Return the scenario in genai-bench's spelling, which identifies its result files. Raises ValueError."""
    squeezed = re.sub(r"\s+", "", text)
    if squeezed.startswith(_MIX):
        return _canonical_mix(squeezed)
    if prefixed := _PREFIXED.fullmatch(squeezed):
        inner = canonical_scenario(prefixed[2])
        if inner[0] not in "DNU":
            raise ValueError(f"{text!r}: a prefix is for D, N and U; write prefix(256)+D(64,32)")
        return f"prefix({int(prefixed[1])})+{inner}"
    squeezed = re.sub(r"\b0+(?=\d)", "", squeezed)
    if squeezed.startswith("U(") and "/" in squeezed:
        # genai-bench draws at least one token, and omits a minimum of 0 in its spelling.
        squeezed = squeezed.replace("(0,", "(1,")
    squeezed = re.sub(r"^(I\(\d+,\d+),1\)$", r"\1)", squeezed)
    if not _SCENARIO.match(squeezed):
        raise ValueError(
            f"{text!r} is not a traffic scenario; write D(input tokens,output tokens), N(mean,sd)/(mean,sd) or "
            "U(min,max)/(min,max), prefix(256)+D(64,32) for a shared prefix, or mix(3*D(64,32),1*D(512,128))"
        )
    return squeezed


def _canonical_mix(squeezed: str) -> str:
    if not squeezed.endswith(")"):
        raise ValueError(f"{squeezed!r} has no closing parenthesis; write mix(3*D(64,32),1*D(512,128))")
    parts = []
    for part in split_scenarios(squeezed[len(_MIX) : -1]):
        found = _WEIGHTED.fullmatch(part)
        weight, name = (float(found[1]), found[2]) if found else (1.0, part)
        if not weight:
            raise ValueError(f"{part!r} has weight 0 in a mix; omit it, or give it a weight above 0")
        if name.startswith(_MIX):
            raise ValueError(f"{part!r} is a mix within a mix; list its scenarios with their weights")
        parts.append((weight, canonical_scenario(name)))
    names = [name for _, name in parts]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"{squeezed!r}: a mix has two or more different scenarios")
    scenario = f"mix({','.join(f'{weight:.12g}*{name}' for weight, name in parts)})"
    if len(scenario) > _LONGEST:
        raise ValueError(f"a mix of {len(scenario)} characters; at most {_LONGEST} fit into a file's name")
    return scenario


def require_possible(scenario: str) -> None:
    """Raise ValueError for a scenario whose requests cannot be sent: of no tokens, or of more than any model reads."""
    if scenario.startswith(_MIX):
        for _, part in scenario_parts(scenario):
            require_possible(part)
        return
    if prefixed := _PREFIXED.match(scenario):
        if not 1 <= int(prefixed[1]) <= _MAX_TOKENS:
            raise ValueError(
                f"the prefix of {scenario[:60]} has {prefixed[1]} tokens; expected are 1 to {_MAX_TOKENS:,}"
            )
        scenario = prefixed[2]
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
