"""Everything this package raises on purpose.

::

    AutotuneError
    ├── TaskError               the task is invalid; names the field
    │   └── UnknownNameError    an unknown name; suggests the nearest known ones
    ├── StudyError              a study cannot be stored or read
    │   ├── StudyBusyError      another process works on the folder
    │   ├── StudyMismatchError  the folder holds a study of another task
    │   └── StudyNotFoundError  the folder holds no study
    ├── TrialError              one trial failed; carries a Failure
    │   ├── DeployError         the engine did not start, or died
    │   ├── MeasurementError    the benchmark produced no valid figures
    │   └── SurroundingsError   a cluster, a webhook, a daemon or a disk does not respond; the trial is repeated
    ├── SetupError              no trial can run here: a program, a model or disk space is missing
    ├── ClusterError            the Kubernetes API refused a request, or did not answer
    └── RunError                a run ended without a result
"""

from __future__ import annotations

import difflib
import errno
import linecache
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any


class AutotuneError(Exception):
    """Base of every error this package raises on purpose.

    IPython shows its message and the line of the cell; ``%tb Plain`` shows the traceback.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints in place of a traceback through this package."""
        ipython = sys.modules.get("IPython")
        formatter = getattr(ipython.get_ipython(), "InteractiveTB", None) if ipython is not None else None
        if formatter is not None and formatter.mode in _DETAILED:
            lines: list[str] = formatter.structured_traceback(type(self), self, self.__traceback__)
            return lines
        if formatter is None:
            return traceback.format_exception(self)
        line = _users_line(self.__traceback__)
        return [f"{type(self).__name__}: {self}", *([f"  in {line}"] if line else []), _HOW_TO_SEE_ALL]


#: The modes of IPython's %xmode and %tb with more than the default one shows.
_DETAILED = ("Verbose", "Docs", "Plain")
_HOW_TO_SEE_ALL = "  (%tb Plain shows the traceback)"


def _users_line(trace: TracebackType | None) -> str:
    """Return the last line of the user's before this package was called, with its number; empty if it is unknown."""
    found = ""
    for frame, number in traceback.walk_tb(trace):
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == __name__.partition(".")[0]:
            break
        file = frame.f_code.co_filename
        text = linecache.getline(file, number).strip()
        found = f"line {number}: {text}" if text and module == "__main__" else found
    return found


class TaskError(AutotuneError, ValueError):
    """The task is invalid.

    ``field`` is the dotted path of the field (``parameters.batch.high``), or empty if the error concerns the whole
    file.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        text = f"{field}: {message}" if field else message
        # Names of the user's, such as that of a parameter, may have line breaks.
        super().__init__(text.replace("\r", "\\r").replace("\n", "\\n"))
        self.field = field
        self.message = message


class UnknownNameError(TaskError):
    """An unknown name; the message suggests the nearest known ones."""

    def __init__(self, what: str, name: str, known: Iterable[str], *, field: str = "", hint: str = "") -> None:
        names = list(known)
        message = f"unknown {what} {name!r}{did_you_mean(name, names)}"
        super().__init__(f"{message}; {hint}" if hint else message, field=field)
        self.name = name


class StudyError(AutotuneError):
    """A study cannot be stored or read."""


class StudyBusyError(StudyError):
    """Another process works on this study folder."""


class StudyMismatchError(StudyError):
    """The folder holds a study of another task."""


class StudyNotFoundError(StudyError):
    """The folder holds no study."""


class SetupError(AutotuneError):
    """No trial can run here: a program, a model or disk space is missing.

    ``field`` is the field of the task to change.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class ClusterError(AutotuneError):
    """The Kubernetes API refused a request, or did not answer.

    ``status`` is the HTTP status, or 0 if there was no response; ``reason`` is Kubernetes' reason (``AlreadyExists``).
    """

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        #: How long to wait before retrying the request, as the server requested.
        self.retry_after_s = 0.0

    @property
    def by_webhook(self) -> bool:
        """Whether an admission webhook denied the request: a 403 that is not about permissions."""
        return "admission webhook" in str(self)


class RunError(AutotuneError):
    """A run ended without a result."""


class FailureKind(StrEnum):
    """Why a trial failed; each kind needs another remedy."""

    CONFIGURATION = "configuration"
    OUT_OF_MEMORY = "out_of_memory"
    CRASH = "crash"
    TIMEOUT = "timeout"
    INFRASTRUCTURE = "infrastructure"
    MEASUREMENT = "measurement"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Failure:
    """The failure of a trial: its kind, the phase it happened in, the relevant log lines and a hint on what to try."""

    kind: FailureKind
    phase: str
    message: str
    log_lines: tuple[str, ...] = ()
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": str(self.kind),
            "phase": self.phase,
            "message": self.message,
            "log_lines": list(self.log_lines),
            "hint": self.hint,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Failure:
        return cls(
            kind=FailureKind(data["kind"]),
            phase=data["phase"],
            message=data["message"],
            log_lines=tuple(data.get("log_lines", ())),
            hint=data.get("hint", ""),
        )

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} in {self.phase}: {self.message}"


class TrialError(AutotuneError):
    """One trial failed; the study continues. ``failure`` holds the reason."""

    def __init__(self, failure: Failure) -> None:
        lines = [str(failure), *(f"  | {line}" for line in failure.log_lines)]
        if failure.hint:
            lines.append(f"  try: {failure.hint}")
        super().__init__("\n".join(lines))
        self.failure = failure


class DeployError(TrialError):
    """The engine did not start, or died."""


class MeasurementError(TrialError):
    """The benchmark produced no valid figures."""


class SurroundingsError(TrialError):
    """What every trial depends on does not respond, such as a webhook; the trial can be repeated later."""


#: Errors of a machine that is out of processes, files or memory for the moment.
_EXHAUSTED = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
#: Errors of a file system that takes no more files.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def lacks_resources(error: OSError) -> bool:
    """Whether an error passes once the machine has processes, files or memory again."""
    return error.errno in _EXHAUSTED


def failed_to_write(folder: Path, error: OSError) -> bool:
    """Whether an error is of a file in a folder, and lasts. A write that fails names no file."""
    if error.filename is None:
        return error.errno in _FULL
    name = error.filename if isinstance(error.filename, str | bytes) else ""
    return not lacks_resources(error) and Path(os.fsdecode(name)).absolute().is_relative_to(folder.absolute())


def cannot_write(output: Path, error: OSError) -> SetupError:
    """Return the SetupError for an output that cannot be written; it names the blocking file if that is another one."""
    where = f"{error.filename}: " if error.filename not in (None, str(output)) else ""
    return SetupError(f"{output} cannot be written: {where}{error.strerror or error}")


def repr_without_contents(value: object) -> str:
    """Format a value of the wrong type for an error; of a container only the type, since it may hold a secret."""
    return f"a {type(value).__name__}" if isinstance(value, Mapping | list | tuple | Set) else repr(value)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known names, or the list of all if none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.55)
    if near:
        return "; did you mean " + " or ".join(repr(n) for n in near) + "?"
    if 0 < len(names) <= 20:
        return "; known are " + ", ".join(names)
    return ""
