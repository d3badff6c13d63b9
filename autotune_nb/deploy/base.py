"""The protocol of a deployer, and what a deployment gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from autotune_nb.cluster.service import ClusterService
from autotune_nb.task.parameters import Value


@dataclass(frozen=True)
class Endpoint:
    """What a deployment gives: where it is reached from here, what it serves, and what it is in a cluster."""

    url: str
    model: str
    tokenizer: str
    command: tuple[str, ...]
    gpu_count: int = 0
    log: Path | None = None
    service: ClusterService | None = None
    #: What only this deployment knows of itself, such as an image's digest; added to the study's.
    fingerprint: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DeployRequest:
    """One trial's deployment: its configuration, where its files go, whom to tell about its phases, its log and what
    a person should know."""

    trial: int
    params: Mapping[str, Value]
    folder: Path
    on_phase: Callable[[str], None] = lambda _phase: None
    on_log: Callable[[Path], None] = lambda _log: None
    on_notice: Callable[[str], None] = lambda _text: None


class Deployment(Protocol):
    """A running engine."""

    @property
    def endpoint(self) -> Endpoint: ...

    async def died(self) -> None:
        """Never returns while the engine lives; raises DeployError once it has died."""


class Deployer(Protocol):
    """Brings engines up and takes them down.

    ``deploy`` is an async context manager: whatever happens inside, the engine is taken down, within a deadline. What
    could not be taken down raises DeployError of kind infrastructure and stays on record for the next ``sweep``.
    """

    async def prepare(self) -> None:
        """Once before the first trial. Raises SetupError where no trial can run here."""

    @property
    def tokenizer(self) -> str:
        """The folder or hub name of the tokenizer that requests' tokens are counted with; known once prepared."""

    async def sweep(self) -> list[str]:
        """Remove what an earlier process of this study left behind; one line for each thing removed."""

    def command(self, params: Mapping[str, Value]) -> list[str]:
        """The command line to paste for one configuration, on the engine's usual port."""

    def manifest(self, params: Mapping[str, Value]) -> str | None:
        """One configuration as YAML to apply to a cluster; None where it deploys to none."""

    def deploy(self, request: DeployRequest) -> AbstractAsyncContextManager[Deployment]:
        """Bring one configuration up until it answers. Raises DeployError."""

    def hurry(self) -> None:
        """From now on, take engines down at once instead of asking them to stop. Callable from any thread."""

    async def fingerprint(self) -> dict[str, Any]:
        """The engine's and the model's identity, for the record."""

    async def close(self) -> list[str]:
        """End what ``prepare`` started; one line for each thing that is left behind all the same."""
