"""The image of a study's engine: pulled before the first trial, and identified."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autotune_nb.deploy.container._errors import client_error
from autotune_nb.deploy.container.client import ContainerClient
from autotune_nb.errors import DeployError, SetupError, SurroundingsError

#: Between two reports of a pull's progress.
_REPORT_S = 10.0


@dataclass(frozen=True)
class Image:
    """An image on this machine: its name, id and digests, and the program that it starts."""

    name: str
    id: str
    #: As NAME@sha256:…; empty for an image that was built here and never pushed.
    digest: str
    entrypoint: tuple[str, ...]

    @classmethod
    def of(cls, name: str, data: dict[str, Any]) -> Image:
        config = data.get("Config") or {}
        entrypoint = config.get("Entrypoint") or ()
        own = str(data.get("Id") or "")
        return cls(
            name,
            own if own.startswith("sha256:") else f"sha256:{own}",
            next(map(str, data.get("RepoDigests") or ()), ""),
            (entrypoint,) if isinstance(entrypoint, str) else tuple(map(str, entrypoint)),
        )

    def fingerprint(self) -> dict[str, str]:
        digest = {"image_digest": self.digest} if self.digest else {}
        return {"image": self.name, "image_id": self.id, **digest}


async def image_for_run(client: ContainerClient, name: str, pull: str, notify: Callable[[str], None]) -> Image:
    """Return the image, pulled first if ``pull`` says so. Raises SetupError if it is missing or cannot be pulled."""
    try:
        data = await client.inspect("image", name)
        if pull == "always" or (data is None and pull == "missing"):
            await _pull(client, name, notify)
            data = await client.inspect("image", name)
    except (SurroundingsError, DeployError) as error:
        failure = error.failure
        hint = f"; {failure.hint}" if failure.hint else ""
        lines = f" ({failure.log_lines[0]})" if failure.log_lines else ""
        raise SetupError(f"{failure.message}{lines}{hint}", field="deploy.runtime") from None
    if data is None:
        raise SetupError(
            f"there is no image {name} on this machine, and deploy.pull is {pull}: pull or build it, or set "
            "deploy.pull: missing",
            field="deploy.image",
        )
    return Image.of(name, data)


async def _pull(client: ContainerClient, name: str, notify: Callable[[str], None]) -> None:
    began = reported = time.monotonic()
    notify(f"{client.runtime} pulls {name}")

    def on_line(line: str) -> None:
        nonlocal reported
        if time.monotonic() - reported >= _REPORT_S:
            reported = time.monotonic()
            notify(f"pulling {name} for {reported - began:.0f} s: {line[:100]}")

    done = await client.follow("pull", name, on_line=on_line)
    if done.code:
        raise client_error(done.stderr, client.runtime)
    notify(f"pulled {name} in {time.monotonic() - began:.0f} s")
