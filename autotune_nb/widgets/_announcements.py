"""What the monitor says in place of a chart that has nothing to show yet: what will appear, and when."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_nb.handle import StudyHandle
from autotune_nb.runner.runner import RunState
from autotune_nb.trial.trial import Trial, TrialState

_WHAT = {
    "Latency and throughput": ("A point for every load level", "when the first level has ended"),
    "Progress": ("The objective trial by trial, and the best so far", "with the first complete trial"),
    "Parameters": ("A line for every trial through its parameters", "when two trials with different values have ended"),
    "Slices": ("The objective by the value of every parameter", "when two trials with different values are complete"),
    "Timeline": ("What the time was used for, trial by trial", "when the first trial has ended"),
    "Engine metrics": ("What the engine reports about itself", "when the first level has ended"),
}


def announcement(title: str, handle: StudyHandle, trials: Sequence[Trial]) -> str:
    """Return the text for the chart of a tab that has no data."""
    what, when = _WHAT[title]
    ended = [trial for trial in trials if trial.state is not TrialState.RUNNING]
    failed = sum(1 for trial in ended if trial.state is TrialState.FAILED)
    measured = any(trial.measurements for trial in trials)
    if title == "Engine metrics" and measured:
        return (
            "This trial has no metrics of its engine: the engine has none, or they are off (--metrics turns them on in "
            "llama.cpp, --enable-metrics in SGLang)."
        )
    if title == "Timeline" and ended:
        return "The trials of this study have no times: they were imported from a table without them."
    working = handle.running or handle.state in (RunState.RUNNING, RunState.STARTING, RunState.PAUSED)
    if failed and failed == len(ended):
        every = "The only trial failed" if failed == 1 else f"All {failed} trials failed"
        rest = f"; {what[0].lower()}{what[1:]} appears {when}." if working else "."
        return f"{every}: the table below says why{rest}"
    if title == "Latency and throughput" and any(trial.state is TrialState.COMPLETE for trial in ended):
        return (
            "No level has both output tokens per second (output_tokens_per_s) and the mean end-to-end latency "
            "(e2e_latency_mean_s), which this chart draws."
        )
    if not working and not ended:
        return f"No trial has started yet. {what} appears {when}."
    if not working:
        return f"There is nothing to show: {what[0].lower()}{what[1:]} appears {when}."
    return f"{what} appears {when}."
