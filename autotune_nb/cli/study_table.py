"""The text that ``show`` and ``demo`` print for a study."""

from __future__ import annotations

import json
from typing import Any

from autotune_nb.trial.cost import Cost
from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.load import cliff_text
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.score import Limit
from autotune_nb.trial.trial import TrialState, configuration_text

#: Width of the longest bar, in characters.
_BAR_WIDTH = 20


def study_table(results: dict[str, Any]) -> str:
    """Return a study as text: one line with a bar per trial, the best trial against the default, its command line.

    ``results`` is the content of ``results.json``.
    """
    trials, best = results["trials"], results["best"]
    count = f"{len(trials)} trial{'s' * (len(trials) != 1)}"
    replayed = results["task"].get("deploy", {}).get("table")
    note = f", REPLAYED from {replayed}: nothing was measured" if replayed else ""
    cost = str(Cost.from_dict(results.get("cost", {})))
    took = f"{results['elapsed_s']:.0f} s{f', {cost}' if cost else ''}"
    lines = [f"{results['study']}: {results['state']}, {count}, {took}{note}"]
    presets = results["task"].get("expanded_presets", ())
    if presets:
        names = ", ".join(one if isinstance(one, str) else one["name"] for one in presets)
        lines.append(f"preset {names}: {', '.join(results['task']['parameters'])}")
    lines.append("")
    if not trials:
        return "\n".join([*lines, f"no trials yet; start them with: autotune-nb run TASK --study {results['study']}"])
    top = max((next(iter(trial["values"].values())) for trial in trials if trial["values"]), default=0.0)
    front = [one["params"] for one in results.get("front", ())]
    levels = {trial["level"] for trial in trials if trial["values"]}
    first_failures: dict[tuple[str, str, str], int] = {}
    for trial, first in _repeats_together(trials):
        mark = "+" if trial["params"] in front and trial["values"] else " "
        mark = "*" if best is not None and trial["params"] == best["params"] and trial["values"] else mark
        repeat = f"  same configuration as trial {first}" if first != trial["number"] else ""
        repeat += f", round {round_}" if (round_ := (trial.get("confirmation") or (0,))[0]) else ""
        repeat += f"  by {trial['worker']}" if trial.get("worker") else ""
        level = f"  under {trial['level']}" if len(levels) > 1 and trial["values"] else ""
        lines.append(f"{mark}{trial['number']:>4}  {_line(trial, top)}{level}{repeat}")
        lines += [f"{'':>7}{line}" for line in _failure(trial, first_failures)]
        if trial.get("cut_reason"):
            lines.append(f"{'':>7}cut: {trial['cut_reason']}")
        if trial.get("answers"):
            lines.append(f"{'':>7}{trial['answers']}")
        measured = [Measurement.from_dict(one) for one in trial["measurements"]]
        cliff = cliff_text(measured, [Limit.parse(name) for name in trial["limits"]])
        lines += [f"{'':>7}{cliff}"] if cliff else []
        lines += [f"{'':>7}{one.level}: {note}" for one in measured for note in one.notes]
        if trial.get("limited_by"):
            lines.append(f"{'':>7}limited by: {trial['limited_by']}")
    lines.append("")
    if best is None:
        scored = sum(1 for trial in trials if TrialState(trial["state"]).scored)
        reason = f"none of the {scored} measured trials keeps every limit" if scored else "no trial is complete"
        return "\n".join([*lines, f"no best configuration: {reason}"])
    command = best["command"] or "its command line is unknown: its results were imported"
    if front:
        count = f"{len(front)} configuration{'s' * (len(front) != 1)}"
        lines.append(f"+ and *: the Pareto front, {count}; * is its knee, the best compromise")
    return "\n".join([*lines, results["verdict"]["text"], "", command])


def _repeats_together(trials: list[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    """Return each trial with the first number of its configuration, whose repeats follow it."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for trial in trials:
        key = json.dumps([trial["baseline"], trial["params"]], sort_keys=True)
        groups.setdefault(key, []).append(trial)
    return [(trial, group[0]["number"]) for group in groups.values() for trial in group]


def _line(trial: dict[str, Any], top: float) -> str:
    params = configuration_text({} if trial["baseline"] else trial["params"])
    for figure, value in trial["values"].items():
        broken = [name for name, violation in trial["limits"].items() if violation > 0]
        note = f"  breaks {', '.join(broken)}" if broken else ""
        note += "".join(f"  {name} undecided ({why})" for name, why in trial.get("undecided", {}).items())
        bar = "█" * round(_BAR_WIDTH * value / top) if top else ""
        others = "".join(f"{value_text(v, name):>12}" for name, v in list(trial["values"].items())[1:])
        return f"{value_text(value, figure):>16} {bar:<{_BAR_WIDTH}}{others}  {params}{note}"
    return f"{trial['state']:>16} {'':<{_BAR_WIDTH}}  {params}"


def _failure(trial: dict[str, Any], first_failures: dict[tuple[str, str, str], int]) -> list[str]:
    """Return why a trial failed: in full for the first trial with this failure, else a reference to that trial.

    ``first_failures`` maps each failure to the first trial that has it; the function adds new ones.
    """
    failure = trial["failure"]
    if not failure:
        return []
    text = f"{failure['kind'].replace('_', ' ')} in {failure['phase']}: {failure['message']}"
    first = first_failures.setdefault((failure["kind"], failure["phase"], failure["message"]), trial["number"])
    if first != trial["number"]:
        return [f"{text.partition(': ')[0]}, same as trial {first}"]
    hint = [f"try: {failure['hint']}"] if failure["hint"] else []
    return [text, *(f"| {line}" for line in failure["log_lines"][:2]), *hint]
