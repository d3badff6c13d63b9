"""What a run reports as soon as trials cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotune_nb.trial.clocks import slowed_text
from autotune_nb.trial.comparable import disturbance, environment_text, shares_gpus
from autotune_nb.trial.drift import drift_text
from autotune_nb.trial.trial import Trial


class Cautions:
    """The reports of one run: of other work and another environment once, of drift when the default was measured."""

    def __init__(self) -> None:
        #: Why answers were not compared, as far as it was reported.
        self._not_compared: set[str] = set()
        self._disturbance_reported = self._gpus_reported = self._environment_reported = False
        self._slowed_reported = self._metrics_reported = False

    def after(self, ended: Trial, trials: Sequence[Trial]) -> Iterator[str]:
        """Yield what the end of a trial shows."""
        if not self._disturbance_reported and ended.state.scored and (share := disturbance(ended)):
            self._disturbance_reported = True
            yield (
                f"trial {ended.number}: other processes used {share:.0%} of this machine's CPUs during it, so that its "
                "values differ from those of trials without them; end them, or repeat the study later"
            )
        if not ended.answers.startswith("answers differ") and ended.answers not in {"", *self._not_compared}:
            self._not_compared.add(ended.answers)
            yield f"trial {ended.number}: {ended.answers}"
        if not self._gpus_reported and ended.state.scored and shares_gpus(ended):
            self._gpus_reported = True
            yield f"trial {ended.number}: other processes computed on the engine's GPUs during it; see nvidia-smi"
        if not self._environment_reported and (text := environment_text(trials)):
            self._environment_reported = True
            yield text
        if not self._slowed_reported and (text := slowed_text(trials)):
            self._slowed_reported = True
            yield text
        problem = ended.fingerprint.get("engine_metrics")
        # Other engines than those of the catalogs may have none.
        if problem and not self._metrics_reported and ended.fingerprint.get("engine") != "command":
            self._metrics_reported = True
            yield f"trial {ended.number}: the engine's metrics were {problem}"
        # The starts of a confirmation show how much is noise.
        if ended.baseline and ended.confirmation is None and (text := drift_text(trials)):
            yield text
