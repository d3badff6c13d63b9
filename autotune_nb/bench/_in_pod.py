"""The script of a benchmark's or a reader's pod: it runs as ``python3 -c`` with one JSON argument.

With ``{"argv", "folder", "levels", "seed", "trusted", "plan"}`` it runs genai-bench, sends each level's file once it is
complete, and exits after the last one. With ``{"read": folder}`` it sends the files of a finished benchmark. A file is
sent as lines
``AUTOTUNE-NB name part/parts base64`` of standard output. All other lines are log.
"""

import base64
import contextlib
import gzip
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from autotune_nb.bench._launcher import load_genai_bench, run_genai_bench, warm_up

#: Characters of base64 per line: a line this short is written at once, not interleaved with genai-bench's output.
_PART_SIZE = 3000
_MAX_BYTES = 2_000_000
#: Of each request, what throughput and limits on percentiles are calculated from.
_FIELDS = (
    *("num_input_tokens", "num_output_tokens", "error_code", "scored"),
    *("ttft", "tpot", "e2e_latency", "output_latency", "output_inference_speed"),
)
_POLL_S = 0.2


def _print(line: str) -> None:
    os.write(1, (line + "\n").encode())


def _short(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def _send(file: Path, text: str) -> None:
    packed = gzip.compress(text.encode())
    if len(packed) > _MAX_BYTES and text.rstrip().endswith("}"):
        # Too long for a log.
        data = json.loads(text)
        requests = [
            {name: _short(one.get(name)) for name in _FIELDS} for one in data.get("individual_request_metrics") or ()
        ]
        packed = gzip.compress(json.dumps({**data, "individual_request_metrics": requests}).encode())
    encoded = base64.b64encode(packed).decode()
    parts = [encoded[at : at + _PART_SIZE] for at in range(0, len(encoded), _PART_SIZE)]
    for number, part in enumerate(parts, start=1):
        _print(f"AUTOTUNE-NB {file.name} {number}/{len(parts)} {part}")


def _send_complete(folder: Path, sent: set[str]) -> int:
    """Send the complete files that are not in ``sent`` yet; return how many of them are levels."""
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


def _genai_bench(job: dict[str, Any]) -> NoReturn:
    os.setsid()
    try:
        cli, _ = load_genai_bench(trusted=job["trusted"])
        warm_up()
    except BaseException:  # noqa: BLE001 - reported by the log and the exit code
        traceback.print_exc()
        os._exit(1)
    run_genai_bench(cli, job["argv"], job["seed"], job["plan"])


def _bench(job: dict[str, Any]) -> int:
    # A child process, because genai-bench patches the process that imports it.
    child = os.fork()
    if child == 0:
        _genai_bench(job)

    def stop(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os._exit(143)

    signal.signal(signal.SIGTERM, stop)
    sent: set[str] = set()
    sent_levels, folder = 0, Path(job["folder"])
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        sent_levels += _send_complete(folder, sent)
        if done:
            return os.waitstatus_to_exitcode(status)
        if sent_levels >= job["levels"]:
            # Do not wait for genai-bench's plots and spreadsheets.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            return 0
        time.sleep(_POLL_S)


def main() -> int:
    job = json.loads(sys.argv[1])
    if "read" in job:
        folder, sent = Path(job["read"]), set[str]()
        count = _send_complete(folder, sent)
        for file in sorted(folder.glob("*_time_*.json")) if folder.is_dir() else []:
            # Also if truncated, to show which level was not completed.
            if file.name not in sent:
                _send(file, file.read_text(encoding="utf-8", errors="replace"))
        _print(f"{count} levels in {job['read']}")
        return 0
    return _bench(job)


if __name__ == "__main__":
    sys.exit(main())
