"""A study as ``show`` and ``demo`` print it."""

from __future__ import annotations

from typing import Any

from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.trial import configuration_text

#: Width of the longest bar, in characters.
_BAR = 20


def study_table(results: dict[str, Any]) -> str:
    """A line and a bar a trial, the best against the default, its command line; of what ``results.json`` has."""
    trials, best = results["trials"], results["best"]
    counted = f"{len(trials)} trial{'s' * (len(trials) != 1)}"
    lines = [f"{results['study']}: {results['state']}, {counted}, {results['elapsed_s']:.0f} s", ""]
    if not trials:
        return "\n".join([*lines, f"nothing was tried yet; autotune-nb run TASK --study {results['study']} begins"])
    top = max((value for trial in trials for value in trial["values"].values()), default=0.0)
    told: dict[tuple[str, str, str], int] = {}
    for trial in trials:
        mark = "*" if best is not None and trial["number"] == best["number"] else " "
        lines.append(f"{mark}{trial['number']:>4}  {_line(trial, top)}")
        lines += [f"{'':>7}{line}" for line in _failure(trial, told)]
    lines.append("")
    if best is None:
        complete = sum(1 for trial in trials if trial["state"] == "complete")
        nothing = f"none of the {complete} complete trials keeps every limit" if complete else "no trial has completed"
        return "\n".join([*lines, f"no best configuration: {nothing}"])
    command = best["command"] or "its command line is not known: it was measured elsewhere and imported"
    return "\n".join([*lines, _answer(trials, best), "", command])


def _answer(trials: list[dict[str, Any]], best: dict[str, Any]) -> str:
    figure, value = next(iter(best["values"].items()))
    level = next(trial["level"] for trial in trials if trial["number"] == best["number"])
    default = next((t for t in trials if t["baseline"] and t["state"] == "complete"), None)
    against = ""
    if default is not None and default["number"] == best["number"]:
        against = ": the engine's default configuration"
    elif default is not None and default["values"][figure]:
        base = default["values"][figure]
        times = f"{value / base:.2f} times the engine's default"
        against = f", {times} ({value_text(base, figure)})"
    elif any(t["baseline"] and t["state"] == "failed" for t in trials):
        against = "; the engine's default failed, so there is nothing to compare it with"
    return f"best is trial {best['number']} with {value_text(value, figure)} ({figure}, under {level}){against}"


def _line(trial: dict[str, Any], top: float) -> str:
    params = configuration_text({} if trial["baseline"] else trial["params"])
    for figure, value in trial["values"].items():
        broken = [name for name, violation in trial["limits"].items() if violation > 0]
        note = f"  breaks {', '.join(broken)}" if broken else ""
        bar = "█" * round(_BAR * value / top) if top else ""
        return f"{value_text(value, figure):>16} {bar:<{_BAR}}  {params}{note}"
    return f"{trial['state']:>16} {'':<{_BAR}}  {params}"


def _failure(trial: dict[str, Any], told: dict[tuple[str, str, str], int]) -> list[str]:
    """Why a trial failed, in full where it is the first that failed so; ``told`` are those that were told."""
    failure = trial["failure"]
    if not failure:
        return []
    what = f"{failure['kind'].replace('_', ' ')} in {failure['phase']}: {failure['message']}"
    first = told.setdefault((failure["kind"], failure["phase"], failure["message"]), trial["number"])
    if first != trial["number"]:
        return [f"{what.partition(': ')[0]}, as trial {first}"]
    hint = [f"try: {failure['hint']}"] if failure["hint"] else []
    return [what, *(f"| {line}" for line in failure["log_lines"][:2]), *hint]
