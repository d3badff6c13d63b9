"""The protocols of deployers and deployments, and the types they exchange."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from autotune_nb.cluster.service import ClusterService
from autotune_nb.task.parameters import Value


@dataclass(frozen=True)
class Endpoint:
    """A deployed engine: its URL from this process, its model, and its Service if it runs in a cluster."""

    url: str
    model: str
    tokenizer: str
    command: tuple[str, ...]
    gpu_count: int = 0
    log: Path | None = None
    #: The event loop's time at which ``deadlines.ready_s`` ends; None if that is not counted from the start.
    ready_by: float | None = None
    #: Whether nothing listens at the URL, since recorded measurements are replayed.
    replayed: bool = False
    service: ClusterService | None = None
    #: The parent of the engine's processes if they run on this machine, and the numbers or ids of its GPUs (None: all).
    engine_pid: int | None = None
    gpus: tuple[str, ...] | None = None
    #: What is known only after the deployment, such as the image's digest; added to the study's fingerprint.
    fingerprint: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DeployRequest:
    """The deployment of one trial: its configuration, the folder of its files, and callbacks.

    ``on_phase`` is called with each phase, ``on_log`` with the log's path, ``on_notice`` with messages for the user.
    """

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
        """Wait until the engine has died, then raise DeployError. Never returns."""

    async def require_same_engine(self) -> None:
        """Raise DeployError if the engine was restarted since it was ready."""

    async def require_answer(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Call ``ask``, a request after the last level; raise its error unless only the way to the engine broke."""


class Deployer(Protocol):
    """Deploys engines and takes them down.

    ``deploy`` is an async context manager that takes the engine down at its end, within a deadline. If that fails, it
    raises DeployError of kind infrastructure, and the next ``sweep`` retries it.
    """

    async def prepare(self) -> None:
        """Prepare for trials; call it once. Raises SetupError if no trial can run."""

    @property
    def tokenizer(self) -> str:
        """The folder or hub name of the tokenizer that counts tokens; available after ``prepare``."""

    async def sweep(self) -> list[str]:
        """Remove what a previous run of this study left. Returns a message for each process or object."""

    def command(self, params: Mapping[str, Value]) -> list[str]:
        """Return the command line of one configuration, with the engine's default port.

        It starts with ``env NAME=value …`` if the task sets environment variables; a secret is a reference.
        """

    def manifest(self, params: Mapping[str, Value]) -> str | None:
        """Return one configuration as YAML for ``kubectl apply``; None for local processes."""

    def deploy(self, request: DeployRequest) -> AbstractAsyncContextManager[Deployment]:
        """Deploy one configuration and wait until it is ready. Raises DeployError."""

    def hurry(self) -> None:
        """From now on kill engines instead of stopping them gracefully. Thread-safe."""

    async def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the engine and the model."""

    async def close(self) -> list[str]:
        """Close the deployer. Returns a message for each process or object that could not be removed."""
