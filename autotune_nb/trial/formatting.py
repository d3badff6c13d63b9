"""Trials, figures and load levels formatted as text, each in one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autotune_nb.trial.measurement import MAX_CONCURRENCY, Level, Measurement
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial, TrialState, configuration_text

YEAR_S = 365 * 24 * 3600


def counts(trials: Sequence[Trial]) -> dict[str, int]:
    """Return the number of trials in each state; states without trials are omitted."""
    found = {str(state): sum(1 for t in trials if t.state is state) for state in TrialState}
    return {state: number for state, number in found.items() if number}


def counts_text(trials: Sequence[Trial]) -> str:
    """Format the number of trials in each state, such as ``12 complete, 1 failed``."""
    return ", ".join(f"{number} {state}" for state, number in counts(trials).items()) or "no trials yet"


def params_text(trial: Trial) -> str:
    """Format the configuration of a trial in one line."""
    return configuration_text({} if trial.baseline else trial.params)


def numbers_text(trials: Sequence[Trial], most: int = 8) -> str:
    """Format the numbers of trials, such as ``trials 1, 2, 5 and 7 more``."""
    shown = ", ".join(str(trial.number) for trial in trials[:most])
    more = f" and {len(trials) - most:,} more" if len(trials) > most else ""
    return f"{'trial' if len(trials) == 1 else 'trials'} {shown}{more}"


def value_text(value: float, figure: str) -> str:
    """Format a figure with its unit, to four digits; times below a second are in ms."""
    if figure.endswith("_per_gpu"):
        return f"{value_text(value, figure.removesuffix('_per_gpu'))} per GPU"
    if figure.endswith("tokens_per_s") or "tokens_per_s_" in figure:
        return f"{value:,.4g} tokens/s" if value < 1000 else f"{value:,.0f} tokens/s"
    if figure == MAX_CONCURRENCY:
        return f"{value:.4g} concurrent"
    if figure == "goodput_share":
        return f"{value:.1%}"
    if figure.endswith("requests_per_s"):
        return f"{value:.4g} requests/s"
    if figure.startswith("usd_per_million"):
        return f"${value:.4g} per million tokens"
    if figure.endswith("_s"):
        return f"{value * 1000:.4g} ms" if value < 1 else f"{value:.4g} s"
    if figure == "quality_agreement":
        return f"{value:.1%}"
    return f"{value:.4g} nats" if figure == "quality_kl" else f"{value:.4g}"


#: The words for the first part of a figure's name.
_FIGURE_WORDS = {"ttft": "TTFT", "tpot": "TPOT", "e2e_latency": "latency", "output_latency": "output latency"}
_RATE_WORDS = {"output": "output", "input": "input", "total": "input + output"}


def figure_head(figure: str) -> tuple[str, str]:
    """Return a figure's name in words and its unit, for the head of a column, such as ``TTFT p99`` and ``s``."""
    if figure.endswith("_per_gpu"):
        name, unit = figure_head(figure.removesuffix("_per_gpu"))
        return name, f"{unit} per GPU"
    if figure.startswith("request_output_tokens_per_s"):
        statistic = figure.removeprefix("request_output_tokens_per_s").strip("_")
        return f"one request {statistic}".removesuffix(" mean"), "tokens/s"
    if figure.endswith("tokens_per_s"):
        return _RATE_WORDS[figure.removesuffix("_tokens_per_s")], "tokens/s"
    if figure.endswith("requests_per_s"):
        return figure.removesuffix("_per_s").replace("_requests", ""), "requests/s"
    if figure in ("goodput_share", "quality_agreement"):
        return figure.replace("_share", "").replace("quality_", ""), "%"
    if figure.startswith("usd_per_million"):
        return "cost", "$ per million tokens"
    if figure == MAX_CONCURRENCY:
        return "highest load", "concurrent requests"
    if figure == "quality_kl":
        return "divergence", "nats"
    name = figure.removesuffix("_s")
    for word, text in _FIGURE_WORDS.items():
        if name.startswith(f"{word}_"):
            return f"{text} {name.removeprefix(f'{word}_')}".removesuffix(" mean"), "s"
    return figure.replace("_", " "), ""


def levels_text(levels: Iterable[Level]) -> str:
    """Format load levels, such as ``D(512,128) at concurrency 1, 8 and 32``, those of several scenarios by ``;``."""
    found: dict[str, list[Level]] = {}
    for level in levels:
        found.setdefault(level.scenario, []).append(level)
    return "; ".join(
        and_text([str(own[0]), *(level.load.rpartition(" ")[2] for level in own[1:])]) for own in found.values()
    )


def and_text(texts: Sequence[str]) -> str:
    """Return texts as in a sentence: ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


def interval_text(value: float, low: float, high: float, figure: str) -> str:
    """Format a figure and an interval, such as ``704.3 tokens/s (513.7 to 965.7 tokens/s)``."""
    first, last = value_text(low, figure), value_text(high, figure)
    number, _, unit = first.partition(" ")
    return f"{value_text(value, figure)} ({number if last.endswith(f' {unit}') else first} to {last})"


def level_text(measured: Measurement, objective: Objective | None = None) -> str:
    """Format the figures of a level in one line, with those of the objectives and the limits that it breaks."""
    f = measured.figures
    if not measured.valid:
        return f"{measured.level}: invalid, {'; '.join(measured.problems)}"
    names = {
        "output_tokens_per_s": "",
        "ttft_p99_s": "TTFT p99 ",
        "tpot_mean_s": "TPOT ",
        "e2e_latency_mean_s": "latency ",
    }
    if objective is not None:
        for name in (*objective.figures, *(limit.figure for limit in objective.limits)):
            names.setdefault(name, f"{name} ")
    parts = [f"{word}{value_text(f[name], name)}" for name, word in names.items() if name in f]
    if measured.error is not None and "output_tokens_per_s" in f:
        parts[0] += f" ± {measured.error:.1%}"
    limits = objective.limits if objective is not None else ()
    broken = [str(limit) for limit in limits if limit.figure in f and limit.violation(measured) > 0]
    note = f"  breaks {', '.join(broken)}" if broken else ""
    for limit in limits:
        open_text = limit.undecided_text(measured)
        note += f"  {limit} undecided ({open_text})" if open_text else ""
    note += "".join(f"  {text}" for text in measured.notes)
    return f"{measured.level}: {', '.join(parts)}{note}"


def duration_text(seconds: float) -> str:
    """Return a duration such as ``48 s``, ``12 min`` or ``3 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if not seconds < YEAR_S:
        return "over a year"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
