"""Figures in words: what each one is, what a ratio of it is a ratio of, and whether more of it is better."""

from __future__ import annotations

import re

from autotune_nb.trial.measurement import MAX_CONCURRENCY, SLO_SCORE, STATISTICS
from autotune_nb.trial.score import Direction, Objective

_TIMES = {
    "ttft": "time to first token",
    "tpot": "time per output token",
    "e2e_latency": "end-to-end latency",
    "output_latency": "time from the first token to the last",
}
_RATES = {
    "output_tokens_per_s": "output tokens per second, all requests",
    "input_tokens_per_s": "input tokens per second, all requests",
    "total_tokens_per_s": "input and output tokens per second, all requests",
    "requests_per_s": "requests per second",
    "goodput_requests_per_s": "requests per second within the bounds of the goodput",
    "goodput_share": "share of requests within the bounds of the goodput",
    "request_output_tokens_per_s": "output tokens per second of one request",
    "input_tokens": "input tokens of a request",
    "output_tokens": "output tokens of a request",
    "usd_per_million_output_tokens": "cost of a million output tokens",
    "quality_agreement": "answers that agree with the default's",
    "quality_kl": "divergence of the answers from the default's",
    MAX_CONCURRENCY: "highest load that keeps every limit",
    SLO_SCORE: "score of the soft limits",
}
_STATISTICS = {"mean": "mean", "min": "lowest", "max": "highest", "stddev": "standard deviation", "p50": "median"}
_STATISTIC = re.compile(rf"(?P<stem>.+)_(?P<statistic>{'|'.join(STATISTICS)})(?P<unit>_s)?")


def meaning_of(figure: str) -> str:
    """Return what a figure is, such as ``time to first token, p99``."""
    if figure.endswith("_per_gpu"):
        return f"{meaning_of(figure.removesuffix('_per_gpu'))}, per GPU"
    found = _STATISTIC.fullmatch(figure)
    stem, statistic = (found["stem"], found["statistic"]) if found else (figure, "")
    text = _TIMES.get(stem) or _RATES.get(stem) or stem.replace("_", " ")
    return f"{text}, {_STATISTICS.get(statistic, statistic)}" if statistic else text


def ratio_noun(figure: str) -> str:
    """Return what a ratio of the figure is a ratio of, such as ``throughput``; empty if there is no short word."""
    if figure.startswith("usd"):
        return "cost"
    if figure.startswith("goodput"):
        return "goodput"
    if figure.startswith("request_output_tokens_per_s"):
        return "speed"
    if "per_s" in figure:
        return "throughput"
    if figure == MAX_CONCURRENCY:
        return "load"
    return "latency" if figure.startswith(tuple(_TIMES)) else ""


def direction_of(figure: str, objective: Objective) -> Direction | None:
    """Return whether more of a figure is better; None if neither is."""
    own = next((one.direction for one in objective.every if one.figure == figure), None)
    if own is not None:
        return own
    if figure.startswith((*_TIMES, "usd", "quality_kl")):
        return "minimize"
    if "per_s" in figure or figure.startswith("goodput") or figure in ("quality_agreement", MAX_CONCURRENCY, SLO_SCORE):
        return "maximize"
    return None
