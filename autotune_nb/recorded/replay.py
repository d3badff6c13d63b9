"""The replay of a recorded table: what each start of the engine takes and shows, with noise."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from autotune_nb.recorded.clock import SimulatedClock
from autotune_nb.recorded.table import RecordedConfiguration, RecordedTable, configuration_key
from autotune_nb.task.parameters import Value
from autotune_nb.trial.measurement import Level, Measurement

_TIMES = ("ttft_", "tpot_", "e2e_latency_", "output_latency_")


@dataclass(frozen=True)
class ReplayedStart:
    """One start of a recorded configuration. The same trial of a study with the same seed has the same noise."""

    configuration: RecordedConfiguration
    seed: str
    #: Standard deviations of the logarithm: of each figure between starts, and of all figures between levels.
    noise: Mapping[str, float] = field(default_factory=dict)
    noise_within: float = 0.0

    def measurement(self, level: Level) -> Measurement | None:
        """Return a level's measurement with noise; None if the level was not recorded."""
        found = self.configuration.measurements.get(level)
        if found is None:
            return None
        # A slow start is slow in every figure: one draw makes all times longer and all rates lower.
        start = random.Random(self.seed).gauss(0.0, 1.0)
        within = random.Random(f"{self.seed}/{level}").gauss(0.0, 1.0) * self.noise_within
        return replace(
            found,
            figures={
                name: value * math.exp(_sign(name) * (start * self.noise.get(name, 0.0) + within))
                for name, value in found.figures.items()
            },
        )


def _sign(figure: str) -> int:
    """Return 1 for times and costs, -1 for rates, and 0 for counts, which have no noise."""
    return 1 if figure.startswith((*_TIMES, "usd_per_")) else -1 if "per_s" in figure else 0


class Replay:
    """A recorded table, the simulated clock of its run, and the starts of the run's trials.

    The deployer and the benchmark of a run share it. ``noise`` is the standard deviation of every figure's logarithm
    between starts; None for what the table's repeats show.
    """

    def __init__(
        self,
        table: RecordedTable,
        clock: SimulatedClock,
        *,
        noise: float | None = None,
        noise_within: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.table = table
        self.clock = clock
        self._noise = noise
        self._noise_within = noise_within
        self._seed = seed
        self._starts: dict[str, ReplayedStart] = {}

    def start(self, trial: int, params: Mapping[str, Value]) -> tuple[str, ReplayedStart] | None:
        """Start a configuration and return its URL and its start; None if it was not recorded."""
        found = self.table.find(params)
        if found is None:
            return None
        names = {name for one in found.measurements.values() for name in one.figures}
        noise = self.table.noise if self._noise is None else dict.fromkeys(names, self._noise)
        start = ReplayedStart(found, f"{self._seed}/{trial}/{configuration_key(params)}", noise, self._noise_within)
        url = f"replay:trial-{trial}"
        self._starts[url] = start
        return url, start

    def end(self, url: str) -> None:
        """End a start."""
        self._starts.pop(url, None)

    def find(self, url: str) -> ReplayedStart:
        """Return the start with a URL that ``start`` returned."""
        return self._starts[url]
