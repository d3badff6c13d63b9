"""The source of the scripts that run under another Python, which may not have this package."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent
#: What every script begins with, each file after those that it imports.
_SHARED = ("../trial/binomial.py", "_steady_state.py", "_level_recording.py", "_scenarios.py", "_launcher.py")
_IMPORTS = ("from autotune_nb.trial.binomial import ", "from autotune_nb.bench._")


def script_source(name: str) -> str:
    """Return the source of ``_fork_server.py`` or ``_in_pod.py`` with that of the files that it needs before it."""
    lines: list[str] = []
    for file in (*_SHARED, name):
        lines += (_FOLDER / file).read_text(encoding="utf-8").splitlines(keepends=True)
    # Those imports fit into one line each.
    return "".join(line for line in lines if not line.startswith(_IMPORTS))
