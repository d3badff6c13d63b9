"""The HTTP proxy of an API server, from the environment as kubectl reads it: NO_PROXY may contain networks."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit


def proxy_for(url: str) -> str | None:
    """Return the proxy that $HTTPS_PROXY, $HTTP_PROXY and $NO_PROXY give for a URL; None if there is none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = _variable(f"{parts.scheme}_proxy")
    if not proxy or _excluded(host.rstrip("."), parts.port or (443 if parts.scheme == "https" else 80)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def without_password(proxy: str) -> str:
    """Return a proxy's URL without its user and password."""
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _variable(name: str) -> str:
    return os.environ.get(name.upper()) or os.environ.get(name) or ""


def _excluded(host: str, port: int) -> bool:
    """Whether a host is not reached through a proxy."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(entry.strip().lower(), host, address, port) for entry in _variable("no_proxy").split(","))


def _matches(entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int) -> bool:
    """Whether an entry of NO_PROXY matches: ``*``, a network, an address, or a domain; each may have a port."""
    if entry in ("", "*"):
        return entry == "*"
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            pass
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit() and ("]" in entry or name.count(":") == 0):
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    if address is not None:
        return entry == host
    domain = entry.removeprefix("*")
    # A domain with a leading dot matches its subdomains only.
    return host.endswith(domain) if domain.startswith(".") else host == domain or host.endswith(f".{domain}")
