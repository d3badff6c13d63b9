"""Ports of this machine."""

from __future__ import annotations

import socket

from autotune_nb.deploy._process import port_owner
from autotune_nb.errors import SetupError


def in_url(host: str) -> str:
    """Return a host as it is written in a URL."""
    return f"[{host}]" if ":" in host else host


def free_port(host: str) -> int:
    """Return a port that is free now."""
    with bind(host) as probe:
        return int(probe.getsockname()[1])


def bind(host: str) -> socket.socket:
    """Return a socket on a free port of a host. Raises OSError."""
    probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        probe.bind((host, 0))
    except BaseException:
        probe.close()
        raise
    return probe


def require_address(host: str) -> None:
    """Raise SetupError if a host is no address of this machine."""
    try:
        bind(host).close()
    except OSError as error:
        message = f"{host!r} is no address of this machine: {error.strerror or error}"
        raise SetupError(message, field="deploy.host") from None


def require_free_port(port: int) -> None:
    """Raise SetupError if a process listens on the port."""
    owner = port_owner(port)
    if owner:
        raise SetupError(f"port {port} is in use by {owner}; leave it out for a free one", field="deploy.port")
