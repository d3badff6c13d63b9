"""A real PostgreSQL for tests: Debian's, started on a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.deploy.ports import free_port

SECRET = "hush-hush"


class Postgres:
    """A server of the test's own on the loopback. ``url`` has a password in it."""

    def __init__(self, programs: Path) -> None:
        # The server refuses to run as root.
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        self._programs = programs
        self._run: dict[str, Any] = {"check": True, "capture_output": True, "cwd": "/", **user}
        made = subprocess.run(["mktemp", "-d"], text=True, **self._run)
        self.data = Path(made.stdout.strip())
        self._password = self.data.with_name(f"{self.data.name}.password")
        self._password.write_text(SECRET)
        self._password.chmod(0o644)
        auth = ["--auth", "scram-sha-256", "--username", "team", "--pwfile", self._password]
        subprocess.run([programs / "initdb", "--pgdata", self.data, "--no-sync", *auth], **self._run)
        self.port = free_port("127.0.0.1")
        self.url = f"postgresql://team:{SECRET}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.data} -c fsync=off"
        control = [self._programs / "pg_ctl", "-D", self.data, "-o", options, "-l", self.data / "log", "-w", "start"]
        subprocess.run(control, **self._run)

    def stop(self) -> None:
        """End the server at once, as a crash does."""
        subprocess.run([self._programs / "pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop"], **self._run)

    def delete(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self.data)
        self._password.unlink()


@contextlib.contextmanager
def delayed(server: Postgres, seconds: Callable[[], float]) -> Iterator[str]:
    """Yield the URL of a proxy that passes what clients send to a server so many seconds later."""
    loop, port = asyncio.new_event_loop(), free_port("127.0.0.1")

    async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(_pass(client, to_server, seconds), _pass(from_server, to_client, lambda: 0.0))

    listening = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", port))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.url.replace(f":{server.port}/", f":{port}/")

    async def end() -> None:
        listening.close()
        own = asyncio.current_task()
        rest = [task for task in asyncio.all_tasks() if task is not own]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(end(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: Callable[[], float]) -> None:
    with contextlib.closing(writer), contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            await asyncio.sleep(seconds())
            writer.write(data)
            await writer.drain()


def programs() -> Path | None:
    """Return where initdb is: on the PATH, or where Debian puts it."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(found).parent if found else debian[-1].parent if debian else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A server that all tests of a worker share."""
    pytest.importorskip("psycopg")
    folder = programs()
    if folder is None:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql brings one")
    server = Postgres(folder)
    server.start()
    yield server
    server.delete()


@pytest.fixture
def postgres(postgres_server: Postgres) -> str:
    """The URL of a database, with a password in it."""
    return postgres_server.url
