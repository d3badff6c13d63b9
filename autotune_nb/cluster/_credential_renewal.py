"""Credentials that ran out, and those that come after them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from kubernetes.aio.client import ApiClient, Configuration

from autotune_nb.errors import ClusterError

#: Credentials are read, and the server is asked with them, so often while it refuses them.
_PAUSE_S = 2.0


class Renewal:
    """Reads credentials anew where the server refuses them.

    Those that never worked are refused at once. Those that did may be renewed by somebody or something else: they are
    waited for, all requests together, for ``patience_s`` from the first refusal on; that is said once.
    """

    def __init__(
        self,
        api: ApiClient,
        read: Callable[[], Awaitable[Configuration]],
        *,
        patience_s: float,
        say: Callable[[str], None],
    ) -> None:
        self.patience_s = patience_s
        self.say = say
        self._api = api
        self._read = read
        self._worked = False
        self._since: float | None = None
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    def accepted(self) -> None:
        """To be told after every answer but a 401."""
        if self._since is not None:
            self.say("the cluster accepts the credentials again")
        self._worked, self._since = True, None

    async def after(self, used: str | None, error: ClusterError, *, first: bool, wait: bool = True) -> None:
        """Return once the refused request is worth repeating. ``used`` is what it was sent with.

        Raises ``error`` where it is not: nothing came in time.
        """
        now = asyncio.get_running_loop().time()
        if await self._differs(used, at_once=first) or first:
            return
        if not wait or not self._worked:
            raise error
        if self._since is None:
            self._since = now
            self.say(
                f"the cluster refuses the credentials it accepted before ({error}): log in again, or renew the token; "
                f"they are read anew for {self.patience_s:g} s before what needs them fails"
            )
        if now - self._since >= self.patience_s:
            raise error
        await asyncio.sleep(_PAUSE_S)

    async def _differs(self, used: str | None, *, at_once: bool) -> bool:
        """Whether there are other credentials by now."""
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
                # A file that is just being written.
                return False
            kept = self._api.configuration
            kept.api_key, kept.refresh_api_key_hook = fresh.api_key, fresh.refresh_api_key_hook
            return await self._header() != used

    async def _header(self) -> str | None:
        _, _, headers, _, _ = await self._api.param_serialize("GET", "/", auth_settings=["BearerToken"])
        found: str | None = headers.get("authorization")
        return found
