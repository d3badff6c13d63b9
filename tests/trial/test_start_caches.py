"""How many starts found their kernels compiled, and what that has saved."""

from __future__ import annotations

from autotune_nb.trial.start_caches import caches_text
from autotune_nb.trial.trial import Trial


def start(number: int, state: str, deploy_s: float) -> Trial:
    return Trial(number, {}, fingerprint={"start_caches": state}, seconds={"deploy": deploy_s})


def test_starts_saved_are_counted() -> None:
    trials = [start(0, "cold", 200), start(1, "partly", 180), *(start(n, "warm", 40) for n in range(2, 6))]
    assert caches_text(trials) == (
        "4 of 6 starts found what they compile in the caches. They took 40 s (median), the others 190 s: about 10 "
        "minutes saved."
    )
    assert caches_text(trials[:1]) == "0 of 1 starts found what they compile in the caches."
    assert caches_text([Trial(0, {})]) == ""
