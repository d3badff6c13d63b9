"""A stand-in for docker, podman and nerdctl: its containers are processes, and it fails as it is told to."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

#: ``HOME/calls`` gets each command line, ``HOME/fail.json`` has the exit code and the message of a command that fails,
#: ``HOME/state.json`` what ``container inspect`` adds to a container's state.
SCRIPT = r"""
import json, os, signal, subprocess, sys, time
home, args = os.path.dirname(os.path.abspath(__file__)), sys.argv[1:]
with open(home + "/calls", "a") as file:
    file.write(json.dumps(args) + "\n")
def read(name):
    try:
        with open(f"{home}/{name}") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}
def write(name, data):
    with open(f"{home}/{name}.new{os.getpid()}", "w") as file:
        json.dump(data, file)
    os.rename(f"{home}/{name}.new{os.getpid()}", f"{home}/{name}")
def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
def containers():
    found = [read(f"containers/{name}") for name in os.listdir(home + "/containers") if name.endswith(".json")]
    return [one for one in found if one]
def named(name):
    found = next((one for one in containers() if name in (one["id"], one["name"])), None)
    if found is None:
        sys.exit("Error response from daemon: No such container: " + name)
    return found
def end(one, number):
    while alive(one["pid"]):
        os.kill(one["pid"], number)
        time.sleep(0.01)
def call(verb):
    for key in (verb, "every"):
        if key in read("fail.json"):
            code, message = read("fail.json")[key]
            if verb.endswith("inspect"):
                print("[]")
            print(message, file=sys.stderr)
            sys.exit(code)
if args == ["--version"]:
    print(read("version.json")["text"])
    sys.exit(0)
verb = " ".join(args[:2]) if args[0] in ("image", "container") else args[0]
call(verb)
rest = args[len(verb.split()):]
if verb == "image inspect":
    image = read("images.json").get(rest[-1].removeprefix("sha256:")) or next(
        (one for one in read("images.json").values() if one["Id"] == rest[-1]), None)
    if image is None:
        sys.exit("Error response from daemon: No such image: " + rest[-1])
    print(json.dumps([image]))
elif verb == "pull":
    print("0b5f3a: Pulling fs layer\n0b5f3a: Pull complete")
    write("images.json", {**read("images.json"), rest[-1]: {"Id": "sha256:" + "a" * 64, "Config": {}}})
elif verb == "ps":
    key, _, value = rest[-1].removeprefix("label=").partition("=")
    print("\n".join(one["id"] for one in containers() if one["labels"].get(key) == value))
elif verb == "container inspect":
    one = named(rest[-1])
    state = {"Running": alive(one["pid"]), "StartedAt": one["started"], "ExitCode": one["code"], "Pid": one["pid"],
             "Status": "running" if alive(one["pid"]) else "exited", "OOMKilled": False}
    print(json.dumps([{"Id": one["id"], "Name": "/" + one["name"], "State": {**state, **read("state.json")},
                       "Config": {"Labels": one["labels"], "Image": "img"},
                       "HostConfig": {"NetworkMode": "host", "Memory": 1 << 28}}]))
elif verb == "stop":
    one = named(rest[-1])
    deadline = time.monotonic() + float(rest[1])
    if alive(one["pid"]):
        os.kill(one["pid"], signal.SIGTERM)
    while alive(one["pid"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    end(one, signal.SIGKILL)
elif verb == "kill":
    end(named(rest[-1]), signal.SIGKILL)
elif verb == "rm":
    for name in (word for word in rest if len(word) == 64):
        end(named(name), signal.SIGKILL)
        os.remove(f"{home}/containers/{name}.json")
elif verb == "run":
    options, env, labels, entrypoint = {}, dict(os.environ), {}, []
    while rest and rest[0].startswith("-"):
        name, value = rest[:2]
        rest = rest[2:]
        if name == "--env":
            key, given, text = value.partition("=")
            env[key] = text if given else os.environ.get(key, "")
        elif name == "--label":
            key, _, labels[key] = value.partition("=")
        elif name == "--entrypoint":
            entrypoint = [value]
        options[name] = value
    own = os.urandom(32).hex()
    if "slow" in read("delays.json"):
        # The daemon creates the container even if the client is ended meanwhile.
        def create(*_):
            never = "0001-01-01T00:00:00Z"
            one = {"id": own, "name": options["--name"], "labels": labels, "pid": 0, "code": 0, "started": never}
            write(f"containers/{own}.json", one)
            sys.exit(143)
        signal.signal(signal.SIGTERM, create)
        write("creating.json", {})
        time.sleep(600)
    try:
        process = subprocess.Popen([*entrypoint, *rest[1:]], env=env, start_new_session=True)
    except OSError as error:
        one = {"id": own, "name": options["--name"], "labels": labels, "pid": 0, "started": "0001-01-01T00:00:00Z",
               "code": 127}
        write(f"containers/{own}.json", one)
        print(f"docker: Error response from daemon: exec: {error.filename!r}: executable file not found in $PATH",
              file=sys.stderr)
        sys.exit(127)
    one = {"id": own, "name": options["--name"], "labels": labels, "pid": process.pid, "code": 0,
           "started": f"2026-01-01T00:00:00.{process.pid}Z"}
    write(f"containers/{own}.json", one)
    code = process.wait()
    code = code if code >= 0 else 128 - code
    if os.path.exists(f"{home}/containers/{own}.json"):
        write(f"containers/{own}.json", {**one, "code": code})
    call("end of run")
    sys.exit(code)
else:
    sys.exit(f"unknown command {args}")
"""


class FakeClient:
    """The stand-in in a folder, with an image ``engine:1``."""

    def __init__(self, folder: Path, runtime: str = "Docker version 28.2.2, build e6534b4") -> None:
        self._home = folder
        (folder / "containers").mkdir(parents=True)
        self.path = folder / "docker"
        self.path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {folder}/client.py "$@"\n')
        self.path.chmod(0o755)
        (folder / "client.py").write_text(SCRIPT)
        self._write("version.json", {"text": runtime})
        self.set_image("engine:1")

    def set_image(self, name: str, entrypoint: list[str] | None = None) -> None:
        image = {
            "Id": f"sha256:{name.encode().hex():0>64}",
            "RepoDigests": [f"{name.partition(':')[0]}@sha256:{'d' * 64}"],
        }
        self._write("images.json", {name: {**image, "Config": {"Entrypoint": entrypoint}}})

    def fail(self, **by_command: tuple[int, str]) -> None:
        """Let commands fail from now on, by name, ``every`` for all of them."""
        self._write("fail.json", {name.replace("_", " "): value for name, value in by_command.items()})

    def create_slowly(self) -> None:
        """Let each container exist only after its client has been ended."""
        self._write("delays.json", {"slow": True})

    @property
    def is_creating(self) -> bool:
        return (self._home / "creating.json").exists()

    def report(self, **state: Any) -> None:
        """Let ``container inspect`` report this of every container."""
        self._write("state.json", state)

    def _write(self, name: str, data: dict[str, Any]) -> None:
        # Renamed, since a client may be reading it.
        partial = self._home / f"{name}.partial"
        partial.write_text(json.dumps(data))
        partial.rename(self._home / name)

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self._home / "calls").read_text().splitlines()]

    @property
    def containers(self) -> list[dict[str, Any]]:
        return [json.loads(file.read_text()) for file in sorted((self._home / "containers").glob("*.json"))]

    def add_container(self, name: str, labels: dict[str, str]) -> str:
        """Add a container that has ended; return its id."""
        own = os.urandom(32).hex()
        data = {"id": own, "name": name, "labels": labels, "pid": 0, "code": 1, "started": "2026-01-01T00:00:00Z"}
        self._write(f"containers/{own}.json", data)
        return own
