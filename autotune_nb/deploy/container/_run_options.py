"""The command line of ``run``: the image's program, GPUs, folders, environment and port."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune_nb.deploy.caches import MOUNT, CompileCaches
from autotune_nb.deploy.visible_gpus import VARIABLE
from autotune_nb.engines.base import Engine
from autotune_nb.engines.registry import executable_words
from autotune_nb.secrets.references import command_text, variables_in
from autotune_nb.task.task import Task

#: What an image's entrypoint has if it starts the engine's server.
_SERVERS = {"vllm": r"\bvllm\b", "sglang": r"sglang", "llama_cpp": r"llama[-_]server"}
#: The engine's program in an image whose entrypoint does not start it.
_PROGRAMS = {"sglang": ("python3", "-m", "sglang.launch_server")}
#: Of weights in several files, each has a name like this.
_SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
_SHM_ON_GPUS = "16g"
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Program:
    """The words that start the engine in the container, and how they are given to ``run``."""

    words: tuple[str, ...]
    #: The entrypoint to set instead of the image's; empty to keep it.
    entrypoint: str = ""
    #: How many of the words the entrypoint has.
    given: int = 0

    @classmethod
    def of(cls, task: Task, engine: Engine, image_entrypoint: Sequence[str] | None) -> Program:
        """Return how an image starts an engine; an entrypoint that is None is unknown."""
        if task.engine.command is not None:
            return cls(())
        if task.engine.executable is not None:
            words = tuple(executable_words(engine, task.engine.executable))
            return cls(words, words[0], 1)
        server = _SERVERS.get(engine.name)
        own = tuple(image_entrypoint or ())
        if own and server and re.search(server, " ".join(own)):
            return cls(own, given=len(own))
        if image_entrypoint is None and engine.name != "sglang":
            # Most images of these two start it.
            return cls(engine.program, given=len(engine.program))
        return cls(_PROGRAMS.get(engine.name, engine.program))

    def in_image(self, image: str, argv: Sequence[str]) -> list[str]:
        """Return the image and what follows it, with the entrypoint before, for the engine's command line."""
        if any(variables_in(word) for word in argv):
            # A shell in the container fills them in, so that no value is on a command line of this machine.
            line = _REFERENCE.sub(r"$\1", command_text(argv))
            return ["--entrypoint", "sh", image, "-c", f"exec {line}"]
        entrypoint = ["--entrypoint", self.entrypoint] if self.entrypoint else []
        return [*entrypoint, image, *argv[self.given :]]


@dataclass(frozen=True)
class RunOptions:
    """The options of ``run`` of one trial, without the container's name and labels."""

    task: Task
    runtime: str
    model: str
    port: int
    #: The GPUs that the trial holds; None if they are not managed.
    gpus: Sequence[str] | None = None
    #: The engine's caches, which are mounted; none in a command line to paste.
    caches: CompileCaches | None = None

    def words(self, *, shown: bool) -> list[str]:
        """Return the options; ``shown`` for a command line to paste, where a shell fills in references."""
        deploy = self.task.deploy
        words = [*self._gpu_options(), *_option("--shm-size", self.shm_size)]
        words += [word for volume in self.volumes for word in ("--volume", volume)]
        words += [*_option("--user", deploy.user), *_option("--network", deploy.network)]
        if publishes(deploy.network):
            host = f"[{deploy.host}]" if ":" in deploy.host else deploy.host
            words += ["--publish", f"{host}:{self.port}:{self.port}"]
        for name, value in self.environment.items():
            # The client takes the value of a name alone from its environment.
            by_name = value == f"${{{name}}}" or (not shown and bool(variables_in(value)))
            words += ["--env", name if by_name else f"{name}={value}"]
        return [*words, *deploy.run_args]

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the container; a secret is a reference."""
        env = dict(self.task.engine.env)
        if self.gpus is not None:
            # It chose among this machine's GPUs, which have other numbers in the container.
            env.pop(VARIABLE, None)
        for name in self._referred():
            env.setdefault(name, f"${{{name}}}")
        cache = self.hub_cache
        if self.caches is not None:
            env = {**self.caches.variables(MOUNT), **env}
        return {**({"HF_HOME": cache} if cache and not env.keys() & {"HF_HOME", "HF_HUB_CACHE"} else {}), **env}

    def _referred(self) -> Iterator[str]:
        """Yield the variables of arguments, and of the key that requests are sent with."""
        spec = self.task.engine
        yield from variables_in(self.task.benchmark.api_key)
        command = spec.command if isinstance(spec.command, list) else [spec.command or ""]
        for value in (*spec.args.values(), *spec.raw_args, *command):
            yield from variables_in(value)
        for parameter in self.task.parameters.values():
            if parameter.type == "choice":
                yield from variables_in(list(parameter.grid() or ()))

    @property
    def volumes(self) -> list[str]:
        """The folders in the container, each as SOURCE:/PATH; those of the task win over the model's."""
        own = [expanded(volume) for volume in self.task.deploy.volumes]
        covered = {volume.split(":")[1] for volume in own}
        cache = self.hub_cache
        mounted = [f"{path}:{path}:ro" for path in model_paths(self.model)] + ([f"{cache}:{cache}"] if cache else [])
        if self.caches is not None and self.caches.kept:
            mounted.append(f"{self.caches.folder}:{MOUNT}")
        return [*(one for one in mounted if one.split(":")[1] not in covered), *own]

    @property
    def hub_cache(self) -> str | None:
        """The folder to which a model of a hub is downloaded once; None for a model in a path."""
        if self.model.startswith("/") or self.task.engine.kind == "command":
            return None
        return os.environ.get("HF_HOME") or str(Path("~/.cache/huggingface").expanduser())

    @property
    def shm_size(self) -> str | None:
        """The size of shared memory; None for the runtime's default."""
        deploy = self.task.deploy
        if any(word.startswith("--ipc") for word in deploy.run_args):
            return deploy.shm_size
        return deploy.shm_size or (_SHM_ON_GPUS if self.gpus else None)

    def _gpu_options(self) -> list[str]:
        if not self.gpus:
            return []
        if self.runtime == "podman":
            return [word for gpu in self.gpus for word in ("--device", f"nvidia.com/gpu={gpu}")]
        # The quotes are for the client, which otherwise reads each id as an option of its own.
        return ["--gpus", f'"device={",".join(self.gpus)}"']


def publishes(network: str | None) -> bool:
    """Whether a container in this network has ports of its own, which must be published."""
    return network is None or not (network == "host" or network.startswith(("container:", "ns:")))


def listen_host(task: Task) -> str:
    """Return the address on which the engine listens in the container."""
    return "0.0.0.0" if publishes(task.deploy.network) else task.deploy.host


def model_paths(model: str) -> list[str]:
    """Return the folders or files to mount for a model on this machine, none for another one.

    A link in a folder may lead out of it, as in the cache of a model hub.
    """
    path = Path(model)
    if not path.is_absolute() or not path.exists():
        return []
    if path.is_file():
        found = [path.parent if _SPLIT.search(path.name) else path]
        return list(dict.fromkeys(map(str, [*found, *([path.resolve()] if path.is_symlink() else [])])))
    outside = {
        str(target.parent)
        for file in path.rglob("*")
        if file.is_symlink() and not (target := file.resolve()).is_relative_to(path.resolve())
    }
    return [str(path), *sorted(outside)]


def expanded(volume: str) -> str:
    """Return a volume with the full path of its folder on this machine."""
    source, _, rest = volume.partition(":")
    # A name without a path is a volume of the runtime.
    return f"{Path(source).expanduser().absolute()}:{rest}" if source.startswith(("~", ".", "/")) else volume


def _option(name: str, value: str | None) -> list[str]:
    return [] if value is None else [name, value]
