"""Runs inside a benchmark's or a reader's pod, as ``python3 -c`` of this text and one JSON argument.

``{"argv", "folder", "levels", "seed"}`` runs genai-bench and sends each level's file as soon as it is whole, and ends
once all are out. ``{"read": folder}`` sends what a finished benchmark left. A file goes as lines of standard output,
``AUTOTUNE-NB name part/parts base64``, among which anything else is log.
"""

import base64
import contextlib
import gzip
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

#: A line that fits one write to a pipe is not torn by what genai-bench writes meanwhile.
_PART = 3000
_MAX_BYTES = 2_000_000
_LOOK_S = 0.2


def _say(line: str) -> None:
    os.write(1, (line + "\n").encode())


def _send(file: Path, text: str) -> None:
    packed = gzip.compress(text.encode())
    if len(packed) > _MAX_BYTES and text.rstrip().endswith("}"):
        # A log is no place for every single request of thousands; the sums are what counts.
        packed = gzip.compress(json.dumps({**json.loads(text), "individual_request_metrics": []}).encode())
    coded = base64.b64encode(packed).decode()
    parts = [coded[at : at + _PART] for at in range(0, len(coded), _PART)]
    for number, part in enumerate(parts, start=1):
        _say(f"AUTOTUNE-NB {file.name} {number}/{len(parts)} {part}")


def _new(folder: Path, sent: set[str]) -> int:
    """Send the files that have become whole; how many of them are levels."""
    levels = 0
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        if file.name in sent:
            continue
        with contextlib.suppress(OSError, ValueError):
            text = file.read_text(encoding="utf-8")
            data = json.loads(text)
            sent.add(file.name)
            if "aggregated_metrics" in data or "individual_request_metrics" in data:
                _send(file, text)
                levels += not file.name.startswith("debug_for_run")
    return levels


class _Minutes(float):
    """Minutes that become whole seconds."""

    def __mul__(self, other: float) -> int:
        return round(float(self) * other)


def _genai_bench(argv: list[str], seed: int) -> NoReturn:
    os.setsid()
    code = 1
    try:
        import random

        import click
        import numpy
        from genai_bench.cli.cli import benchmark, cli

        for option in benchmark.params:
            if option.name == "max_time_per_run":
                option.type = click.types.FuncParamType(_Minutes)
        random.seed(seed)
        numpy.random.seed(seed)
        sys.argv = ["genai-bench", *argv]
        cli.main(args=argv, prog_name="genai-bench")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001 - reported by the log and the exit code
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _bench(job: dict[str, Any]) -> int:
    # Before genai-bench is imported, which patches the process it is in.
    child = os.fork()
    if child == 0:
        _genai_bench(job["argv"], job["seed"])

    def stop(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os._exit(143)

    signal.signal(signal.SIGTERM, stop)
    sent: set[str] = set()
    out, folder = 0, Path(job["folder"])
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        out += _new(folder, sent)
        if done:
            return os.waitstatus_to_exitcode(status)
        if out >= job["levels"]:
            # Plots and sheets are not waited for.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            return 0
        time.sleep(_LOOK_S)


def main() -> int:
    job = json.loads(sys.argv[1])
    if "read" in job:
        folder, sent = Path(job["read"]), set[str]()
        found = _new(folder, sent)
        for file in sorted(folder.glob("*_time_*.json")) if folder.is_dir() else []:
            # Torn, it tells which level was cut short.
            if file.name not in sent:
                _send(file, file.read_text(encoding="utf-8", errors="replace"))
        _say(f"{found} levels in {job['read']}")
        return 0
    return _bench(job)


if __name__ == "__main__":
    sys.exit(main())
