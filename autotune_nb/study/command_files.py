"""Commands for the process that runs a study, as files in the study's folder, which it reads twice a second.

The workers of a shared study, which may be on any host, read theirs in the storage (``study/shared_study.py``).
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path

from autotune_nb.errors import StudyError
from autotune_nb.study.worker import RunCommand

_FOLDER = "commands"


def give_command(study: Path, command: RunCommand) -> None:
    """Write a command. Raises StudyError if it cannot be written."""
    folder = study / _FOLDER
    # By their times, in the order in which they were given.
    name = f"{time.time_ns()}-{command.id}.json"
    try:
        folder.mkdir(exist_ok=True)
        (folder / f".{name}").write_text(json.dumps(asdict(command)), encoding="utf-8")
        (folder / f".{name}").replace(folder / name)
    except OSError as error:
        raise StudyError(f"the command cannot be written to {folder}: {error.strerror or error}") from None


def take_commands(study: Path) -> list[RunCommand]:
    """Return the commands that were given since the last call, and delete them."""
    found: list[RunCommand] = []
    folder = study / _FOLDER
    with contextlib.suppress(OSError):
        for file in sorted(folder.glob("[!.]*.json")):
            with contextlib.suppress(OSError, ValueError, TypeError):
                found.append(RunCommand(**json.loads(file.read_text(encoding="utf-8"))))
            file.unlink(missing_ok=True)
    return found
