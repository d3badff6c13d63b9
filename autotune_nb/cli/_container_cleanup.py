"""The part of ``cleanup`` for studies in containers: lists them, and removes them after confirmation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune_nb.errors import DeployError, SetupError, StudyBusyError, SurroundingsError

if TYPE_CHECKING:
    from autotune_nb.deploy.container.cleanup import LeftContainer
    from autotune_nb.deploy.container.client import ContainerClient
    from autotune_nb.study import StudyFolder


@dataclass(frozen=True)
class ContainersOfStudy:
    """The containers that a study left on this machine."""

    folder: StudyFolder
    client: ContainerClient
    containers: list[LeftContainer]

    @classmethod
    def find(cls, folder: StudyFolder, *, force: bool) -> ContainersOfStudy:
        """Raises StudyBusyError if a process works on the study, SetupError if the runtime does not respond."""
        from autotune_nb.deploy.container.cleanup import find_containers
        from autotune_nb.deploy.container.client import find_client

        if folder.busy and not force:
            raise StudyBusyError(
                f"{folder.path} is in use by {folder.owner()}: stop that run first, or remove its containers anyway "
                "with --force"
            )
        client = find_client(folder.task().deploy.runtime)
        label = folder.label((folder.metadata() or {})["id"])
        return cls(folder, client, _answer(find_containers(client, label)))

    def remove(self, confirm: Callable[[str], None], notify: Callable[[str], None]) -> dict[str, Any]:
        """Remove the containers and return the outcome, as one line of JSON has it."""
        from autotune_nb.deploy.container.cleanup import remove_containers

        removed: list[str] = []
        for one in self.containers:
            notify(str(one))
        if self.containers:
            confirm(f"{len(self.containers)} container{'s' * (len(self.containers) != 1)} of {self.folder.path}")
            removed = _answer(remove_containers(self.client, self.containers))
        else:
            notify(f"nothing to delete: {self.client.title} has no container of {self.folder.path}")
        for line in removed:
            notify(line)
        gone = {line.removeprefix("removed ") for line in removed}
        left = [str(one) for one in self.containers if str(one) not in gone]
        return {"study": str(self.folder.path), "removed": removed, "left": left, "spared": False}


def _answer(work: Any) -> Any:
    async def answer() -> Any:
        return await work

    try:
        return asyncio.run(answer())
    except (SurroundingsError, DeployError) as error:
        hint = f"; {error.failure.hint}" if error.failure.hint else ""
        raise SetupError(f"{error.failure.message}{hint}", field="deploy.runtime") from None
