"""The command-line client of a container runtime: docker, podman or nerdctl."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autotune_nb.deploy.container._errors import client_error, missing_client
from autotune_nb.errors import SetupError

RUNTIMES = ("docker", "podman", "nerdctl")
#: A daemon under load answers late; no answer at all counts as a daemon that is away.
_WITHIN_S = 120.0
_VERSION_S = 20.0
_VERSION = re.compile(r"\b(docker|podman|nerdctl)\b.*?(\d+\.\d[\w.+-]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Output:
    """What a command printed, and its exit code."""

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """What a command that failed printed; an ``inspect`` prints an empty list besides."""
        return self.stderr.strip() or self.stdout.strip()


@dataclass(frozen=True)
class ContainerClient:
    """The words that start a client, which of the three it is, and its version."""

    words: tuple[str, ...]
    runtime: str
    version: str

    @property
    def title(self) -> str:
        return f"{self.runtime} {self.version}"

    async def call(self, *args: str, within_s: float | None = _WITHIN_S) -> Output:
        """Run a command and return its output. Raises TimeoutError, and SetupError if the client cannot be started."""
        return await _call((*self.words, *args), within_s=within_s)

    async def ask(self, *args: str) -> str:
        """Run a command and return what it prints. Raises the error that its message stands for."""
        try:
            done = await self.call(*args)
        except TimeoutError:
            raise client_error(f"no answer to {shlex.join(args[:2])} within {_WITHIN_S:g} s", self.runtime) from None
        if done.code:
            raise client_error(done.text, self.runtime)
        return done.stdout

    async def inspect(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return what the runtime stores about an image or a container; None if there is none. Raises as ``ask``."""
        try:
            done = await self.call(kind, "inspect", name)
        except TimeoutError:
            raise client_error(f"no answer to {kind} inspect within {_WITHIN_S:g} s", self.runtime) from None
        if done.code:
            if _ABSENT.search(done.text):
                return None
            raise client_error(done.text, self.runtime)
        return _first(done.stdout)

    def inspect_image(self, name: str) -> dict[str, Any] | None:
        """Return what the runtime stores about an image, without an event loop; None if it cannot be read."""
        command = (*self.words, "image", "inspect", name)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
                timeout=_VERSION_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return None
        return None if done.returncode else _first(done.stdout)

    async def follow(self, *args: str, on_line: Callable[[str], None]) -> Output:
        """Run a command without a deadline, and call ``on_line`` with each line that it prints."""
        process = await asyncio.create_subprocess_exec(
            *self.words, *args,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        lines: list[str] = []
        try:
            assert process.stdout is not None
            async for raw in process.stdout:
                line = raw.decode(errors="replace").strip()
                if line:
                    lines = [*lines[-49:], line]
                    on_line(line)
            code = await process.wait()
        finally:
            await _end(process)
        return Output(code, "", "\n".join(lines))


#: Messages for an image or a container that does not exist.
_ABSENT = re.compile(
    r"no such (?:image|container|object)|image not known|no container with name|not found in (?:local|database)"
    r"|unable to inspect .*: (?:no such|.*not found)|failed to find image|image .*: not found|\bnot found$",
    re.IGNORECASE | re.MULTILINE,
)


def _first(text: str) -> dict[str, Any] | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    if isinstance(data, list):
        data = data[0] if data else None
    return data if isinstance(data, dict) else None


def find_client(runtime: str | None) -> ContainerClient:
    """Return the client of ``deploy.runtime``, or the first one on the PATH. Raises SetupError if there is none."""
    try:
        words = tuple(shlex.split(runtime)) if runtime else ()
    except ValueError as error:
        raise SetupError(f"{runtime!r} cannot be split into words: {error}", field="deploy.runtime") from None
    program = words[0] if words else next(filter(shutil.which, RUNTIMES), None)
    path = shutil.which(program) if program else None
    if path is None:
        raise missing_client(program)
    name, version = _version((path, *words[1:]))
    return ContainerClient((path, *words[1:]), name, version)


@functools.lru_cache(maxsize=8)
def _version(words: tuple[str, ...]) -> tuple[str, str]:
    """Return which client it is, by what it prints: podman may be installed as ``docker``."""
    try:
        done = subprocess.run(
            (*words, "--version"), capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
            timeout=_VERSION_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{shlex.join(words)} --version failed: {error}", field="deploy.runtime") from None
    found = _VERSION.search(done.stdout)
    if found is None:
        shown = (done.stdout or done.stderr).strip()[:120]
        raise SetupError(
            f"{shlex.join(words)} is none of {', '.join(RUNTIMES)}: --version printed {shown!r}", field="deploy.runtime"
        )
    return found[1].lower(), found[2].rstrip(",")


async def _call(command: Sequence[str], *, within_s: float | None) -> Output:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            # An interrupt of the terminal is for this process alone.
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise SetupError(f"{command[0]} cannot be started: {error}", field="deploy.runtime") from error
    try:
        async with asyncio.timeout(within_s):
            out, err = await process.communicate()
    finally:
        await _end(process)
    assert process.returncode is not None
    return Output(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()
