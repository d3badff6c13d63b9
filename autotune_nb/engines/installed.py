"""Asks an installed engine for its flags, and keeps the answer until another version is installed."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import platformdirs

from autotune_nb.engines import _print_flags
from autotune_nb.engines._help_text import read_help
from autotune_nb.engines.base import Engine
from autotune_nb.engines.flag import Flag
from autotune_nb.engines.schema import EngineSchema, InstalledFlag, flag_of_action
from autotune_nb.errors import SetupError

#: vLLM imports for a minute on a slow machine.
_WITHIN_S = 600.0
_FEWEST = 10
_OWN = "autotune_nb."
_VERSION = re.compile(r"version:?\s*v?(\d[\w.+-]*(?: \([0-9a-f]+\))?)")


def ask_program(engine: Engine, program: Sequence[str]) -> EngineSchema:
    """Return the flags of the engine that ``program`` starts: of its parser where it is Python, else of its help text.

    Raises SetupError if the program does not print them.
    """
    python = _python_of(program)
    if python is not None and engine.module:
        return _asked(engine, [python], program)
    return _from_help(engine, program, program, _stamp(Path(program[0])))


def ask_image(engine: Engine, image: str, client: Sequence[str]) -> EngineSchema:
    """Return the flags of the engine in a container image; ``client`` is docker, podman or nerdctl.

    Raises SetupError if the image does not have the engine, or the client does not work.
    """
    identity = _run([*client, "image", "inspect", "--format", "{{.Id}}", image], f"{client[0]} image inspect").strip()
    run = [*client, "run", "--rm", "--network", "none"]
    if engine.module and not engine.module.startswith(_OWN):
        return replace(_asked(engine, [*run, "--entrypoint", "python3", image], (image,)), identity=identity)
    return _from_help(engine, [*run, image], (image,), identity)


def _asked(engine: Engine, python: Sequence[str], program: Sequence[str]) -> EngineSchema:
    # As a file, it would import this folder's vllm.py and sglang.py.
    code = Path(_print_flags.__file__).read_text(encoding="utf-8")
    text = _run([*python, "-c", code, engine.module, ",".join(engine.packages)], " ".join(program))
    lines = [line for line in text.splitlines() if line.startswith(_print_flags.MARK)]
    if not lines:
        raise SetupError(
            f"{shlex.join(program)} printed no flags of {engine.name}, but {text[-200:]!r}", field="engine.executable"
        )
    found = json.loads(lines[-1][len(_print_flags.MARK) :])
    flags = tuple(flag_of_action(action) for action in found["flags"])
    # xllamacpp's server is this package's, whose file changes without a new version of xllamacpp.
    own = engine.module.startswith(_OWN)
    identity = _stamp(_file_of(engine.module)) if own else found["metadata"] or ""
    return EngineSchema(engine.name, found["version"], flags, found["prefixes"], tuple(program), identity)


def _from_help(engine: Engine, command: Sequence[str], program: Sequence[str], identity: str) -> EngineSchema:
    text = _run([*command, *engine.help_args], shlex.join(program))
    flags = read_help(text)
    if len(flags) < _FEWEST:
        shown = f"{len(flags)} flags" if flags else f"none; it begins with {text[:120]!r}"
        raise SetupError(
            f"the help text of {shlex.join(program)} lists {shown}: is it {engine.name}?", field="engine.executable"
        )
    version = _VERSION.search(_run([*command, "--version"], shlex.join(program), check=False))
    return EngineSchema(engine.name, version[1] if version else None, flags, False, tuple(program), identity)


def _run(command: Sequence[str], shown: str, *, check: bool = True) -> str:
    """Return what a command prints. Raises SetupError if it cannot be started, fails or takes too long."""
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=_WITHIN_S,
            env=environment, check=False,
        )  # fmt: skip
    except OSError as error:
        raise SetupError(f"{shown} cannot be started: {error}", field="engine.executable") from error
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"{shown} printed no flags within {_WITHIN_S:g} s", field="engine.executable") from error
    if check and done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = lines[-1] if lines else "without a word"
        raise SetupError(f"{shown} failed with exit code {done.returncode}: {reason}", field="engine.executable")
    return done.stdout if check else done.stdout + done.stderr


def _python_of(program: Sequence[str]) -> str | None:
    """Return the Python that executes a program; None if the program is no Python script."""
    path = Path(program[0])
    if path.name.startswith("python"):
        return program[0]
    try:
        with path.open("rb") as file:
            head = file.read(1024).decode("utf-8", "replace")
    except OSError:
        return None
    # pip writes the second form where the path is too long for the first line.
    found = re.match(r"#!\s*(\S*python[\d.]*)\s", head) or re.match(
        r"#!/bin/sh\s+'''exec' \"?([^\"]+?)\"? \"\$0\"", head
    )
    return found[1] if found else None


def _file_of(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    return Path(spec.origin) if spec is not None and spec.origin else Path()


def _stamp(file: Path) -> str:
    """Return the path of a file with its size and time, which change with its version."""
    try:
        status = file.resolve().stat()
    except OSError:
        return ""
    return f"{file.resolve()} {status.st_size} {status.st_mtime_ns}"


def keep(schema: EngineSchema) -> Path:
    """Keep a schema for tasks whose engine is started by the same program; return its file. Raises SetupError."""
    file = _file(schema.engine, schema.program)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(schema.to_dict()), encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise SetupError(f"the flags of {schema.title} cannot be kept in {file.parent}: {error}") from error
    return file


def kept_schema(engine: str, program: Sequence[str]) -> EngineSchema | None:
    """Return what ``keep`` has for this program; None if there is none, or the program has changed since."""
    found = shutil.which(program[0])
    if found is None:
        return None
    file = _file(engine, (str(Path(found).absolute()), *program[1:]))
    try:
        schema = _read(file, file.stat().st_mtime_ns)
    except (OSError, ValueError, SetupError):
        return None
    return schema if schema.identity and _still(schema.identity) else None


def kept_schema_of_image(engine: str, image: str) -> EngineSchema | None:
    """Return what ``keep`` has for an image of this name, which may be another one by now; None if there is none."""
    file = _file(engine, (image,))
    try:
        return _read(file, file.stat().st_mtime_ns)
    except (OSError, ValueError, SetupError):
        return None


@functools.lru_cache(maxsize=8)
def _read(file: Path, _mtime_ns: int) -> EngineSchema:
    return EngineSchema.from_dict(json.loads(file.read_text(encoding="utf-8")))


def _still(identity: str) -> bool:
    """Return whether the version is still installed: its package's metadata, or its file as it was."""
    path, _, rest = identity.rpartition(" ")
    if not rest.isdigit():
        return Path(identity).is_dir()
    return _stamp(Path(path.rpartition(" ")[0])) == identity


def _file(engine: str, program: Sequence[str]) -> Path:
    name = hashlib.sha256(json.dumps([engine, *program]).encode()).hexdigest()[:16]
    return platformdirs.user_cache_path("autotune_nb") / "engines" / f"{engine}-{name}.json"


def with_schema(engine: Engine, schema: EngineSchema) -> Engine:
    """Return the engine's catalog with what the installed version accepts: its choices, and its further flags."""
    described: set[str] = set()

    def merged(flags: Iterable[Flag]) -> tuple[Flag, ...]:
        result = []
        for flag in flags:
            # An older version may have only a former name.
            installed = next(filter(None, map(schema.exact, (flag.name, *flag.former))), None)
            if installed is not None:
                described.add(installed.name)
                result.append(_merged(flag, installed))
        return tuple(result)

    flags, others = merged(engine.flags), merged(engine.other_flags)
    further = tuple(one.to_flag() for one in schema.flags if one.name not in described)
    lacking = set(schema.lacks((*engine.flags, *engine.other_flags)))
    rules = tuple(text for text in engine.rules if lacking.isdisjoint(re.findall(r"[a-z_]+", text)))
    return replace(engine, flags=flags, other_flags=(*others, *further), rules=rules, installed=schema)


def _merged(flag: Flag, installed: InstalledFlag) -> Flag:
    """Return the catalog's flag with the installed program's spellings and choices."""
    aliases = tuple(sorted((installed.names | {*flag.former, flag.name}) - {flag.name}))
    former = tuple(one for one in flag.former if one in installed.names)
    flag = replace(flag, aliases=tuple(one for one in aliases if one not in flag.former), former=former)
    if flag.name not in installed.names:
        flag = replace(flag, spelling=installed.spellings[0])
    if flag.kind != "choice" or not installed.choices:
        return flag
    known = {str(one) for one in installed.choices}
    values = tuple(one for one in flag.values if str(one) in known)
    suggested = {str(one) for one in values}
    others = tuple(one for one in installed.choices if str(one) not in suggested)
    kept = () if installed.all_choices else flag.other_values
    return replace(flag, values=values, other_values=(*kept, *others))
