"""Copies the artifacts of trials to a folder or a bucket as they end, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
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
    """A watcher that copies the files of each trial to ``URL/STUDY/WORKER/trial-N``; what fails is tried at the end.

    What previous runs did not copy is copied first.
    """

    def __init__(self, study: WatchedStudy, notify: Callable[[str], None]) -> None:
        self._study, self._notify = study, notify
        self._numbers: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        folder = StudyFolder(study.path)
        #: The trials of previous runs that have files in the study's folder.
        self._previous = [
            t.number for t in study.history if t.state.finished and folder.trial_folder(t.number).is_dir()
        ]
        #: The filesystem and the path of the study and the worker in it, while it works.
        self._place: tuple[Any, str] | None = None
        # A daemon: no storage keeps a program from ending.
        self._thread = threading.Thread(target=self._copy_on, name="autotune_nb-artifacts", daemon=True)

    def __call__(self, event: events.Event) -> None:
        # Its files are complete and have no secrets any more.
        ended = isinstance(event, events.TrialEnded)
        if isinstance(event, events.TrialEnded):
            self._numbers.put(event.trial.number)
        if self._thread.ident is None and (ended or self._previous):
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
        previous: list[int] = []
        try:
            previous = self._incomplete()
        except Exception:  # noqa: BLE001 - each storage raises errors of its own; those of the end are reported
            missing.update(self._previous)
        for number in itertools.chain(previous, iter(self._numbers.get, None)):
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

    def _incomplete(self) -> list[int]:
        """Return the trials of previous runs of which not every file was copied."""
        if not self._previous:
            return []
        storage, path = self._connected()
        found: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError):
            found = storage.find(path, detail=True)
        copied = {(str(name), entry.get("size")) for name, entry in found.items()}
        return [
            number
            for number in self._previous
            if any((f"{path}/{name}", file.stat().st_size) not in copied for file, name in self._files(number))
        ]

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
        storage, path = self._connected()
        for file, name in self._files(number):
            storage.put_file(str(file), f"{path}/{name}")

    def _connected(self) -> tuple[Any, str]:
        if self._place is None:
            folder = StudyFolder(self._study.path)
            name = (folder.metadata() or {}).get("optuna_name") or folder.path.name
            storage, path = _connect(self._url)
            self._place = storage, "/".join((path.rstrip("/"), name, folder.worker_name))
        return self._place

    def _files(self, number: int) -> Iterator[tuple[Path, str]]:
        """Yield the files of a trial, and the path of each below the place of the study."""
        folder = StudyFolder(self._study.path).trial_folder(number)
        for parent, _, names in os.walk(folder):
            for file in (Path(parent, name) for name in sorted(names)):
                if file.is_file() and not file.is_symlink():
                    yield file, file.relative_to(folder.parent).as_posix()


def _connect(url: str) -> tuple[Any, str]:
    """Return the filesystem and the path of a URL."""
    import fsspec

    url = resolved(url, field=_FIELD)
    # Only of a local one: others create what they need.
    options = {"auto_mkdir": True} if fsspec.utils.get_protocol(url) in ("file", "local") else {}
    storage, path = fsspec.core.url_to_fs(url, skip_instance_cache=True, **options)
    return storage, str(path)
