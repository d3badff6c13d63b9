"""A worker of a shared study: a process that works on it, with its name, its host and its GPUs."""

from __future__ import annotations

import importlib.metadata
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from autotune_nb.errors import StudyMismatchError


def package_version() -> str:
    """Return the version of the installed package."""
    return importlib.metadata.version("autotune_nb")


@dataclass(frozen=True)
class Worker:
    """A process that works on a shared study.

    ``id`` is its own: a process that is started again is another worker. ``label`` is that of its engines, by which
    the next worker in the same folder of the same host finds what it left. ``gpus`` are the ids of the GPUs it uses,
    which ``choose_gpus`` returns when it joins: those of other workers are taken.
    """

    name: str
    label: str = ""
    host: str = field(default_factory=socket.gethostname)
    gpus: tuple[str, ...] = ()
    version: str = field(default_factory=package_version)
    pid: int = field(default_factory=os.getpid)
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    choose_gpus: Callable[[frozenset[str]], tuple[str, ...]] = field(default=lambda _: (), compare=False, repr=False)

    @property
    def text(self) -> str:
        """Its name, host and process in a message."""
        where = "" if self.name == self.host else f" on {self.host}"
        return f"{self.name}{where} (pid {self.pid})"


@dataclass(frozen=True)
class RunCommand:
    """A command for the process that runs a study, or for every worker of a shared one, and who gave it.

    ``kind`` is ``pause``, ``resume``, ``stop``, ``stop_now``, or ``stop_trial``, which stops ``trial`` where it runs.
    """

    kind: str
    by: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    trial: int | None = None

    @property
    def text(self) -> str:
        """The command in a notice."""
        what = "stop at once" if self.kind == "stop_now" else self.kind
        return what if self.trial is None else f"stop trial {self.trial}"


def require_same_release(study: str, other: Worker, own: str) -> None:
    """Raise StudyMismatchError if a worker has another release of the package: workers would store different things."""
    if release(other.version) != release(own):
        raise StudyMismatchError(
            f"worker {other.text} works on the study {study!r} with autotune_nb {other.version}, and this is "
            f"autotune_nb {own}: install the same release, or wait until that worker has ended"
        )


def release(version: str) -> str:
    """Return the part of a version within which workers may differ: 1 of 1.4.2, but 0.4 of 0.4.2."""
    parts = version.split(".")
    return ".".join(parts[: 2 if parts[0] == "0" else 1])
