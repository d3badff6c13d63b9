"""Runs genai-bench without its start-up time: the asyncio client of ``_fork_server.py``."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotune_nb.bench._program import find_program
from autotune_nb.bench._scripts import script_source
from autotune_nb.errors import SetupError

_START_S = 180.0
#: Variables that genai-bench would write into its logs and its results.
_SECRETS = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL", re.IGNORECASE)
_ALLOWED = ("HF_TOKEN", "TOKENIZERS_PARALLELISM")


def find_genai_bench(executable: str) -> str:
    """Return the program's path. Raises SetupError if there is none."""
    return find_program(
        executable, "pip install 'autotune_nb[local]', or set its path (it may be installed in its own environment)"
    )


def python_of(script: str) -> str | None:
    """Return the Python of genai-bench's console script, from its first line; None if it is another file."""
    try:
        with Path(script).open("rb") as file:
            head = file.read(4096).decode("utf-8", errors="replace")
    except OSError:
        return None
    if "genai_bench" not in head:
        return None
    first, _, rest = head.partition("\n")
    words = first.removeprefix("#!").split()
    if not first.startswith("#!") or not words:
        return None
    if words[0] == "/bin/sh":
        # If the path is long, the first line starts a shell, and the second line starts Python.
        match = re.search(r"'''exec' \"?([^\" ]+)\"?", rest)
        return match.group(1) if match else None
    return shutil.which(words[-1]) if Path(words[0]).name == "env" else words[0]


def bench_environment() -> dict[str, str]:
    """Return this process's environment without the variables that genai-bench would write into its logs."""
    kept = {k: v for k, v in os.environ.items() if k in _ALLOWED or not _SECRETS.search(k)}
    # No proxy for a local server.
    local = ",".join(filter(None, [os.environ.get("no_proxy"), "127.0.0.1", "localhost", "::1"]))
    return {
        **kept,
        "ENABLE_UI": "false",
        "TOKENIZERS_PARALLELISM": "false",
        "no_proxy": local,
        "NO_PROXY": local,
    }


class BenchProcess:
    """One process of genai-bench, the leader of its process group."""

    def __init__(self, pid: int, ended: asyncio.Future[int]) -> None:
        self.pid = pid
        self._ended = ended

    @property
    def exit_code(self) -> int | None:
        return self._ended.result() if self._ended.done() and not self._ended.cancelled() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def kill(self) -> None:
        """Send SIGKILL to its group without waiting."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self.exit_code is None:
            # A child that was just forked does not lead a group yet.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)

    async def terminate(self) -> None:
        """Kill its group and wait for its end. No time to stop by itself is needed: the level files are complete."""
        self.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await self.wait()


class ForkClient:
    """The client of a process that has imported genai-bench and forks a child per command line."""

    def __init__(self, process: asyncio.subprocess.Process, version: str) -> None:
        self._process = process
        self._ids = itertools.count()
        self._started: dict[int, asyncio.Future[int]] = {}
        self._ended: dict[int, asyncio.Future[int]] = {}
        self.version = version
        self._reader = asyncio.ensure_future(self._read())

    @classmethod
    async def start(cls, python: str, tokenizer: str, *, labels: dict[str, str], trusted: bool = False) -> ForkClient:
        """Start the fork server: it imports genai-bench and loads the tokenizer. Raises SetupError with its output."""
        process = await asyncio.create_subprocess_exec(
            python,
            *("-c", await asyncio.to_thread(script_source, "_fork_server.py")),
            tokenizer,
            *(["trusted"] if trusted else []),
            env={**bench_environment(), **labels},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=1 << 20,
        )
        errors: deque[str] = deque(maxlen=20)
        drain = asyncio.ensure_future(_drain(process, errors))
        try:
            async with asyncio.timeout(_START_S):
                assert process.stdout is not None
                line = await process.stdout.readline()
                if not line:
                    await process.wait()
                    await drain
        except BaseException as error:
            process.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                raise SetupError(
                    f"genai-bench did not start within {_START_S:g} s", field="benchmark.executable"
                ) from None
            raise
        if not line:
            raise SetupError(
                "genai-bench cannot be imported: " + "; ".join(list(errors)[-3:]),
                field="benchmark.executable",
            )
        greeting = json.loads(line)
        if greeting["tokenizer_error"]:
            process.kill()
            await process.wait()
            if "trust_remote_code" in greeting["tokenizer_error"]:
                raise SetupError(
                    f"the tokenizer {tokenizer!r} comes with code of its own; read that code, and allow it with "
                    "model.trust_remote_code: true",
                    field="model.tokenizer",
                )
            raise SetupError(
                f"the tokenizer {tokenizer!r} cannot be loaded; name a folder or a hub name "
                f"({greeting['tokenizer_error']})",
                field="model.tokenizer",
            )
        return cls(process, greeting["ready"])

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._reader.done()

    async def run(
        self, argv: Sequence[str], *, log: Path, env: dict[str, str], seed: int, plan: dict[str, Any]
    ) -> BenchProcess:
        """Start one command line. Raises ConnectionError if the fork server has ended."""
        if not self.alive:
            raise ConnectionError("genai-bench's fork server has ended")
        number = next(self._ids)
        loop = asyncio.get_running_loop()
        started, ended = loop.create_future(), loop.create_future()
        self._started[number], self._ended[number] = started, ended
        job = {"id": number, "argv": list(argv), "env": env, "log": str(log), "seed": seed, "plan": plan}
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(job) + "\n").encode())
        try:
            return BenchProcess(await asyncio.shield(started), ended)
        except asyncio.CancelledError:
            # The child is forked nevertheless, and must not put load on the server.
            started.add_done_callback(lambda pid: None if pid.exception() else BenchProcess(pid.result(), ended).kill())
            raise

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message: dict[str, Any] = json.loads(line)
            if "pid" in message:
                self._started.pop(message["id"]).set_result(message["pid"])
            else:
                self._ended.pop(message["id"]).set_result(message["exit"])
        for future in self._started.values():
            if not future.done():
                future.set_exception(ConnectionError("genai-bench's fork server has ended"))
        for future in self._ended.values():
            if not future.done():
                future.set_result(-signal.SIGKILL)

    async def close(self) -> None:
        """End the fork server and its children."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader


async def _drain(process: asyncio.subprocess.Process, errors: deque[str]) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        text = line.decode(errors="replace").strip()
        if text:
            errors.append(text[:400])


async def start_command(command: Sequence[str], *, log: Path, env: dict[str, str]) -> BenchProcess:
    """Start genai-bench as a separate command, if its Python cannot be determined."""
    starting = asyncio.ensure_future(_start_command(command, log, env))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # asyncio would kill the command alone, and leave the processes that it has started.
        while not starting.done():
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await asyncio.shield(starting)
        if starting.exception() is None:
            await starting.result().terminate()
        raise


async def _start_command(command: Sequence[str], log: Path, env: dict[str, str]) -> BenchProcess:
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**bench_environment(), **env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    return BenchProcess(process.pid, asyncio.ensure_future(process.wait()))
