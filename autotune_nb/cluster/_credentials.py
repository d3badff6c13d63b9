"""Loading credentials: from a kubeconfig file, or from the service account of the pod this process runs in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION, KubeConfigMerger

from autotune_nb.cluster._credential_plugin import Loader
from autotune_nb.cluster._proxy import proxy_for
from autotune_nb.errors import ClusterError

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def has_kubeconfig() -> bool:
    """Whether there is a kubeconfig at a default place: in $KUBECONFIG or ~/.kube/config."""
    return bool(os.environ.get("KUBECONFIG")) or (Path.home() / ".kube" / "config").is_file()


async def credentials(
    kubeconfig: str | None, context: str | None, *, inside: bool, notify: Callable[[str], None]
) -> tuple[Configuration, str]:
    """Return the client's configuration and its namespace, which is empty if none is set. Raises ClusterError.

    ``notify`` is called with the messages of a credential plugin.
    """
    configuration = Configuration()
    # No limit: every running trial and every watch holds a connection.
    configuration.connection_pool_maxsize = 0
    # The proxy is chosen below: the library's own choice ignores networks in NO_PROXY.
    configuration.client_session_kwargs = {"trust_env": False}
    try:
        if inside:
            config.load_incluster_config(client_configuration=configuration)
            configuration.proxy = proxy_for(configuration.host)
            return configuration, await asyncio.to_thread(_own_namespace)
        file = kubeconfig and os.path.expanduser(kubeconfig)  # noqa: PTH111, ASYNC240
        if file and not await asyncio.to_thread(os.path.isfile, file):
            raise ClusterError(f"there is no kubeconfig file {file!r}")
        if not file and not has_kubeconfig():
            raise ClusterError(
                "there is no ~/.kube/config and KUBECONFIG is not set; give a kubeconfig file: --kubeconfig FILE, or "
                "deploy.kubeconfig"
            )
        file = file or os.environ.get("KUBECONFIG")
        if file and not await asyncio.to_thread(_any_file, file):
            raise ClusterError(f"there is no kubeconfig file {file!r} (KUBECONFIG)")
        merged = await asyncio.to_thread(KubeConfigMerger, file or KUBE_CONFIG_DEFAULT_LOCATION)
        loader = Loader(notify, config_dict=merged.config, config_base_path=None, active_context=context)
        await loader.load_and_set(configuration)
        configuration.proxy = configuration.proxy or proxy_for(configuration.host)
        current = loader.current_context.get("context", {}) if loader.current_context else {}
        return configuration, current.get("namespace", "")
    except ClusterError:
        raise
    except Exception as error:  # noqa: BLE001 - a credential plugin may raise anything
        where = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise ClusterError(
            f"no credentials for a cluster in {where}: {error_text(error)}; give a kubeconfig file and a context"
        ) from None


def _any_file(paths: str) -> bool:
    """Whether any file of a list such as $KUBECONFIG exists."""
    return any(Path(path).is_file() for path in paths.split(os.pathsep) if path)


def _own_namespace() -> str:
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def error_text(error: BaseException) -> str:
    """Return the error's message in one line, or its type's name if it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__
