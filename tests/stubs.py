"""Stubs for tests: an engine that is a small HTTP server, and a benchmark that copies prepared level files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psutil

from autotune_nb.deploy import DeployRequest, LocalDeployer
from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.runner.proposals import Proposals
from autotune_nb.study import Study, StudyFolder
from autotune_nb.task.task import Task

T = TypeVar("T")

#: After so many seconds what a test waits for hangs, also on a machine that is overloaded.
HANGS_S = 60.0

#: The stub engine, on raw sockets so that it starts in about 30 ms. Its third argument is a list of behaviours.
SERVER = r"""
import os, signal, socket, sys, threading, time
began = time.monotonic()
port, pids, behaviours = int(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
def record_pid():
    with open(pids, "a") as file:
        file.write(f"{os.getpid()}\n")
def values(prefix):
    return [one[len(prefix):] for one in behaviours if one.startswith(prefix)]
if "stubborn" in behaviours:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
record_pid()
for line in values("print:"):
    print(line.replace("_", " ").replace("<ESC>", "\x1b"), flush=True)
for name in values("env:"):
    print(f"{name}={os.environ.get(name)}", flush=True)
if "default-fails" in behaviours and not sys.argv[4:]:
    sys.exit(3)
for code in values("exit:"):
    sys.exit(int(code))
if "hang" in behaviours:
    time.sleep(600)
if "children" in behaviours and os.fork() == 0:
    record_pid()
    if os.fork() == 0:
        record_pid()
    time.sleep(600)
detached_server = "detached-server" in behaviours
if "detached-child" in behaviours or detached_server:
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        record_pid()
        if not detached_server:
            time.sleep(600)
    else:
        os.waitpid(child, 0)
        if detached_server:
            time.sleep(600)
COMPLETION = b'{"choices": [{"message": {"content": "noise"}}]}'
if "answers" in behaviours:
    # With a quantized cache it answers something else.
    word = '{"token": "%s", "logprob": -0.1}' % ("wrong" if "q4_0" in sys.argv else "right")
    choice = '{"message": {"content": ""}, "logprobs": {"content": [%s]}}' % ",".join([word] * 4)
    COMPLETION = f'{{"choices": [{choice}]}}'.encode()
posts = 0
def reply(status, body, kind="application/json"):
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
def serve(peer):
    global posts
    with peer:
        data = b""
        while b"\r\n\r\n" not in data:
            more = peer.recv(65536)
            if not more:
                return
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                while len(body) < int(line.split(b":")[1]):
                    body += peer.recv(65536)
        for name in values("key:"):
            if f"Authorization: Bearer {os.environ[name]}".encode() not in head:
                peer.sendall(reply(401, b"who are you?"))
                return
        if data.startswith(b"POST"):
            posts += 1
            for limit in values("dies-after:"):
                if posts > int(limit):
                    print("terminate called after throwing: the engine gave up", flush=True)
                    os._exit(3)
            for limit in values("core-dies-after:"):
                if posts > int(limit):
                    print("RuntimeError: CUDA error: an illegal memory access was encountered", flush=True)
                    peer.sendall(reply(500, b"EngineCore encountered an issue"))
                    if "front-end-stays" not in behaviours:
                        time.sleep(1.5)
                        os._exit(3)
                    return
            silent = any(posts > int(limit) for limit in values("silent-after:"))
            if silent:
                time.sleep(600)
            if "probe-500" in behaviours:
                peer.sendall(reply(500, b"the engine is overwhelmed"))
            elif "probe-html" in behaviours:
                peer.sendall(reply(200, b"<html>welcome to nginx</html>", "text/html"))
            elif "probe-hang" in behaviours:
                time.sleep(600)
            elif "probe-broken" in behaviours:
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
            else:
                peer.sendall(reply(200, COMPLETION))
        elif "metrics" in behaviours and b"GET /metrics" in data:
            lines = f"llamacpp:requests_processing 2\nllamacpp:tokens_predicted_total {8 * posts}\n"
            peer.sendall(reply(200, lines.encode(), "text/plain"))
        elif "models-only" in behaviours and b"/v1/models" not in data:
            peer.sendall(reply(404, b"{}"))
        elif "loads-for-a-second" in behaviours and b"/health" in data and time.monotonic() - began < 1:
            peer.sendall(reply(503, b"loading"))
        elif "unhealthy" in behaviours:
            peer.sendall(reply(503, b"loading"))
        else:
            peer.sendall(reply(200, b"{}"))
sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind(("127.0.0.1", port))
sock.listen(64)
while True:
    threading.Thread(target=serve, args=(sock.accept()[0],), daemon=True).start()
"""


class StubEngine:
    """The stub engine's script in a folder, and the pids of all processes that it has started."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.script = folder / "server.py"
        self.script.write_text(SERVER)
        self._pids = folder / "pids"

    def argv(self, port: str | int, *behaviours: str) -> list[str]:
        """Return the command line; an item of ``behaviours`` is one that ``SERVER`` has a branch for."""
        return [sys.executable, "-I", "-S", str(self.script), str(port), str(self._pids), ",".join(("up", *behaviours))]

    def engine(self, *behaviours: str) -> dict[str, Any]:
        """Return the ``engine`` section of a task."""
        return {"kind": "command", "command": self.argv("{port}", *behaviours)}

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in self._pids.read_text().split()] if self._pids.exists() else []

    @property
    def alive(self) -> list[int]:
        """The pids of the processes that still run."""
        return [pid for pid in self.pids if running(pid)]


def running(pid: int) -> bool:
    """Return whether a process runs. A zombie does not."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def group_alive(group: int) -> bool:
    """Return whether any process of a group runs."""
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def until(condition: Callable[[], Any], *, within_s: float = HANGS_S) -> Any:
    """Poll until the condition is true and return its value. Fails the test after ``within_s`` seconds."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"the condition is still false after {within_s:g} s"
        time.sleep(0.02)


async def until_async(condition: Callable[[], Any], *, within_s: float = HANGS_S) -> Any:
    """Poll like ``until``, on an event loop."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"the condition is still false after {within_s:g} s"
        await asyncio.sleep(0.02)


def in_loop(work: Coroutine[Any, Any, T], *, within_s: float = 2 * HANGS_S) -> T:
    """Run a coroutine on a new event loop and return its result. Raises TimeoutError after ``within_s`` seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(within_s):
            return await work

    return asyncio.run(bounded())


def level_data(
    scenario: str = "D(16,8)",
    concurrency: int = 1,
    *,
    tokens_per_s: float = 100.0,
    completed: int = 10,
    failed: int = 0,
    ttft_s: float = 0.05,
    unit: str = "s",
) -> dict[str, Any]:
    """Return the content of one level's file, as genai-bench writes it."""
    factor = 1000.0 if unit == "ms" else 1.0
    names = ("min", "max", "mean", "stddev", "sum", "p25", "p50", "p75", "p90", "p95", "p99")

    def stat(value: float) -> dict[str, float]:
        return dict.fromkeys(names, value)

    return {
        "_time_unit": unit,
        "aggregated_metrics": {
            "scenario": scenario,
            "num_concurrency": concurrency,
            "batch_size": 1,
            "iteration_type": "num_concurrency",
            "run_duration": 2.0,
            "mean_output_throughput_tokens_per_s": tokens_per_s,
            "mean_input_throughput_tokens_per_s": 2 * tokens_per_s,
            "mean_total_tokens_throughput_tokens_per_s": 3 * tokens_per_s,
            "requests_per_second": 5.0,
            "error_codes_frequency": {"500": failed} if failed else {},
            "error_rate": 0.0,
            "num_error_requests": failed,
            "num_completed_requests": completed,
            "num_requests": completed + failed,
            "stats": {
                "ttft": stat(ttft_s * factor),
                "tpot": stat(0.01 * factor),
                "e2e_latency": stat(0.2 * factor),
                "output_latency": stat(0.1 * factor),
                "output_inference_speed": stat(80.0),
                "num_input_tokens": stat(16),
                "num_output_tokens": stat(8),
            },
        },
        "individual_request_metrics": [],
    }


def level_file(concurrency: int) -> str:
    """Return the name of one level's file, as genai-bench writes it."""
    return f"D16_8_text-to-text_num_concurrency_{concurrency}_time_2s.json"


def require_linear(work: Callable[[int], object], size: int) -> None:
    """Fail if four times the size takes over nine times the CPU time. Quadratic work takes sixteen times."""
    durations_s = []
    for factor in (1, 4):
        began = time.process_time()
        work(factor * size)
        durations_s.append(time.process_time() - began)
    small, large = durations_s
    assert large < 9 * small + 0.2, f"{small:.2f} s for {size}, {large:.2f} s for {4 * size}"


#: A load that the real genai-bench completes quickly, also on a busy machine.
IN_CLUSTER_LOAD: dict[str, Any] = {
    "scenarios": ["D(16,8)"],
    "concurrency": [1, 2],
    "seconds_per_level": 20,
    "requests_per_level": 4,
    "precision": None,
    "min_completed_requests": 2,
}


class FakeBench:
    """An executable in place of genai-bench that copies level files. It is a shell script, so it cannot be imported."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.script = folder / "fake-bench"
        self.levels = folder / "levels"
        self.levels.mkdir()
        self._pids = folder / "bench-pids"

    def write(self, levels: Mapping[str, dict[str, Any] | str], *, before: str = "", after: str = "") -> str:
        """Write the executable and return its path. ``before`` and ``after`` are shell lines around the copying."""
        for file in self.levels.iterdir():
            file.unlink()
        for name, data in levels.items():
            (self.levels / name).write_text(data if isinstance(data, str) else json.dumps(data))
        self.script.write_text(
            "#!/bin/sh\n"
            f'echo $$ >> "{self._pids}"\n'
            'while [ $# -gt 0 ]; do case "$1" in\n'
            "--experiment-base-dir) base=$2; shift;; --experiment-folder-name) name=$2; shift;; --api-base) url=$2;;\n"
            "esac; shift; done\n"
            'out="$base/$name"; mkdir -p "$out"\n'
            f'levels="{self.levels}"\n{before}\n'
            f'for file in "$levels"/*; do [ -e "$file" ] && cp "$file" "$out/"; done\n{after}\n'
        )
        self.script.chmod(0o755)
        return str(self.script)

    def both_levels(self, **changes: Any) -> dict[str, dict[str, Any] | str]:
        """Return the files of the two levels of the tests' task."""
        return {level_file(n): level_data(concurrency=n, **changes) for n in (1, 2)}

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in self._pids.read_text().split()] if self._pids.exists() else []


def stub_task(
    data: dict[str, Any], engine: StubEngine, *behaviours: str, bench: str | None = None, **changes: Any
) -> Task:
    """Return a minimal task with a stub engine and, if given, a benchmark's executable."""
    merged: dict[str, Any] = {
        **data,
        "model": "stub",
        "engine": engine.engine(*behaviours),
        "deadlines": {"ready_s": HANGS_S, "stop_s": 2, "probe_s": HANGS_S},
        "budget": {"baseline": False},
        **changes,
    }
    if bench is not None:
        merged["benchmark"] = {"executable": bench, **merged.get("benchmark", {})}
    return Task.parse(merged)


def deployer_for(task: Task, folder: Path, *, study_id: str = "test-study") -> LocalDeployer:
    return LocalDeployer(task, engine_for(task), study_id=study_id, folder=folder)


def deploy_request(folder: Path, *, trial: int = 0, params: Mapping[str, Any] | None = None) -> DeployRequest:
    folder.mkdir(parents=True, exist_ok=True)
    return DeployRequest(trial, params or {}, folder)


def open_study(task: Task, folder: Path | StudyFolder, *, storage: str | None = None) -> Study:
    """Open a study. A folder that is given as a path is created first."""
    if isinstance(folder, Path):
        folder = StudyFolder(folder)
        folder.create()
    engine = engine_for(task)
    return Study.open(task, space_for(task, engine), folder, storage=storage, propose=Proposals.of(task, engine))


def contents_below(folder: Path) -> dict[Path, bytes]:
    """Return the content of every file below a folder."""
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def package_env() -> dict[str, str]:
    """Return an environment in which a subprocess can import the tests."""
    root = str(Path(__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


class World:
    """What a test needs to run a study: its folder, a stub engine, a fake benchmark, and tasks that use both."""

    def __init__(self, folder: Path, data: dict[str, Any]) -> None:
        self.folder = folder / "study"
        self.stub = StubEngine(folder / "stub")
        self.bench = FakeBench(folder / "fake")
        self._data = data

    def task(
        self,
        *behaviours: str,
        levels: Mapping[str, dict[str, Any] | str] | None = None,
        before: str = "",
        after: str = "",
        trials: int = 2,
        budget: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Task:
        """Return a task whose trials take well under a second; ``before`` and ``after`` are lines of the benchmark."""
        executable = self.bench.write(
            self.bench.both_levels() if levels is None else levels, before=before, after=after
        )
        changes["budget"] = {"baseline": False, "trials": trials, **(budget or {})}
        changes.setdefault("strategy", "random")
        return stub_task(self._data, self.stub, *behaviours, bench=executable, **changes)

    @property
    def first_level(self) -> str:
        """A line of the benchmark that writes the first level."""
        return f'cp "$levels/{level_file(1)}" "$out/"'

    @property
    def kill_engine(self) -> str:
        """A line of the benchmark that makes the engine crash."""
        return f'kill -SEGV $(tail -n 1 "{self.stub.script.parent}/pids")'

    def all_ended(self) -> bool:
        """Return whether no process of the engine or the benchmark runs."""
        return not self.stub.alive and not any(map(group_alive, self.bench.pids))

    def results(self) -> dict[str, Any]:
        """Return the content of ``results.json``."""
        data: dict[str, Any] = json.loads((self.folder / "results.json").read_text())
        return data
