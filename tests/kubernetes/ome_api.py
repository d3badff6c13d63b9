"""A minimal Kubernetes client for the stand-in controller, independent of the code under test."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import yaml

MERGE = {"Content-Type": "application/merge-patch+json"}


class Api:
    """JSON requests with a kubeconfig's token, and endless watches."""

    def __init__(self, kubeconfig: str | Path) -> None:
        conf = yaml.safe_load(Path(kubeconfig).read_text())
        cluster, user = conf["clusters"][0]["cluster"], conf["users"][0]["user"]
        self.url = cluster["server"].rstrip("/")
        self._tls = ssl.create_default_context(cafile=cluster.get("certificate-authority"))
        self._headers = {"Authorization": f"Bearer {user['token']}"}

    async def __aenter__(self) -> Api:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        self.http = aiohttp.ClientSession(headers=self._headers, connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.close()

    async def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        async with self.http.request(method, self.url + path, json=body, headers=headers) as reply:
            return reply.status, json.loads(await reply.text() or "{}")

    async def get(self, path: str) -> Any:
        """Return an object; None if it does not exist."""
        status, found = await self.call("GET", path)
        return found if status == 200 else None

    async def patch(self, path: str, body: Any) -> tuple[int, Any]:
        return await self.call("PATCH", path, body, MERGE)

    async def watch(self, path: str) -> AsyncIterator[tuple[str, Any]]:
        """Yield type and object of each change, the existing objects first as ADDED; starts over if it breaks."""
        while True:
            try:
                status, listing = await self.call("GET", path)
                if status != 200:
                    raise aiohttp.ClientError(str(status))
                for item in listing["items"]:
                    yield "ADDED", item
                query = f"{'&' if '?' in path else '?'}watch=1&resourceVersion={listing['metadata']['resourceVersion']}"
                limit = aiohttp.ClientTimeout(total=None)
                async with self.http.get(self.url + path + query, timeout=limit, read_bufsize=2**24) as reply:
                    async for line in reply.content:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            break
                        yield event["type"], event["object"]
            except (aiohttp.ClientError, TimeoutError, OSError):
                await asyncio.sleep(0.2)
