"""Reading an engine's log: the lines that explain a failure, and its kind."""

from __future__ import annotations

import itertools
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune_nb.deploy.log_lines import LogLine, read_lines
from autotune_nb.engines.base import Engine
from autotune_nb.engines.log_patterns import COMMON_PATTERNS
from autotune_nb.errors import Failure, FailureKind
from autotune_nb.secrets.scrubbing import scrub

_READ_BYTES = 256_000
_KEEP_LINES = 8
_LAST_LINES = 3
#: A shell or a container runtime adds the number of the signal to this exit code.
_SIGNALLED = 128
_MAX_CHARS = 400
_EMPTY_LOG_HINT = "it died with an empty log: start its command line by hand"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]")
_KILLED_HINT = "it was killed by another process, most often by the system for its memory"
#: A server that answers requests or reports its throughput.
_SERVING = re.compile(
    r"HTTP/1\.[01]\" [234]\d\d\b|log_server_r: .* [234]\d\d$|Avg prompt throughput|(?:Prefill|Decode) batch\b"
)
_ENDS_ITSELF = re.compile(r"Received sigquit from a child process")
#: Exceptions that a configuration's values cause.
_OF_VALUES = {"ValueError", "AssertionError", "NotImplementedError", "ValidationError", "ArgumentError"}
#: Exceptions that follow another one, or say nothing by themselves.
_WRAPS = re.compile(
    r"Engine core initialization failed|Engine process failed to start|EngineDead|EngineCore (?:encountered|died)"
    r"|validation errors? for |CalledProcessError|^\w+(?:\.\w+)*$|^(?:KeyError|BrokenPipeError|ConnectionResetError"
    r"|SystemExit|KeyboardInterrupt|EOFError|asyncio\.\S+): "
)


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
    raw = tail(log)
    found = explain(raw, engine, exit_code=exit_code, started=phase == "benchmark")
    hint = found.hint or (_where(log) if raw else _EMPTY_LOG_HINT)
    return Failure(found.kind, phase, message, tuple(line[:_MAX_CHARS] for line in found.lines), hint)


def explained(failure: Failure, log: Path, engine: Engine) -> Failure:
    """Return the failure of a measurement, as what the engine's log reports; unchanged if that has no error."""
    found = explain(tail(log), engine, exit_code=1, started=True)
    if not found.has_cause:
        return failure
    lines = (*(line[:_MAX_CHARS] for line in found.lines), *failure.log_lines)
    return Failure(found.kind, failure.phase, failure.message, lines, found.hint or failure.hint)


@dataclass(frozen=True)
class Explanation:
    """Why an engine failed, from its log: the kind, the lines with the cause first, and a hint or nothing."""

    kind: FailureKind
    lines: tuple[str, ...]
    hint: str = ""
    #: Whether the log reports an error; else the lines are its last ones.
    has_cause: bool = False


def explain(raw: Sequence[str], engine: Engine, *, exit_code: int | None, started: bool = False) -> Explanation:
    """Return why an engine failed. ``started``: it was healthy once; the log can show this as well."""
    lines = read_lines(raw)
    ready = _after_last(lines, engine.ready_line) if engine.ready_line else 0
    started = started or ready > 0
    # What was reported before the engine was ready, or before it answered again, has not ended it.
    serving = max(ready, _after_last(lines, _SERVING))
    cause = _cause(lines, engine, ready, serving, started=started)
    killed = exit_code in (-signal.SIGKILL, _SIGNALLED + signal.SIGKILL)
    kind, hint = (cause.kind, cause.hint) if cause else (FailureKind.CRASH, "")
    if exit_code is None and kind in (FailureKind.CONFIGURATION, FailureKind.CRASH):
        kind, hint = FailureKind.TIMEOUT, "raise deadlines.ready_s if the engine is only slow"
    elif killed and cause and _ended_itself(lines, kind, started=started or serving > 0):
        kind = FailureKind.CRASH
    elif killed and kind in (FailureKind.CONFIGURATION, FailureKind.CRASH):
        kind, hint = FailureKind.OUT_OF_MEMORY, _KILLED_HINT
    elif exit_code in (-signal.SIGILL, _SIGNALLED + signal.SIGILL) and not hint:
        hint = "the program uses instructions that this CPU does not have: install a build for this CPU"
    return Explanation(kind, _shown(lines, cause, serving), hint, cause is not None)


def _ended_itself(lines: Sequence[LogLine], kind: FailureKind, *, started: bool) -> bool:
    """Return whether SGLang killed itself, as it does after an error in one of its processes at start."""
    possible = kind is FailureKind.CONFIGURATION or (kind is FailureKind.CRASH and not started)
    return possible and any(_ENDS_ITSELF.search(line.text) for line in lines)


@dataclass(frozen=True)
class _Cause:
    index: int
    kind: FailureKind
    hint: str = ""


def _cause(lines: Sequence[LogLine], engine: Engine, ready: int, serving: int, *, started: bool) -> _Cause | None:
    """Return the first line that reports why the engine failed; None if no line does."""
    end, matched, consequence = len(lines), None, None
    patterns = [
        pattern
        for pattern in (*engine.patterns, *COMMON_PATTERNS)
        if not (started and pattern.kind is FailureKind.CONFIGURATION)
    ]
    for index in range(ready, end):
        line = lines[index]
        pattern = next((one for one in patterns if one.pattern.search(line.text)), None) if line.telling else None
        if pattern is None:
            continue
        hint = pattern.start_hint if pattern.start_hint and not started else pattern.hint
        if not pattern.consequence:
            matched = _Cause(index, pattern.kind, hint)
            break
        if consequence is None:
            consequence = _Cause(_chain_start(lines, index, ready), pattern.kind, hint)
    refusal = FailureKind.CRASH if started else FailureKind.CONFIGURATION
    reason = next((i for i in range(serving, end) if lines[i].reason), None)
    if matched and (reason is None or matched.index <= reason):
        return matched
    if reason is not None:
        return _Cause(reason, refusal)
    if consequence:
        return consequence
    exceptions = [i for i in range(serving, end) if lines[i].exception]
    own = [i for i in exceptions if not _WRAPS.search(lines[i].text)]
    for index in (own or exceptions)[:1]:
        return _Cause(index, refusal if lines[index].exception in _OF_VALUES else FailureKind.CRASH)
    bad = [i for i in range(serving, end) if lines[i].bad]
    return _Cause(_chain_start(lines, bad[-1], serving), FailureKind.CRASH) if bad else None


def _chain_start(lines: Sequence[LogLine], index: int, start: int) -> int:
    """Return the first of the error lines that end at ``index`` without another line between them."""
    while index > start and lines[index - 1].bad:
        index -= 1
    return index


def _after_last(lines: Sequence[LogLine], pattern: re.Pattern[str]) -> int:
    return next((i + 1 for i in reversed(range(len(lines))) if pattern.search(lines[i].text)), 0)


def _shown(lines: Sequence[LogLine], cause: _Cause | None, serving: int) -> tuple[str, ...]:
    """Return the lines to show: the cause and the other errors, or else the last lines, the very last one first."""
    if cause is None:
        last = [line.text for line in lines if line.information or (line.telling and not line.bad)]
        # The last line is the closest to the cause, and of several only the first may be displayed.
        return tuple(reversed(last[-_LAST_LINES:]))
    shown = [lines[cause.index].text, *(line.text for line in lines[min(cause.index, serving) :] if line.bad)]
    return tuple(dict.fromkeys(shown))[:_KEEP_LINES]


def _where(log: Path) -> str:
    return f"read its whole log, {log.parent.name}/{log.name} in the study's artifacts"


def new_log(folder: Path) -> Path:
    """Return the path of ``engine.log``. A log of a previous start is renamed with a number."""
    log = folder / "engine.log"
    if log.exists():
        number = next(n for n in itertools.count(1) if not (folder / f"engine.{n}.log").exists())
        log.rename(folder / f"engine.{number}.log")
    return log
