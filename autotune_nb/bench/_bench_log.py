"""The relevant lines of genai-bench's log, whose errors stand between a rich console's boxes."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MAX_LINES, _MAX_CHARACTERS = 6, 300
#: Log lines about a failed run, and those about genai-bench's plots and spreadsheets.
_RELEVANT = re.compile(r"^(WARNING|ERROR|CRITICAL)\b|^\w[\w.]*(Error|Exception)\b|^Error: |‼|🚨", re.IGNORECASE)
_REPORTING = re.compile(r"experiment_loader|plot_report|excel_report|has NoneType value in metric|^\s*$")
_BOX = re.compile(r"^\s*[│╭╰┃┏┗├└┌]")
#: What a rich console writes around a message: the time before it, the source line after it.
_TIME, _SOURCE = re.compile(r"^\[[\d/:. -]+\]\s*"), re.compile(r"\s+\w+\.py:\d+\s*$")
_REFUSED = re.compile(r"Error code:\s*(-?\d+),\s*message:\s*(.*)")
_LEVEL_STARTS = re.compile(r"Starting benchmark with concurrency=\d+")
_EXCEPTION = re.compile(r"^\s*(\[[^\]]*\]\s*)?ERROR\b.* locust\.user\.task:run - ")
_NO_OPTION = re.compile(r"^Error: No such option:? ['\"]?(-[\w-]+)")


def relevant_lines(log: Sequence[str]) -> tuple[str, ...]:
    """Return the lines that report an error, the server's own response first; without any, the last lines."""
    lines = _lines(log)
    found = [line for line in lines if _RELEVANT.search(line)]
    response = server_response(log)
    if response is None:
        return tuple(line[:_MAX_CHARACTERS] for line in (found or lines)[-_MAX_LINES:])
    others = [line for line in found if not _REFUSED.search(line)]
    return tuple(line[:_MAX_CHARACTERS] for line in (f"the server answered {response}", *others[1 - _MAX_LINES :]))


def server_response(log: Sequence[str]) -> str | None:
    """Return the status and the message of a failed request, the most complete one; None if there is none."""
    refused = [match for line in _lines(log) if (match := _REFUSED.search(line))]
    if not refused:
        return None
    # The console cuts some of them to its width.
    status, message = max(refused, key=lambda match: len(match[2])).groups()
    return f"{status}: {message}"


def unknown_option(log: Sequence[str]) -> str | None:
    """Return the option that this genai-bench does not have, if that is why it ended; otherwise None."""
    return next((match[1] for line in _lines(log) if (match := _NO_OPTION.match(line))), None)


def unrecorded_failures(log: Sequence[str]) -> list[int]:
    """Return how many requests of each level ended with an exception, in the order of the levels.

    genai-bench itself leaves these requests out of its files; only its log has them.
    """
    counts: list[int] = []
    for line in log:
        if _LEVEL_STARTS.search(line):
            counts.append(0)
        elif counts and _EXCEPTION.search(line):
            counts[-1] += 1
    return counts


def _lines(log: Sequence[str]) -> list[str]:
    shown = [line for line in log if not _BOX.match(line)]
    plain = [_SOURCE.sub("", _TIME.sub("", line.strip())) for line in shown]
    return [line for line in plain if not _REPORTING.search(line)]
