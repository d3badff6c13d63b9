"""The time to send a study to a real MLflow server on SQLite."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from tests.benchmarks.figure import Figure
from tests.benchmarks.kept import write_study
from tests.watching.mlflow_server import MlflowServer, mlflow_server

_TRIALS, _GOAL_S = 200, 20.0


def tracking() -> list[Figure]:
    """Return the CPU seconds of the command and of the server; on an idle machine of two cores they overlap."""
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name, mlflow_server(Path(name) / "server") as server:
        study = Path(name) / "study"
        write_study(study, _TRIALS)
        env = {**os.environ, "MLFLOW_TRACKING_URI": server.uri}
        command = [sys.executable, "-m", "autotune_nb.cli", "export", str(study), "--as", "mlflow"]
        before, client_before = _cpu_s(server), _children_s()
        sent = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        assert sent.startswith(f"{_TRIALS} trials sent"), sent
        client_s, server_s = _children_s() - client_before, _cpu_s(server) - before
    note = f"(the server's CPU time for {_TRIALS} trials of 3 levels; the command's is {client_s:.1f} s)"
    return [Figure("export_to_mlflow", server_s, _GOAL_S, note, "s")]


def _cpu_s(server: MlflowServer) -> float:
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
