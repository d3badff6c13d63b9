"""The command line in separate processes with a home folder of their own, and in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from autotune_nb.cli.main import cli as command_line

CLI = [sys.executable, "-m", "autotune_nb.cli.main"]


def in_this_process(*arguments: str | Path) -> Result:
    """Run a command that needs no process of its own, which would import everything again."""
    return CliRunner().invoke(command_line, [*map(str, arguments)])


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty home folder, and this Python's programs on the path."""
    home = tmp_path / "home"
    home.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    dropped = ("PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER")
    kept = {k: v for k, v in os.environ.items() if k not in dropped}
    return {**kept, "HOME": str(home), "PATH": path, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "default"}


class Started:
    """A process; ``wait_for`` waits for a line on stderr."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd: Path | None = None) -> None:
        self.process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._more:
                self.lines.append(line.rstrip())
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def wait_for(self, text: str, *, timeout_s: float = 90) -> None:
        """Wait for a line that contains the text."""
        deadline = time.monotonic() + timeout_s
        with self._more:
            while not any(text in line for line in self.lines):
                left = deadline - time.monotonic()
                assert left > 0 and self._reader.is_alive(), f"no line with {text!r} in:\n" + "\n".join(self.lines)
                self._more.wait(min(left, 1.0))

    def finish(self, *, timeout_s: float = 120) -> tuple[int, str]:
        """Wait for the end; return the exit code and stdout."""
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        code = self.process.wait(timeout_s)
        self._reader.join(10)
        return code, output

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        self._reader.join(10)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Callable[..., Started]]:
    """Starts the command line in the background; processes that are still running at the end are killed."""
    started: list[Started] = []

    def begin(*arguments: str | Path, cwd: Path | None = None) -> Started:
        started.append(Started([*CLI, *map(str, arguments)], environment, cwd))
        return started[-1]

    yield begin
    for one in started:
        one.end()


@pytest.fixture
def cli(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line and waits for it."""

    def call(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CLI, *map(str, arguments)], env=environment, cwd=cwd, capture_output=True, text=True, timeout=200
        )

    return call


def study_processes(study: Path) -> list[psutil.Process]:
    """Return the processes with a study's label."""
    from autotune_nb.deploy._process import STUDY_LABEL, labelled
    from autotune_nb.study import StudyFolder

    return labelled({STUDY_LABEL: StudyFolder(study).label(json.loads((study / "study.json").read_text())["id"])})


def until_gone(study: Path, *, timeout_s: float = 15) -> None:
    """Wait until no process with a study's label is running."""
    deadline = time.monotonic() + timeout_s
    while left := study_processes(study):
        assert time.monotonic() < deadline, f"left behind: {left}"
        psutil.wait_procs(left, timeout=0.5)
