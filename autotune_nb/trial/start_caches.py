"""Whether starts found the engine's compile and kernel caches filled, and the time that this has saved."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from autotune_nb.trial.trial import Trial

#: The property of a fingerprint, and its values: nothing was kept, kernels of other configurations were, or those of
#: this one.
START_CACHES = "start_caches"
COLD, PARTLY, WARM = "cold", "partly", "warm"


def caches_text(trials: Sequence[Trial]) -> str:
    """Return in a sentence or two how many starts found their kernels compiled; empty if that is not known."""
    starts = [(str(trial.fingerprint[START_CACHES]), trial) for trial in trials if START_CACHES in trial.fingerprint]
    if not starts:
        return ""
    seconds = {
        state: [trial.seconds["deploy"] for found, trial in starts if found == state and "deploy" in trial.seconds]
        for state in (COLD, PARTLY, WARM)
    }
    warm = sum(1 for state, _ in starts if state == WARM)
    text = f"{warm} of {len(starts)} starts found what they compile in the caches."
    others = [*seconds[COLD], *seconds[PARTLY]]
    if seconds[WARM] and others:
        saved = median(others) - median(seconds[WARM])
        text += f" They took {median(seconds[WARM]):.0f} s (median), the others {median(others):.0f} s"
        text += f": about {saved * warm / 60:.0f} minutes saved." if saved * warm >= 60 else "."
    return text
