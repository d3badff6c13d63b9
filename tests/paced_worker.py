"""A worker of a shared study as a process; its trials are replayed, and take a part of their recorded time.

``python -m tests.paced_worker TASK FOLDER SCALE [HEARTBEAT_S GRACE_S CLOCK_AHEAD_S]``; the storage is in
AUTOTUNE_NB_STORAGE.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
import optuna.storages._rdb.storage

import autotune_nb as at
from autotune_nb.recorded.clock import WallClock
from autotune_nb.runner import assembly
from autotune_nb.study import _worker_table, shared_study


class PacedClock(WallClock):
    """Wall time in which a recorded second takes ``scale`` seconds."""

    scale = 1.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self.scale)


def set_clock_ahead(seconds: float) -> None:
    """Let this process see a time that is ahead."""
    real = time.time
    time.time = lambda: real() + seconds

    class Ahead(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.datetime.now(tz) + datetime.timedelta(seconds=seconds)

    optuna.storages._rdb.storage.datetime = Ahead  # type: ignore[misc]


def main(task: str, folder: str, scale: str, beat_s: str = "15", grace_s: str = "120", ahead_s: str = "0") -> None:
    PacedClock.scale = float(scale)
    assembly.SimulatedClock = PacedClock  # type: ignore[assignment, misc]
    shared_study.HEARTBEAT_S, _worker_table.GRACE_S = float(beat_s), float(grace_s)
    if float(ahead_s):
        set_clock_ahead(float(ahead_s))
    run = at.tune(Path(task), study=folder, storage=os.environ["AUTOTUNE_NB_STORAGE"])
    run.subscribe(run.progress_lines(lambda line: click.echo(line)))
    run.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
