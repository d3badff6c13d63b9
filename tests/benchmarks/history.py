"""Several studies: comparing two of 1 000 trials, and opening one of 10 000, each in a fresh process.

Measured in CPU seconds, which other processes on the machine hardly influence.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.benchmarks.kept import write_study

_COMPARED, _OPENED = 1000, 10_000
_SECONDS, _MEGABYTES = 3.0, 400.0
_END = """
import json, re, time
# Not ru_maxrss, which has the memory of the process that started this one.
size = int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) / 2**10
print(json.dumps([time.process_time(), size]))
"""
_COMPARE = """
import autotune_nb as at
found = at.compare({0!r}, {1!r})
assert found.text() and len(found.configurations) == {2}
"""
_OPEN = """
import autotune_nb as at
assert len(at.open({0!r}).history) == {1}
"""


def history() -> list[Figure]:
    """Return the CPU seconds of both with all imports, and the memory of the second."""
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name:
        folder = Path(name)
        for study, trials in (("a", _COMPARED), ("b", _COMPARED), ("large", _OPENED)):
            write_study(folder / study, trials)
        compare_s, _ = _measured(_COMPARE.format(str(folder / "a"), str(folder / "b"), _COMPARED))
        open_s, megabytes = _measured(_OPEN.format(str(folder / "large"), _OPENED))
    with_imports = "CPU seconds of a process, with imports"
    return [
        Figure(f"compare_two_studies_of_{_COMPARED}_trials", compare_s, _SECONDS, with_imports, "s"),
        Figure(f"open_{_OPENED}_trials", open_s, _SECONDS, with_imports, "s"),
        Figure(f"open_{_OPENED}_trials_memory", megabytes, _MEGABYTES, "the most memory of the process", "MB"),
    ]


def _measured(code: str) -> tuple[float, float]:
    """Return the CPU seconds and the largest memory in MB of a process that runs this code."""
    ended = subprocess.run([sys.executable, "-c", code + _END], capture_output=True, text=True, check=True)
    seconds, megabytes = json.loads(ended.stdout)
    return float(seconds), float(megabytes)
