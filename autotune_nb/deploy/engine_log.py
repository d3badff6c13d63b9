"""Reading an engine's log: the lines that explain a failure, and its kind."""

from __future__ import annotations

import itertools
import re
import signal
from collections.abc import Sequence
from pathlib import Path

from autotune_nb.engines.base import COMMON_PATTERNS, Engine, LogPattern
from autotune_nb.errors import Failure, FailureKind
from autotune_nb.secrets.scrubbing import scrub

_READ_BYTES = 256_000
_KEEP_LINES = 8
_MAX_CHARS = 400
_EMPTY_LOG_HINT = "it died with an empty log: start its command line by hand"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]")
_BAD = re.compile(r"error|fail|fatal|exception|abort|invalid|unable|cannot|out of memory|terminate called", re.I)


def tail(log: Path, read_bytes: int = _READ_BYTES) -> list[str]:
    """Return the log's last lines, without terminal escapes; empty if there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - read_bytes))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line for raw in scrub(text).splitlines() if (line := _ESCAPES.sub("", raw).rstrip())]


def diagnose(log: Path, engine: Engine, *, phase: str, exit_code: int | None, message: str) -> Failure:
    """Return the failure of an engine that died or was not ready in time, from its log and exit code.

    ``exit_code`` is None if the engine still ran at the deadline.
    """
    lines = tail(log)
    match = _match(lines, (*engine.patterns, *COMMON_PATTERNS))
    kind, hint, relevant = FailureKind.CRASH, _where(log) if lines else _EMPTY_LOG_HINT, _relevant(lines)
    if exit_code is None:
        kind, hint = FailureKind.TIMEOUT, "raise deadlines.ready_s if the engine is only slow"
    elif exit_code == -signal.SIGKILL:
        kind, hint = (
            FailureKind.OUT_OF_MEMORY,
            "it was killed by another process, most often by the system for its memory",
        )
    if match is not None and not (exit_code is None and match[0].kind is FailureKind.CONFIGURATION):
        pattern, line = match
        kind, hint = pattern.kind, pattern.hint or hint
        relevant = [line, *(other for other in relevant if other != line)]
    return Failure(kind, phase, message, tuple(line[:_MAX_CHARS] for line in relevant[:_KEEP_LINES]), hint)


def _where(log: Path) -> str:
    return f"read its whole log, {log.parent.name}/{log.name} in the study's artifacts"


def _match(lines: Sequence[str], patterns: Sequence[LogPattern]) -> tuple[LogPattern, str] | None:
    for pattern in patterns:
        for line in reversed(lines):
            if pattern.pattern.search(line):
                return pattern, line
    return None


def _relevant(lines: Sequence[str]) -> list[str]:
    bad = [line for line in lines if _BAD.search(line)]
    return bad[-_KEEP_LINES:] if bad else list(lines[-_KEEP_LINES:])


def new_log(folder: Path) -> Path:
    """Return the path of ``engine.log``. A log of a previous start is renamed with a number."""
    log = folder / "engine.log"
    if log.exists():
        number = next(n for n in itertools.count(1) if not (folder / f"engine.{n}.log").exists())
        log.rename(folder / f"engine.{number}.log")
    return log
