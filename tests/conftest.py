"""What every test may use: a task's plain data, a model of random weights, a study in a folder of its own."""

from __future__ import annotations

import copy
import json
import os
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import hypothesis
import psutil
import pytest
import sqlalchemy.engine
import sqlalchemy.event

from autotune_nb.engines.random_model import write_random_model
from autotune_nb.task.sections import RandomWeights
from tests.kubernetes.fixtures import (
    _cluster_starts_early,
    access,
    cluster,
    cluster_scoped,
    kubeconfig,
    namespace,
    proxy,
    starting_cluster,
)
from tests.postgres import postgres, postgres_server
from tests.schedule import (
    pytest_addoption,
    pytest_collection,
    pytest_collection_finish,
    pytest_collection_modifyitems,
    pytest_xdist_make_scheduler,
)
from tests.stubs import World, until

# Under nohup the tests' own children would inherit that hang-ups are ignored.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

__all__ = [
    "_cluster_starts_early",
    "access",
    "cluster",
    "cluster_scoped",
    "kubeconfig",
    "namespace",
    "postgres",
    "postgres_server",
    "proxy",
    "pytest_addoption",
    "pytest_collection",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_xdist_make_scheduler",
    "starting_cluster",
]

os.environ["HF_HUB_OFFLINE"] = "1"
hypothesis.settings.register_profile("quick", deadline=None, max_examples=8)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=50)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

#: Slow enough that a reply of eight tokens takes milliseconds: genai-bench gives no time per token for one that takes
#: under a millisecond, and such a level is rightly invalid.
SMALL = RandomWeights(layers=12, hidden_size=384, feed_forward_size=1024, context_length=2048)


@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "connect")
def _wait_for_no_disk(connection: Any, _: object) -> None:
    """No test cuts the power, and what a killed process wrote stays without it: half of a study's time is fsync."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(scope="session", autouse=True)
def _optuna_reads_its_migrations_once() -> Iterator[None]:
    """Optuna reads them whenever it opens a database, which takes half of the time, and they never change."""
    from optuna.storages._rdb.storage import _VersionManager

    read = _VersionManager._create_alembic_script

    by_url: dict[str, Any] = {}

    def once(manager: Any) -> Any:
        if manager.url not in by_url:
            by_url[manager.url] = read(manager)
        return by_url[manager.url]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_VersionManager, "_create_alembic_script", once)
        yield


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The GGUF file of a small model of random weights, a tokenizer folder beside it; one for all test workers."""
    root = tmp_path_factory.getbasetemp()
    shared = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "small-model"
    with filelock.FileLock(f"{shared}.lock"):
        model, _ = write_random_model(SMALL, shared)
    return model


MINIMAL: dict[str, Any] = {
    "name": "test",
    "model": "model.gguf",
    "engine": "llama_cpp",
    "parameters": {"threads": [1, 2], "batch_size": {"type": "int", "low": 32, "high": 512, "log": True}},
    "workload": {"scenarios": ["D(16,8)"], "concurrency": [1, 2], "seconds_per_level": 2, "requests_per_level": 4},
    "objective": "maximize output_tokens_per_s",
}


@pytest.fixture
def task_data() -> dict[str, Any]:
    """A valid task as plain data; the test's own copy."""
    return copy.deepcopy(MINIMAL)


@pytest.fixture
def make_task(task_data: dict[str, Any]) -> Callable[..., Any]:
    """Makes a Task out of the minimal one with some top-level fields replaced."""
    from autotune_nb.task.task import Task

    def make(**changes: Any) -> Any:
        return Task.parse({**task_data, **changes})

    return make


@pytest.fixture
def world(tmp_path: Path, task_data: dict[str, Any]) -> Iterator[World]:
    """Trials over a stub engine, well under a second each; a run that a test leaves is stopped, and nothing stays."""
    from autotune_nb.run import live_run

    world = World(tmp_path, task_data)
    yield world
    run = live_run(world.folder)
    if run is not None:
        run.stop(now=True, wait_s=20)
    until(world.all_ended)


@pytest.fixture
def real_task(small_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a task file for the real llama.cpp server and the real genai-bench, quick enough for a test.

    With one thread: on a busy machine several wait for one another actively, for a second a request.
    """

    def write(**changes: Any) -> Path:
        task: dict[str, Any] = {
            "name": "e2e",
            "model": {"id_or_path": str(small_model), "served_name": "tiny"},
            "engine": {"kind": "llama_cpp", "args": {"ctx_size": 2048, "threads": 1}},
            "parameters": {"threads_http": [1, 2], "parallel": [1, 2], "flash_attn": ["on", "off"]},
            "workload": {
                "scenarios": ["D(16,8)"],
                "concurrency": [1, 2],
                # The requests end a level; the seconds only on a machine that is overloaded.
                "seconds_per_level": 90,
                "requests_per_level": 4,
                # Neither for precision nor for the limit.
                "precision": None,
                "max_seconds_per_level": 1,
            },
            "objective": "maximize output_tokens_per_s",
            "limits": ["ttft_p99_s <= 60"],
            "strategy": {"sampler": "grid"},
            "budget": {"trials": 2},
            # The answers take longer than the levels.
            "quality": False,
            "deadlines": {"ready_s": 60, "stop_s": 5},
        }
        file = tmp_path / "task.json"
        file.write_text(json.dumps({**task, **changes}))
        return file

    return write


@pytest.fixture
def short_tmp() -> Any:
    """A temporary folder with a short path."""
    with tempfile.TemporaryDirectory(prefix="at-") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _idle_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests' own load not be reported as that of a busy machine."""
    monkeypatch.setattr(psutil, "getloadavg", lambda: (0.1, 0.1, 0.1))
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu=False: [])
