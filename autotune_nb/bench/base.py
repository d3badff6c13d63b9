"""The protocol of a benchmark."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from autotune_nb.cluster.service import ClusterService
from autotune_nb.trial.measurement import Level, Measurement


@dataclass(frozen=True)
class BenchRequest:
    """The server to measure and the folder for raw files. ``url`` is reachable from this process; on Kubernetes
    ``service`` is set as well."""

    url: str
    model: str
    tokenizer: str
    folder: Path
    gpu_count: int = 0
    service: ClusterService | None = None
    #: Whether the server accepts ``ignore_eos``; None if it is unknown.
    accepts_ignore_eos: bool | None = None
    #: The order in which levels run; empty for that of the task.
    levels: tuple[Level, ...] = ()
    #: Returns the next level, and None after the last. A benchmark asks before each level if it can; one that cannot
    #: runs ``levels``, and runs no more once its iterator is closed.
    next_level: Callable[[], Level | None] | None = None
    on_notice: Callable[[str], None] = lambda _text: None
    #: Called with parts of the benchmark's identity that are known only while it runs, such as its image's digest.
    on_identity: Callable[[Mapping[str, Any]], None] = lambda _identity: None


class Benchmark(Protocol):
    """Measures a server under a workload, level by level."""

    @property
    def yields_at_end(self) -> bool:
        """Whether all levels arrive together after the last one, so that it is unknown when each of them ran."""

    async def prepare(self, tokenizer: str = "") -> None:
        """Do the work that is done once per study. ``tokenizer`` is a folder or a hub name, if known.

        Raises SetupError if the benchmark cannot run here.
        """

    def measure(self, request: BenchRequest) -> AsyncGenerator[Measurement, None]:
        """Yield each level's measurement as it arrives, invalid ones with their reason.

        Closing the iterator stops the load. Raises MeasurementError if a level is not delivered.
        """

    async def fingerprint(self) -> dict[str, Any]:
        """Return the benchmark's identity for the trial's fingerprint."""

    async def close(self) -> None:
        """Stop what ``prepare`` started."""
