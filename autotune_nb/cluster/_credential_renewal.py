"""Renewal of expired credentials: reads them again while the API server rejects them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from kubernetes.aio.client import ApiClient, Configuration

from autotune_nb.errors import ClusterError

#: The interval at which rejected credentials are read and tried again.
_PAUSE_S = 2.0


class CredentialRenewal:
    """Reads the credentials again when the API server rejects them.

    Credentials that were never accepted fail at once. Those that were accepted before may be renewed by a person or
    by a program: all requests wait for that, for ``patience_s`` from the first rejection on, and ``notify`` is called
    once.
    """

    def __init__(
        self,
        api: ApiClient,
        read: Callable[[], Awaitable[Configuration]],
        *,
        patience_s: float,
        notify: Callable[[str], None],
    ) -> None:
        self.patience_s = patience_s
        self.notify = notify
        self._api = api
        self._read = read
        self._worked = False
        self._since: float | None = None
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    def on_accepted(self) -> None:
        """Record that the credentials work. Call it after every response but a 401."""
        if self._since is not None:
            self.notify("the cluster accepts the credentials again")
        self._worked, self._since = True, None

    async def on_unauthorized(self, used: str | None, error: ClusterError, *, first: bool, wait: bool = True) -> None:
        """Return when the rejected request is worth repeating. ``used`` is the header it was sent with.

        Raises ``error`` if no new credentials come in time.
        """
        now = asyncio.get_running_loop().time()
        if await self._changed(used, at_once=first) or first:
            return
        if not wait or not self._worked:
            raise error
        if self._since is None:
            self._since = now
            self.notify(
                f"the cluster rejects the credentials it accepted before ({error}): log in again, or renew the token; "
                f"they are read again for {self.patience_s:g} s before requests fail"
            )
        if now - self._since >= self.patience_s:
            raise error
        await asyncio.sleep(_PAUSE_S)

    async def _changed(self, used: str | None, *, at_once: bool) -> bool:
        """Whether the credentials differ from those in ``used`` by now."""
        async with self._lock:
            if await self._header() != used:
                return True
            now = asyncio.get_running_loop().time()
            if not at_once and now - self._read_at < _PAUSE_S / 2:
                return False
            self._read_at = now
            try:
                fresh = await self._read()
            except ClusterError:
                # The file may be half written.
                return False
            current = self._api.configuration
            current.api_key, current.refresh_api_key_hook = fresh.api_key, fresh.refresh_api_key_hook
            return await self._header() != used

    async def _header(self) -> str | None:
        _, _, headers, _, _ = await self._api.param_serialize("GET", "/", auth_settings=["BearerToken"])
        header: str | None = headers.get("authorization")
        return header
