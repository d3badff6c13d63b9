"""The lines of an engine's log: their text without the logger's prefix, and which of them report an error."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: What loggers write before the text: a time, the process, the rank, the level with its place in the code.
_PREFIX = re.compile(
    r"""(?:
      \d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)?\s            # a container runtime's time
    | \([\w.-]+\ pid=\d+\)\ ?                                   # vLLM's process
    | \[rank\d+\]:\ ?                                           # torch's rank
    | (?P<vllm>DEBUG|INFO|WARNING|ERROR|CRITICAL)\ \d\d-\d\d\ [\d:]+\ \[?[\w./-]+:\d+\]\ ?
    | (?P<uvicorn>DEBUG|INFO|WARNING|ERROR|CRITICAL):\s+
    | \[\d{4}-\d\d-\d\d\ [\d:.,]+(?:\ [A-Z]+\d+)*\]\ ?          # SGLang's time and ranks
    | \[gpu=\d+\]\ ?
    | (?P<sglang>DEBUG|INFO|WARNING|ERROR|CRITICAL)\ [\w./-]+:\d+:\s
    | \d{4}-\d\d-\d\d\ [\d:,.]+\ -\ (?P<python>[A-Z]+)\ -\ (?:\S+:\d+\ -\ )?
    | \d+\.\d\d\.\d{3}\.\d{3}\ (?P<llama>[DIWE])\s
    )""",
    re.VERBOSE,
)
_NO_ERROR_LEVELS = {"DEBUG", "INFO", "WARNING", "WARN", "D", "I", "W"}
_WARNING = re.compile(
    r"^(?:\S+:\d+: )?\w*Warning: |^\[W\d|^\w+: warning: |\bWARN\b|to silence this warning|\bmlock\b|RLIMIT_|\bulimit\b"
    r"|pinned memory|ignore import error|---disabling|is deprecated|fall(?:ing|s)? ?back"
    r"|^(?:\w+: )?For further information",
    re.IGNORECASE,
)
_EXCEPTION = re.compile(r"^(?:\w+\.)*(?P<type>[A-Z]\w*(?:Error|Exception|Exit|Interrupt|OutOfMemory|Refused))(?::\s|$)")
_TRACEBACK = "Traceback (most recent call last)"
_FRAME = re.compile(r"^During handling of the above|^The above exception was|^Stack \(most recent")
_REFUSED = re.compile(r"\d+ validation errors? for ")
_USAGE = re.compile(r"^usage: ", re.IGNORECASE)
_USAGE_ERROR = re.compile(r"^[\w./ -]+: error: ")
_BAD = re.compile(
    r"error|fail|fatal|exception|abort|invalid|unable|cannot|out of memory|terminate called|: not found|is dead\b", re.I
)


@dataclass(frozen=True)
class LogLine:
    """One line: its text without the logger's prefix, and what it can report."""

    text: str
    #: The type of the exception whose message the line is; empty for any other line.
    exception: str = ""
    #: The line is the reason in the refusal of a pydantic model.
    reason: bool = False
    #: False for warnings, information, usage text and the frames of a traceback.
    telling: bool = True
    information: bool = False

    @property
    def bad(self) -> bool:
        return self.telling and (self.reason or bool(self.exception) or _BAD.search(self.text) is not None)


def read_lines(raw_lines: Iterable[str]) -> list[LogLine]:
    """Return the lines without their prefixes, each with what it can report. Empty lines are left out."""
    lines: list[LogLine] = []
    refused = used = False
    for raw in raw_lines:
        text, level = _without_prefix(raw)
        line = _line(text, level, refused=refused, used=used)
        # Between the frame of a refusal and its reason there can be the name of a field.
        refused = _REFUSED.search(text) is not None or (refused and not line.reason)
        used = _USAGE.search(text) is not None or (used and not line.reason)
        if line.text:
            lines.append(line)
    return lines


def _without_prefix(text: str) -> tuple[str, str]:
    level = ""
    while match := _PREFIX.match(text):
        level = next((one for one in match.groupdict().values() if one), level)
        text = text[match.end() :]
    return text, level


def _line(text: str, level: str, *, refused: bool, used: bool) -> LogLine:
    indented, text = text[:1].isspace(), text.strip()
    if level in _NO_ERROR_LEVELS:
        return LogLine(text, telling=False, information=level.startswith(("D", "I")))
    if indented:
        # The lines of a traceback and of a usage text are indented, and so are a refusal's reason and C++'s what().
        reason = refused and bool(text) and not text.startswith(("File ", "For further information"))
        return LogLine(text, reason=reason, telling=reason or text.startswith("what():"))
    if exception := _EXCEPTION.match(text):
        return LogLine(text, exception=exception["type"])
    if used and _USAGE_ERROR.search(text):
        return LogLine(text, reason=True)
    text = text.partition(_TRACEBACK)[0].rstrip(" ,:") if _TRACEBACK in text else text
    return LogLine(text, telling=not (_WARNING.search(text) or _FRAME.search(text) or _USAGE.search(text)))
