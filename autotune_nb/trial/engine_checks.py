"""Whether what an engine reports about itself agrees with what was measured: prefix cache, generated tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Shares of a level's prompt tokens that come from the prefix cache: what is doubtful, and what is invalid.
_DOUBTFUL_HITS, _INVALID_HITS = 0.2, 0.6
#: So many tokens of each prompt may be the same: those of a chat template.
_TEMPLATE_TOKENS = 48
#: By what share the tokens that the engine and the benchmark counted may differ.
_MISCOUNT = 0.2
#: A scenario whose prompts may repeat, and the tokens with which all prompts of a scenario begin.
_DATASET, _PREFIX = "dataset", re.compile(r"prefix\((\d+)\)")


#: Occurs only in the problem of prompts that the engine had seen before.
_CACHED = "so they were not computed"
CACHED_HINT = (
    "turn the prefix cache off (vLLM: enable_prefix_caching: false, SGLang: disable_radix_cache: true, llama.cpp: "
    "cache_prompt: false), or, if its hits belong to your traffic, measure with a dataset of it"
)


def is_cached(problem: str) -> bool:
    """Whether a problem is one of ``invalid_hits``."""
    return _CACHED in problem


def invalid_hits(scenario: str, figures: Mapping[str, float], conditions: Mapping[str, float]) -> str:
    """Return why a level is invalid whose prompts the engine had seen before; empty if it had not."""
    share = _hits(scenario, figures, conditions)
    return f"{_hits_text(share)}, {_CACHED}" if share >= _INVALID_HITS else ""


def doubtful_hits(scenario: str, figures: Mapping[str, float], conditions: Mapping[str, float]) -> str:
    """Return what is doubtful in a level with many hits of the prefix cache; empty for few and for an invalid level."""
    share = _hits(scenario, figures, conditions)
    if not _DOUBTFUL_HITS <= share < _INVALID_HITS:
        return ""
    return _hits_text(share) + ": other prompts take longer"


def _hits_text(share: float) -> str:
    return f"{share:.0%} of its prompt tokens came from the engine's prefix cache, though prompts do not repeat"


def _hits(scenario: str, figures: Mapping[str, float], conditions: Mapping[str, float]) -> float:
    share = conditions.get("prefix_cache_hit_rate", 0.0)
    same = _TEMPLATE_TOKENS + max(map(int, _PREFIX.findall(scenario)), default=0)
    repeats = _DATASET in scenario or share * figures.get("input_tokens_mean", 0.0) <= same
    return 0.0 if repeats else share


def miscount(
    figures: Mapping[str, float],
    conditions: Mapping[str, float],
    *,
    all_requests: int,
    scored: float,
    in_flight: int,
) -> str:
    """Return by how much the tokens that engine and benchmark counted differ; empty if they agree.

    The engine also counts what it generated for requests that were not completed, at most ``in_flight`` at the begin
    and as many at the end of the level.
    """
    mean, counted = figures.get("output_tokens_mean"), conditions.get("engine_output_tokens")
    if not mean or counted is None:
        return ""
    # The replies that are not scored may be shorter.
    least, most = (1 - _MISCOUNT) * scored * mean - in_flight * mean, (1 + _MISCOUNT) * all_requests * mean
    if least <= counted <= most + 2 * in_flight * mean:
        return ""
    return f"the engine generated {counted:,.0f} tokens, the benchmark counted about {all_requests * mean:,.0f}"
