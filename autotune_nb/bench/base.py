"""The protocol of a benchmark."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from autotune_nb.cluster.service import ClusterService
from autotune_nb.trial.measurement import Measurement


@dataclass(frozen=True)
class BenchRequest:
    """What to measure: a server, and where its raw files go. ``url`` is reached from here; in a cluster there is
    ``service`` besides."""

    url: str
    model: str
    tokenizer: str
    folder: Path
    gpu_count: int = 0
    service: ClusterService | None = None
    on_notice: Callable[[str], None] = lambda _text: None
    #: Told what only the trial's own benchmark knows of itself, such as its image's digest.
    on_identity: Callable[[Mapping[str, Any]], None] = lambda _told: None


class Benchmark(Protocol):
    """Measures a server under a workload, one level after the other."""

    async def prepare(self, tokenizer: str = "") -> None:
        """Pay what is paid once a study, for a tokenizer's folder or hub name where that is known by now.

        Raises SetupError where the benchmark cannot run here.
        """

    def measure(self, request: BenchRequest) -> AsyncGenerator[Measurement, None]:
        """Yield each level's measurement as it lands, invalid ones with their reason.

        Closing the iterator stops the load. Raises MeasurementError where a level never lands.
        """

    async def fingerprint(self) -> dict[str, Any]:
        """The benchmark's identity, for the record."""

    async def close(self) -> None:
        """End what ``prepare`` started."""
