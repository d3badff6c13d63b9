"""A file for ``docker compose`` with one configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from autotune_nb.cluster.names import slug
from autotune_nb.deploy.container._run_options import RunOptions, publishes
from autotune_nb.secrets.references import secret_of, variables_in
from autotune_nb.task.task import Task

_HEADER = "# Start it with: docker compose -f FILE up (podman compose, nerdctl compose)\n"
_NOT_CARRIED = "# Not carried over, as compose has other names for it: {}\n"


def compose_file(task: Task, options: RunOptions, in_image: Sequence[str]) -> str:
    """Return the file. ``in_image`` are the words of ``run`` from the entrypoint, if it is set, or the image on."""
    deploy = task.deploy
    words = list(in_image)
    entrypoint = words[1] if words[0] == "--entrypoint" else None
    image, *command = words[2:] if entrypoint is not None else words
    service: dict[str, Any] = {"image": image}
    if entrypoint is not None:
        service["entrypoint"] = [_escaped(entrypoint)]
    service["command"] = [_escaped(word) for word in command]
    if options.environment:
        service["environment"] = [_variable(name, value) for name, value in options.environment.items()]
    if options.volumes:
        service["volumes"] = [_escaped(volume) for volume in options.volumes]
    if publishes(deploy.network):
        host = f"[{deploy.host}]" if ":" in deploy.host else deploy.host
        service["ports"] = [f"{host}:{options.port}:{options.port}"]
    networks: dict[str, Any] = {}
    if deploy.network is not None and (deploy.network == "host" or ":" in deploy.network):
        service["network_mode"] = deploy.network
    elif deploy.network is not None:
        service["networks"], networks = [deploy.network], {deploy.network: {"external": True}}
    if options.shm_size is not None:
        service["shm_size"] = options.shm_size
    if deploy.user is not None:
        service["user"] = deploy.user
    if options.gpus:
        device = {"driver": "nvidia", "device_ids": list(options.gpus), "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    named: dict[str, Any] = {one.split(":")[0]: {} for one in options.volumes if not one.startswith("/")}
    whole = {
        "services": {slug(task.name) or "engine": service},
        **({"networks": networks} if networks else {}),
        **({"volumes": named} if named else {}),
    }
    note = _NOT_CARRIED.format(" ".join(deploy.run_args)) if deploy.run_args else ""
    return _HEADER + note + yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=1000)


def _variable(name: str, value: str) -> str:
    """Return a variable; a secret is taken from the environment of ``docker compose``."""
    if value == f"${{{name}}}" or secret_of(value):
        return name
    # compose fills references in as a shell does.
    return f"{name}={value if variables_in(value) else _escaped(value)}"


def _escaped(text: str) -> str:
    return text.replace("$", "$$")
