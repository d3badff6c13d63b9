"""Copies the artifacts of trials to a folder or a bucket as they end, in a thread."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autotune_nb import events
from autotune_nb.errors import SetupError
from autotune_nb.secrets.references import resolved
from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.study import StudyFolder
from autotune_nb.task.task import Task
from autotune_nb.watching.watcher import WatchedStudy

#: How long the end of a run waits until everything is copied.
END_S = 120.0
_FIELD = "artifacts.url"


def require_place(task: Task) -> None:
    """Raise SetupError if a task names a kind of storage that is unknown, or whose package is missing."""
    import fsspec

    url = resolved(task.artifacts.url or "", field=_FIELD)
    try:
        fsspec.get_filesystem_class(fsspec.utils.get_protocol(url))
    except (ImportError, ValueError) as error:
        message = (
            f"{task.artifacts.url} is no place for artifacts here: {error}; expected is a folder or a URL of fsspec"
        )
        raise SetupError(scrub(message), field=_FIELD) from None


class ArtifactCopies:
    """A watcher that copies the files of each trial to ``URL/STUDY/WORKER/trial-N``; what fails is tried at the end."""

    def __init__(self, study: WatchedStudy, notify: Callable[[str], None]) -> None:
        self._study, self._notify = study, notify
        self._numbers: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        #: The filesystem and the path of the study and the worker in it, while it works.
        self._place: tuple[Any, str] | None = None
        # A daemon: no storage keeps a program from ending.
        self._thread = threading.Thread(target=self._copy_on, name="autotune_nb-artifacts", daemon=True)

    def __call__(self, event: events.Event) -> None:
        # Its files are complete and have no secrets any more.
        if isinstance(event, events.TrialEnded):
            self._numbers.put(event.trial.number)
            if self._thread.ident is None:
                self._thread.start()

    async def close(self, error: BaseException | None) -> None:
        if self._thread.ident is None:
            return
        self._numbers.put(None)
        deadline = asyncio.get_running_loop().time() + END_S
        while self._thread.is_alive() and (left_s := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.to_thread(self._thread.join, min(0.5, left_s))
        if self._thread.is_alive():
            self._notify(f"copying artifacts to {self._url} takes longer than {END_S:g} s; {self._kept}")

    @property
    def _url(self) -> str:
        return str(self._study.task.artifacts.url)

    @property
    def _kept(self) -> str:
        return f"what is missing there is in {self._study.path / 'artifacts'}"

    def _copy_on(self) -> None:
        missing: set[int] = set()
        while (number := self._numbers.get()) is not None:
            if problem := self._problem(number):
                if not missing:
                    text = f"the artifacts of trial {number} were not copied to {self._url}: {problem}"
                    self._notify(scrub(f"{text}; this is repeated at the end"))
                missing.add(number)
        problems = {number: problem for number in sorted(missing) if (problem := self._problem(number))}
        if problems:
            trials = f"trial{'s' if len(problems) > 1 else ''} {', '.join(map(str, problems))}"
            text = f"the artifacts of {trials} were not copied to {self._url}: {next(iter(problems.values()))}"
            self._notify(scrub(f"{text}; {self._kept}"))

    def _problem(self, number: int) -> str:
        """Copy the artifacts of a trial, and return what went wrong."""
        try:
            self._copy(number)
        except Exception as error:  # noqa: BLE001 - each storage raises errors of its own
            # Credentials may have expired: the next attempt reads them anew.
            self._place = None
            return " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return ""

    def _copy(self, number: int) -> None:
        folder = StudyFolder(self._study.path)
        if self._place is None:
            name = (folder.metadata() or {}).get("optuna_name") or folder.path.name
            storage, path = _connect(self._url)
            self._place = storage, "/".join((path.rstrip("/"), name, folder.worker_name))
        storage, path = self._place
        artifacts = folder.trial_folder(number).parent
        for file in _files(folder.trial_folder(number)):
            storage.put_file(str(file), f"{path}/{file.relative_to(artifacts).as_posix()}")


def _connect(url: str) -> tuple[Any, str]:
    """Return the filesystem and the path of a URL."""
    import fsspec

    url = resolved(url, field=_FIELD)
    # Only of a local one: others create what they need.
    options = {"auto_mkdir": True} if fsspec.utils.get_protocol(url) in ("file", "local") else {}
    storage, path = fsspec.core.url_to_fs(url, skip_instance_cache=True, **options)
    return storage, str(path)


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for file in (Path(parent, name) for name in sorted(names)):
            if file.is_file() and not file.is_symlink():
                yield file
