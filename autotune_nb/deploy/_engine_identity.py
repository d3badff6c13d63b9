"""The identity of a local engine: its version from its server, its packages from its Python, its model's files."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

_ASK_S, _PACKAGES_S, _VERSION_S = 5.0, 20.0, 60.0
#: Of the packages that an engine may consist of, those that its Python has are part of the fingerprint.
_PACKAGES = (
    *("vllm", "sglang", "sgl-kernel", "sglang-kernel", "xllamacpp", "llama-cpp-python"),
    *("torch", "triton", "transformers", "flashinfer-python", "xformers", "flash-attn"),
)
_PROGRAM = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""
#: Files of this size or less are hashed as a whole; of larger ones, this much of their start.
_HASHED_BYTES = 1 << 20


async def served_version(url: str, paths: Sequence[str], headers: Mapping[str, str]) -> str | None:
    """Return the version that a server reports under one of the paths; None if it reports none."""
    timeout = aiohttp.ClientTimeout(total=_ASK_S)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        for path in paths:
            try:
                async with session.get(url + path) as reply:
                    data = json.loads(await reply.text(errors="replace")) if reply.status == 200 else None
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError):
                continue
            # llama-server's ``/props`` has a build instead.
            version = data.get("version") or data.get("build_info") if isinstance(data, dict) else None
            if isinstance(version, str) and version:
                return version[:120]
    return None


async def served_models(session: aiohttp.ClientSession, url: str) -> list[str]:
    """Return the names of the models that a server lists; empty if it lists none."""
    try:
        async with session.get(f"{url}/v1/models", timeout=aiohttp.ClientTimeout(total=_ASK_S)) as reply:
            return [str(one["id"]) for one in json.loads(await reply.text(errors="replace"))["data"]]
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, LookupError, TypeError, RecursionError):
        return []


async def engine_packages(program: Sequence[str]) -> dict[str, str]:
    """Return the versions of the packages in the Python that runs an engine; empty if it is no Python program."""
    python = await asyncio.to_thread(_python_of, program)
    if python is None:
        return {}
    # The metadata only: an import of an engine takes up to a minute.
    output = await _output((python, "-c", _PROGRAM, *_PACKAGES), within_s=_PACKAGES_S)
    try:
        found = json.loads(output or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


async def program_version(program: Sequence[str], version_args: Sequence[str]) -> str | None:
    """Return the version that an engine's program prints with these arguments; None if it prints none."""
    output = await _output((*program, *version_args), within_s=_VERSION_S, errors=True) if version_args else None
    lines = [line for line in (output or "").splitlines() if any(c.isdigit() for c in line)]
    return lines[0].strip()[:120] if lines else None


async def _output(command: Sequence[str], *, within_s: float, errors: bool = False) -> str | None:
    """Return what a command prints, with ``errors`` on stderr too; None if it fails or takes longer."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if errors else asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(within_s):
            output, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode(errors="replace") if process.returncode == 0 else None


def _python_of(program: Sequence[str]) -> str | None:
    """Return the Python of a command line: its program, or that of the first line of a script."""
    path = shutil.which(program[0]) if program else None
    if path is None:
        return None
    if Path(path).name.startswith("python"):
        return path
    try:
        with Path(path).open("rb") as file:
            first = file.readline(4096).decode("utf-8", errors="replace")
    except OSError:
        return None
    words = first.removeprefix("#!").split()
    if not first.startswith("#!") or not words or "python" not in Path(words[-1]).name:
        return None
    return shutil.which(words[-1]) if Path(words[0]).name == "env" else words[0]


def model_identity(model: str) -> dict[str, Any]:
    """Return the identity of a model: its files, wherever they are; a hub name is itself.

    The hash is of the names and sizes of all files and of the start of each file that is not huge, such as the
    config and the index, so that copies are the same and changes of the weights' format are not.
    """
    path = Path(model)
    try:
        return _identity_of_files(path) if path.exists() else {"id_or_path": model}
    except OSError:
        return {"id_or_path": model}


def _identity_of_files(path: Path) -> dict[str, Any]:
    if path.is_file():
        files = [path]
    else:
        inside = (file for file in path.rglob("*") if not any(p.startswith(".") for p in file.relative_to(path).parts))
        files = sorted(file for file in inside if file.is_file())
    digest, total = hashlib.sha256(), 0
    for file in files:
        size = file.stat().st_size
        total += size
        digest.update(f"{file.relative_to(path) if file != path else ''}\0{size}\0".encode("utf-8", "surrogateescape"))
        if size <= _HASHED_BYTES or len(files) == 1:
            with file.open("rb") as content:
                digest.update(content.read(_HASHED_BYTES))
    return {"name": path.name, "files": len(files), "bytes": total, "sha256": digest.hexdigest()[:16]}
