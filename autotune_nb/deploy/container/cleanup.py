"""Finds and removes the containers that runs left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune_nb.cluster.names import STUDY_LABEL, TRIAL_LABEL, study_selector
from autotune_nb.deploy.container._container import removal
from autotune_nb.deploy.container.client import ContainerClient


@dataclass(frozen=True)
class LeftContainer:
    """A container of a study."""

    id: str
    name: str
    study: str
    trial: str
    status: str

    def __str__(self) -> str:
        return f"container {self.name} of trial {self.trial} ({self.status})"


async def find_containers(client: ContainerClient, study_label: str) -> list[LeftContainer]:
    """Return every container with the label of a study, running or not. Raises as ``ContainerClient.ask``."""
    ids = (
        await client.ask("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={study_selector(study_label)}")
    ).split()
    found = []
    for one in ids:
        data = await client.inspect("container", one)
        if data is not None:
            labels = (data.get("Config") or {}).get("Labels") or {}
            state = data.get("State") or {}
            found.append(
                LeftContainer(
                    one,
                    str(data.get("Name") or one).lstrip("/"),
                    str(labels.get(STUDY_LABEL, "")),
                    str(labels.get(TRIAL_LABEL, "?")),
                    str(state.get("Status") or "unknown"),
                )
            )
    return found


async def remove_containers(client: ContainerClient, containers: Sequence[LeftContainer]) -> list[str]:
    """Kill and remove containers. Returns a message for each that is gone. Raises as ``ContainerClient.ask``."""
    lines = []
    for one in containers:
        await client.call(*removal(client), one.id)
        if await client.inspect("container", one.id) is None:
            lines.append(f"removed {one}")
    return lines
