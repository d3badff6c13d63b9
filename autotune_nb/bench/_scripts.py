"""The source of the scripts that run under another Python, which may not have this package."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent
_IMPORT = "from autotune_nb.bench._launcher import "


def script_source(name: str) -> str:
    """Return the source of ``_fork_server.py`` or ``_in_pod.py`` with the launcher's source before it."""
    launcher, script = ((_FOLDER / file).read_text(encoding="utf-8") for file in ("_launcher.py", name))
    own = [line for line in script.splitlines(keepends=True) if not line.startswith(_IMPORT)]
    return launcher + "\n" + "".join(own)
