"""One container: its name and labels, what the runtime reports about it, and its removal."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass, field
from typing import Any

from autotune_nb.cluster.names import STUDY_LABEL, trial_labels, trial_name
from autotune_nb.deploy.container.client import ContainerClient
from autotune_nb.errors import SetupError

#: Identifies one creation, so that nothing but its container is removed, whatever has its name.
CREATION_LABEL = "autotune-nb/creation"
_NEVER = "0001-01-01"


@dataclass(frozen=True)
class ContainerState:
    """What the runtime reports about a container."""

    id: str
    running: bool
    #: When it was started; empty if it never was.
    started_at: str
    exit_code: int
    oom_killed: bool
    error: str
    pid: int
    #: Whether it shares the network of this machine.
    host_network: bool
    memory_limit: int

    @classmethod
    def of(cls, data: dict[str, Any]) -> ContainerState:
        state, host = data.get("State") or {}, data.get("HostConfig") or {}
        started = str(state.get("StartedAt") or "")
        return cls(
            str(data.get("Id") or ""),
            bool(state.get("Running")),
            "" if started.startswith(_NEVER) else started,
            int(state.get("ExitCode") or 0),
            bool(state.get("OOMKilled")),
            str(state.get("Error") or ""),
            int(state.get("Pid") or 0),
            host.get("NetworkMode") == "host",
            int(host.get("Memory") or 0),
        )


@dataclass(frozen=True)
class Container:
    """A container of one trial, which may not exist yet."""

    client: ContainerClient
    name: str
    labels: dict[str, str]
    _selector: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_selector", f"label={CREATION_LABEL}={self.labels[CREATION_LABEL]}")

    @classmethod
    def of_trial(cls, client: ContainerClient, task_name: str, study_label: str, trial: int) -> Container:
        """Return the container of a trial, under a name that the trial alone has."""
        labels = {**trial_labels(study_label, trial), CREATION_LABEL: uuid.uuid4().hex}
        return cls(client, trial_name(task_name, study_label, trial), labels)

    @property
    def options(self) -> list[str]:
        """The options of ``run`` with its name and labels."""
        return ["--name", self.name, *(w for key, value in self.labels.items() for w in ("--label", f"{key}={value}"))]

    @property
    def find_command(self) -> list[str]:
        """The command that prints its id, or nothing."""
        return [*self.client.words, "ps", "--all", "--quiet", "--no-trunc", "--filter", self._selector]

    @property
    def remove_command(self) -> list[str]:
        """The command that kills and removes the containers whose ids are appended."""
        return [*self.client.words, *removal(self.client)]

    async def require_free_name(self) -> list[str]:
        """Remove the container that a previous attempt of the trial left. Returns a message for it.

        Raises SetupError if a container of somebody else has the name.
        """
        data = await self.client.inspect("container", self.name)
        if data is None:
            return []
        labels = (data.get("Config") or {}).get("Labels") or {}
        if labels.get(STUDY_LABEL) != self.labels[STUDY_LABEL]:
            image = (data.get("Config") or {}).get("Image") or data.get("ImageName") or "unknown"
            raise SetupError(
                f"there is a container named {self.name} that this study did not create (image {image}): remove it "
                f"with {self.client.runtime} rm -f {self.name}, or rename it",
                field="deploy.kind",
            )
        await self.client.ask(*removal(self.client), str(data["Id"]))
        return [f"removed container {self.name}, which a previous attempt had left behind"]

    async def state(self) -> ContainerState | None:
        """Return what the runtime reports; None if there is no such container. Raises as ``ContainerClient.ask``."""
        data = await self.client.inspect("container", self.name)
        if (
            data is None
            or ((data.get("Config") or {}).get("Labels") or {}).get(CREATION_LABEL) != (self.labels[CREATION_LABEL])
        ):
            return None
        return ContainerState.of(data)

    async def ids(self) -> list[str]:
        """Return its id, or nothing if it does not exist."""
        return (await self.client.ask(*self.find_command[len(self.client.words) :])).split()

    async def stop(self, grace_s: float) -> None:
        """Send SIGTERM, after the grace period SIGKILL. An engine that has ended already is no error."""
        for one in await self.ids():
            with contextlib.suppress(TimeoutError):
                await self.client.call("stop", "-t", str(max(1, round(grace_s))), one, within_s=grace_s + 30)

    async def kill(self) -> None:
        """Send SIGKILL."""
        for one in await self.ids():
            with contextlib.suppress(TimeoutError):
                await self.client.call("kill", one)

    async def remove(self) -> bool:
        """Kill and remove it. Returns whether it is gone. Raises as ``ContainerClient.ask``."""
        for one in await self.ids():
            await self.client.call(*removal(self.client), one)
        return not await self.ids()


def removal(client: ContainerClient) -> list[str]:
    """Return the words that kill and remove containers with their anonymous volumes."""
    # podman waits ten seconds for their end otherwise.
    at_once = ["-t", "0"] if client.runtime == "podman" else []
    return ["rm", "--force", "--volumes", *at_once]
