"""The real ``mlflow server`` on SQLite, in an environment of its own beside that of the tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from autotune_nb.deploy.ports import free_port
from tests.stubs import until

#: Made once by uv; some 600 MB.
ENVIRONMENT = Path(sys.prefix) / "mlflow-server"
#: A start takes a minute on a busy machine.
_START_S = 300.0


class MlflowServer:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._port = free_port("127.0.0.1")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        stores = ["--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db", "--artifacts-destination", "artifacts"]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [ENVIRONMENT / "bin" / "mlflow", "server", *stores, "--port", str(self._port), "--workers", "1"],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                # It would start processes for jobs of its own.
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )
        self.wait_for(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5):
            return True
        assert self.process is not None
        assert self.process.poll() is None, (self._folder / "log").read_text()
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)

    def wait_for(self, condition: Callable[[], object]) -> None:
        until(condition, within_s=_START_S)


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Yield a server that is running; the first call on a machine downloads it."""
    uv = Path(sys.prefix) / "bin" / "uv"
    with filelock.FileLock(f"{ENVIRONMENT}.lock"):
        if not (ENVIRONMENT / "bin" / "mlflow").exists():
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, ENVIRONMENT], check=True)
            python = ENVIRONMENT / "bin" / "python"
            subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "mlflow"], check=True)
    server = MlflowServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
