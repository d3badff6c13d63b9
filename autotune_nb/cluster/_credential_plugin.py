"""Runs the credential plugin of a kubeconfig (``exec``), and reports in its own words why it gave no credentials."""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from kubernetes.aio.config.kube_config import KubeConfigLoader

from autotune_nb.errors import ClusterError

#: How long a plugin may take; it may wait for a person who logs in with a browser.
_PLUGIN_S = 120.0
#: The number of lines of a plugin's output in an error.
_LINES = 5


class Loader(KubeConfigLoader):  # type: ignore[misc]
    """A loader of kubeconfig files that raises ClusterError if a plugin gives no credentials.

    The library's own logs this, and goes on as ``system:anonymous``.
    """

    def __init__(self, notify: Callable[[str], None], **options: Any) -> None:
        super().__init__(**options)
        self._notify = notify

    async def load_from_exec_plugin(self) -> bool:
        spec = self._user["exec"].value
        status = await _run(spec, self._get_base_path(self._user.path), self._notify)
        if status.get("token"):
            self.token = f"Bearer {status['token']}"
        elif status.get("clientCertificateData") and status.get("clientKeyData"):
            self.cert_file, self.key_file = (
                self._as_file(status, name) for name in ("clientCertificateData", "clientKeyData")
            )
        else:
            raise _error(spec, "its reply has neither a token nor a client certificate with its key")
        return True

    def _as_file(self, status: Mapping[str, Any], name: str) -> str:
        from kubernetes.aio.config.kube_config import FileOrData

        data = FileOrData(
            status, None, data_key_name=name, base64_file_content=False, temp_file_path=self._temp_file_path
        )
        file: str = data.as_file()
        return file


async def _run(spec: Mapping[str, Any], folder: str, notify: Callable[[str], None]) -> dict[str, Any]:
    """Run a plugin and return the ``status`` of its reply. Its messages are passed to ``notify`` while it runs."""
    command = str(spec.get("command") or "")
    # As in kubectl, a relative path is one from the kubeconfig's folder.
    program = os.path.join(folder, command) if os.sep in command and not os.path.isabs(command) else command  # noqa: PTH117, PTH118
    version = spec.get("apiVersion")
    # A plugin has no terminal here, so it must not prompt.
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    given = {str(one["name"]): str(one["value"]) for one in spec.get("env") or ()}
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *map(str, spec.get("args") or ()),
            env={**os.environ, **given, "KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        install = " ".join(str(spec.get("installHint") or "").split())
        raise _error(spec, error.strerror or str(error), hint=install) from None
    lines: deque[str] = deque(maxlen=_LINES)
    assert process.stdout is not None and process.stderr is not None
    try:
        async with asyncio.timeout(_PLUGIN_S):
            output, _ = await asyncio.gather(
                process.stdout.read(), _pass_on(process.stderr, lines, lambda text: notify(f"{command}: {text}"))
            )
            code = await process.wait()
    except TimeoutError:
        reason = f"it did not end within {_PLUGIN_S:g} s"
        raise _error(spec, reason, lines, hint="log in with kubectl first, which can prompt") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code:
        raise _error(spec, f"exit code {code}", lines, hint="log in again, or try it with kubectl")
    try:
        reply = json.loads(output)
        status = reply["status"]
    except (ValueError, KeyError, TypeError):
        raise _error(spec, "its output is no ExecCredential with a status", lines) from None
    if reply.get("apiVersion") != version or not isinstance(status, dict):
        raise _error(spec, f"its reply has apiVersion {reply.get('apiVersion')!r}, the kubeconfig {version!r}", lines)
    return status


async def _pass_on(stream: asyncio.StreamReader, lines: deque[str], notify: Callable[[str], None]) -> None:
    while line := await stream.readline():
        text = line.decode(errors="replace").strip()[:300]
        if text:
            lines.append(text)
            notify(text)


def _error(
    spec: Mapping[str, Any], reason: str, lines: deque[str] | tuple[str, ...] = (), *, hint: str = ""
) -> Exception:
    said = f": {'; '.join(lines)}" if lines else ""
    tail = f"; {hint}" if hint else ""
    return ClusterError(f"the credential plugin {spec.get('command')!r} gave no credentials: {reason}{said}{tail}")
