"""Requests to the Kubernetes API server: retries where safe, renewed credentials, errors that say what failed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from autotune_nb.cluster._credential_renewal import CredentialRenewal
from autotune_nb.cluster._credentials import error_text
from autotune_nb.cluster._proxy import without_password
from autotune_nb.cluster.kinds import Kind, Object
from autotune_nb.errors import ClusterError

#: Requests are repeated after these responses: too many requests, and errors of the server that may pass.
_RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
#: Responses (0: none) after which the API server counts as unreachable; 401 since all requests need credentials.
_UNREACHABLE_STATUSES = frozenset({0, 401, 502, 503, 504})


class ApiRequests:
    """Sends requests to one API server and counts them. Use it in one event loop only."""

    #: How long a request is repeated, and how long one response may take, in seconds.
    patience_s = 30.0
    timeout_s = 20.0
    #: How long requests wait for the renewal of expired credentials, in seconds.
    renewal_s = 60.0

    def __init__(self, api: ApiClient, read_credentials: Callable[[], Awaitable[Configuration]]) -> None:
        #: The number of requests for each verb and resource.
        self.requests: Counter[tuple[str, str]] = Counter()
        #: Why the last request had no response of the API server; None if it had one, even an error.
        self.connection_error: ClusterError | None = None
        #: Called with messages for the user about the connection.
        self.notify: Callable[[str], None] = lambda _text: None
        self._api = api
        self._renewal = CredentialRenewal(
            api, read_credentials, patience_s=self.renewal_s, notify=lambda text: self.notify(text)
        )

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return str(self._api.configuration.host)

    @property
    def _server_text(self) -> str:
        """The API server in messages, with the proxy it is reached through."""
        proxy = self._api.configuration.proxy
        return f"{self.server} (through the proxy {without_password(proxy)})" if proxy else self.server

    def stop_credential_wait(self) -> None:
        """Fail requests with expired credentials at once from now on."""
        self._renewal.patience_s = 0.0

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    @contextlib.asynccontextmanager
    async def websocket(
        self, path: str, query: Mapping[str, str], protocols: tuple[str, ...]
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a web socket of the API server, such as a port-forward. Raises ClusterError."""
        self.requests["CONNECT", path.rsplit("/", 1)[-1]] += 1
        for last in (False, True):
            _, url, headers, _, _ = await self._api.param_serialize("GET", path, auth_settings=["BearerToken"])
            try:
                socket = await self._session().ws_connect(
                    f"{url}?{urlencode(query)}",
                    headers=headers,
                    protocols=protocols,
                    heartbeat=20.0,
                    proxy=self._api.configuration.proxy,
                )
            except aiohttp.WSServerHandshakeError as error:
                refused = ClusterError(f"{path}: {error.status} {error.message}", status=error.status)
                if error.status == 401 and not last:
                    await self._renewal.on_unauthorized(headers.get("authorization"), refused, first=True, wait=False)
                    continue
                raise refused from None
            except (aiohttp.ClientError, OSError) as error:
                raise ClusterError(f"{self._server_text} did not respond: {error_text(error)}") from None
            async with socket:
                yield socket
            return

    async def _json(self, method: str, path: str, kind: Kind, **options: Any) -> Object:
        async with self._request(method, path, kind.resource, **options) as reply:
            try:
                body = json.loads(await reply.read())
            except (aiohttp.ClientError, OSError) as error:
                raise cut_short(method, path, error) from None
            except ValueError as error:
                raise ClusterError(f"{method} {path}: the response is cut short or no JSON: {error}") from None
        if not isinstance(body, dict):
            raise ClusterError(f"{method} {path}: the response is no object")
        return body

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, path: str, resource: str, *, find_created: Any = None, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a successful response, with retries. ``find_created`` looks up what a lost request created."""
        deadline = asyncio.get_running_loop().time() + self.patience_s
        pause, unsure = 0.2, False
        while True:
            try:
                reply = await self._send(method, path, resource, **options)
                break
            except ClusterError as error:
                # A missing webhook is a 500 too, but after it nothing is created.
                lost = error.status == 0 or (error.status >= 500 and not error.by_webhook)
                unsure = unsure or (lost and find_created is not None)
                if unsure and (lost or error.status == 409):
                    found = await find_created()
                    if found is not None:
                        yield _StoredObject(found)  # type: ignore[misc]
                        return
                late = asyncio.get_running_loop().time() + pause > deadline
                if (
                    late
                    or not (error.status == 0 or error.status in _RETRIED_STATUSES)
                    or "exceeded quota" in str(error)
                ):
                    raise
                await asyncio.sleep(max(pause * random.uniform(0.7, 1.3), error.retry_after_s))
                pause = min(pause * 2, 5.0)
        try:
            yield reply
        finally:
            reply.release()

    async def _send(self, method: str, path: str, resource: str, **options: Any) -> aiohttp.ClientResponse:
        """Send one request, repeated with new credentials after a 401. Raises ClusterError unless it succeeds."""
        try:
            reply = await self._request_once(method, path, resource, **options)
        except ClusterError as error:
            self.connection_error = error if error.status in _UNREACHABLE_STATUSES else None
            raise
        self.connection_error = None
        return reply

    async def _request_once(
        self,
        method: str,
        path: str,
        resource: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = -1,
        silent_s: float | None = None,
        verb: str | None = None,
    ) -> aiohttp.ClientResponse:
        total_s = self.timeout_s if timeout_s == -1 else timeout_s
        # Without a limit on reading, a connection that is half open is never noticed.
        limit = aiohttp.ClientTimeout(total=total_s, sock_connect=10, sock_read=silent_s)
        first = True
        while True:
            self.requests[verb or method, resource] += 1
            _, url, sent, data, _ = await self._api.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", **(headers or {})},
                body=body,
                auth_settings=["BearerToken"],
            )
            try:
                response = await self._api.call_api(method, url, sent, data, _request_timeout=limit)
                reply: aiohttp.ClientResponse = response.response
                if reply.status != 401:
                    self._renewal.on_accepted()
                if reply.status < 300:
                    return reply
                text = await reply.text(errors="replace")
            except TimeoutError:
                raise ClusterError(
                    f"{method} {path}: no response from {self._server_text} within {limit.total or silent_s:g} s"
                ) from None
            except (aiohttp.ClientError, OSError) as error:
                raise ClusterError(
                    f"{method} {path}: {self._server_text} did not respond: {error_text(error)}"
                ) from None
            error_reply = _api_error(method, path, reply, text)
            if reply.status != 401:
                raise error_reply
            await self._renewal.on_unauthorized(sent.get("authorization"), error_reply, first=first)
            first = False

    def _session(self) -> aiohttp.ClientSession:
        rest = self._api.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()
        session: aiohttp.ClientSession = rest.pool_manager
        return session


def cut_short(method: str, path: str, error: BaseException) -> ClusterError:
    return ClusterError(f"{method} {path}: the response is cut short: {error_text(error)}")


class _StoredObject:
    """Stands in for a lost response: the object that was found."""

    def __init__(self, obj: Object) -> None:
        self._obj = obj

    async def read(self) -> bytes:
        return json.dumps(self._obj).encode()


def _api_error(method: str, path: str, reply: aiohttp.ClientResponse, text: str) -> ClusterError:
    try:
        status = json.loads(text)
        message, reason = str(status["message"]), str(status.get("reason", ""))
    except (ValueError, KeyError, TypeError):
        message, reason = " ".join(text.split())[:300] or str(reply.reason), ""
    error = ClusterError(f"{method} {path}: {reply.status}: {message}", status=reply.status, reason=reason)
    with contextlib.suppress(ValueError):
        error.retry_after_s = min(float(reply.headers.get("Retry-After", 0)), 10.0)
    return error
