"""The compile and kernel caches of an engine, kept between trials, and whether a start found them filled."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune_nb.engines.base import Engine
from autotune_nb.engines.given_flags import all_flags
from autotune_nb.errors import SetupError
from autotune_nb.task.parameters import Value
from autotune_nb.task.task import Task
from autotune_nb.trial.start_caches import COLD, PARTLY, START_CACHES, WARM

#: The folder in a study's folder, and where a cluster's claim is mounted.
_FOLDER, MOUNT = "caches", "/var/cache/autotune-nb"
_STARTED = "started.json"
_CLAIM = "pvc://"


@dataclass(frozen=True)
class Start:
    """A start of an engine: what it finds in the caches, and the key of what it compiles."""

    state: str
    key: str


class CompileCaches:
    """The caches of a task's engine: their folder, the variables that name it, and the starts that filled it.

    ``kept`` is False if the task switches them off, or the engine compiles nothing. Variables that the task sets, or
    ``environment`` has, are the user's choice and stay.
    """

    def __init__(self, task: Task, engine: Engine, study: Path, *, environment: Iterable[str] = ()) -> None:
        given = task.deploy.caches
        own = {*task.engine.env, *environment}
        names = {name: folder for name, folder in engine.cache_variables.items() if name not in own}
        in_cluster = task.deploy.kind == "ome"
        self.claim, _, self._inside = (
            given.removeprefix(_CLAIM).partition("/") if isinstance(given, str) and in_cluster else ("", "", "")
        )
        wanted = bool(self.claim) if in_cluster else given is not False
        # Another user could not write to the study's folder; a folder that the task names is prepared for it.
        self.kept = bool(names) and wanted and (isinstance(given, str) or _may_write(task))
        self._names = names if self.kept else {}
        self._task, self._engine = task, engine
        path = Path(given).expanduser().absolute() if isinstance(given, str) and not in_cluster else None
        #: The folder on this machine; in a cluster only the list of the study's starts is here.
        self.folder = path or study / _FOLDER
        self._in_cluster = in_cluster
        self._build = ""

    @property
    def sub_path(self) -> str:
        """The folder in the claim, so that two engines do not share one."""
        return "/".join(filter(None, (self._inside, self._engine.name)))

    def variables(self, root: str | Path | None = None) -> dict[str, str]:
        """Return the environment variables that name the caches; in a container, below the mounted ``root``."""
        at = str(self.folder if root is None else root)
        return {name: f"{at}/{folder}" for name, folder in self._names.items()}

    def identify(self, *parts: Any) -> None:
        """Set what else the caches depend on: the versions of the engine, the model, the image."""
        self._build = json.dumps(parts, sort_keys=True, default=str)

    def prepare(self) -> None:
        """Create the folders. Raises SetupError."""
        if not self.kept:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for folder in self._names.values() if not self._in_cluster else ():
                (self.folder / folder).mkdir(exist_ok=True)
        except OSError as error:
            raise SetupError(
                f"the folder of the engine's caches {self.folder} cannot be created: {error.strerror or error}; give "
                "another one, or false",
                field="deploy.caches",
            ) from error

    def start(self, params: Mapping[str, Value]) -> Start | None:
        """Return what a start of a configuration finds now; None if no caches are kept."""
        if not self.kept:
            return None
        compiled = self._engine.compile_key(all_flags(self._task, self._engine, params))
        text = json.dumps([self._engine.name, self._build, compiled], default=str)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        started = self._started()
        filled = bool(started)
        if not self._in_cluster:
            # The caches may have been deleted, or filled by another study.
            filled = any(_files(self.folder / one) for one in self._names.values())
        return Start(COLD if not filled else WARM if key in started else PARTLY, key)

    def ready(self, start: Start | None) -> dict[str, str]:
        """Record that a start has become ready; return what its fingerprint has of the caches."""
        if start is None:
            return {}
        started = self._started()
        started[start.key] = started.get(start.key, 0) + 1
        partial = self.folder / f"{_STARTED}.{os.getpid()}"
        try:
            partial.write_text(json.dumps(started), encoding="utf-8")
            partial.replace(self.folder / _STARTED)
        except OSError:
            # The next start of this key then counts as one that compiles.
            partial.unlink(missing_ok=True)
        return {START_CACHES: start.state}

    def _started(self) -> dict[str, int]:
        try:
            found = json.loads((self.folder / _STARTED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _may_write(task: Task) -> bool:
    """Return whether the user in a container is this one, or root, as in an image that names none."""
    user = (task.deploy.user or "0").partition(":")[0]
    return task.deploy.kind != "container" or user in ("0", "root", str(os.getuid()))


def _files(folder: Path) -> bool:
    """Return whether there is a file in a folder or below it."""
    return any(names for _, _, names in os.walk(folder))
