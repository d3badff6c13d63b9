"""Adds scenarios to genai-bench: prompts that begin with a shared prefix, and a mix of scenarios with weights.

``_scripts.py`` puts its source into the scripts that run genai-bench, so it imports nothing else of this package.
``task/scenario.py`` checks how they are written: ``prefix(256)+D(64,32)``, ``mix(3*D(100,100),1*D(512,128))``.
"""

import functools
import random
import re
from typing import Any


class Prefixed:
    """A scenario of text whose prompts begin with the same tokens, in front of its own."""

    validation_pattern = r"^prefix\(\d+\)\+[DNU]\("

    def __init__(self, tokens: int, inner: Any) -> None:
        self.tokens, self._inner = tokens, inner
        self.scenario_type = inner.scenario_type

    @classmethod
    def parse(cls, text: str) -> "Prefixed":
        """Return the scenario of what follows its first word."""
        from genai_bench.scenarios.base import Scenario

        tokens, _, inner = text.partition("+")
        return cls(int(tokens[1:-1]), Scenario.from_string(inner))

    def sample(self) -> tuple[int, int]:
        """Return the tokens of a prompt, those of the prefix included, and of its reply."""
        tokens_in, tokens_out = self._inner.sample()
        return self.tokens + tokens_in, tokens_out

    def to_string(self) -> str:
        return f"prefix({self.tokens})+{self._inner.to_string()}"


class Mixed:
    """Several scenarios, of which each request takes one at random, by their weights."""

    validation_pattern = r"^mix\(.+\)$"

    def __init__(self, weights: list[float], inner: list[Any]) -> None:
        self._weights, self._inner = weights, inner

    @classmethod
    def parse(cls, text: str) -> "Mixed":
        """Return the scenario of what follows its first word."""
        from genai_bench.scenarios.base import Scenario

        # Each part begins with a weight, which no scenario contains.
        parts = [part.partition("*") for part in re.split(r",(?=[\d.]+\*)", text[1:-1])]
        return cls([float(weight) for weight, _, _ in parts], [Scenario.from_string(name) for _, _, name in parts])

    def choose(self) -> Any:
        """Return the scenario of the next request."""
        return random.choices(self._inner, self._weights)[0]


def add_scenarios() -> None:
    """Register the scenarios in genai-bench, and make its sampler of prompts follow them."""
    from genai_bench.sampling.text import TextSampler
    from genai_bench.scenarios.base import Scenario

    Scenario._registry.update({"prefix": Prefixed, "mix": Mixed})
    sample = TextSampler._sample_chat_request

    @functools.wraps(sample)
    def sample_chat_request(self: Any, scenario: Any) -> Any:
        if isinstance(scenario, Mixed):
            scenario = scenario.choose()
        tokens = scenario.tokens if isinstance(scenario, Prefixed) else None
        if self.prefix_len != tokens:
            # The sampler keeps one prefix, which it would use for another length too.
            prefixes = self.__dict__.setdefault("prefixes", {})
            prefixes[self.prefix_len] = self._shared_prefix
            self.prefix_len, self._shared_prefix = tokens, prefixes.get(tokens)
        return sample(self, scenario)

    TextSampler._sample_chat_request = sample_chat_request
