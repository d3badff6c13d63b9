"""A client of the Kubernetes API: plain objects, retries where they are safe, errors that say what failed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from autotune_nb.cluster._credential_renewal import CredentialRenewal
from autotune_nb.cluster._credentials import credentials, error_text, has_kubeconfig
from autotune_nb.cluster._proxy import without_password
from autotune_nb.cluster.kinds import ACCESS_REVIEW, Kind, Object, name_of
from autotune_nb.cluster.names import REQUEST_ANNOTATION
from autotune_nb.errors import ClusterError

_MERGE = "application/merge-patch+json"
#: Requests are repeated after these responses: too many requests, and errors of the server that may pass.
_RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
#: Responses (0: none) after which the API server counts as unreachable; 401 since all requests need credentials.
_UNREACHABLE_STATUSES = frozenset({0, 401, 502, 503, 504})

#: How much longer than its period a watch may be silent, in seconds.
_MARGIN_S = 10.0


def write_to_stderr(text: str) -> None:
    """Write a message for the user where nothing else displays it."""
    sys.stderr.write(f"{text}\n")


class Cluster:
    """A client of a cluster's API server. Create it with ``connect`` and use it in one event loop only."""

    #: How long a request is repeated, and how long one response may take, in seconds.
    patience_s = 30.0
    timeout_s = 20.0
    #: How long requests wait for the renewal of expired credentials, in seconds.
    renewal_s = 60.0
    #: How long a followed log may be silent before it is read again: its connection may be half open.
    silent_log_s = 120.0

    def __init__(
        self, api: ApiClient, *, namespace: str, inside: bool, kubeconfig: str | None, context: str | None
    ) -> None:
        self.namespace = namespace
        #: Whether this process runs in a pod of the cluster, so that Services are reachable by their names.
        self.inside = inside
        #: The number of requests for each verb and resource.
        self.requests: Counter[tuple[str, str]] = Counter()
        #: Why the last request had no response of the API server; None if it had one, even an error.
        self.connection_error: ClusterError | None = None
        self._api = api

        async def fresh() -> Configuration:
            return (await credentials(kubeconfig, context, inside=inside, notify=lambda text: self.notify(text)))[0]

        #: Called with messages for the user about the connection.
        self.notify: Callable[[str], None] = lambda _text: None
        self._renewal = CredentialRenewal(api, fresh, patience_s=self.renewal_s, notify=lambda text: self.notify(text))

    @classmethod
    async def connect(
        cls,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        namespace: str | None = None,
        notify: Callable[[str], None] = write_to_stderr,
    ) -> Cluster:
        """Return a client with the credentials of a kubeconfig file, $KUBECONFIG, ~/.kube/config or this process's pod.

        ``notify`` is called with the messages of a credential plugin. Sends no request. Raises ClusterError if there
        are no readable credentials.
        """
        inside = kubeconfig is None and not has_kubeconfig() and "KUBERNETES_SERVICE_HOST" in os.environ
        if inside and context is not None:
            raise ClusterError(f"context {context!r} is given, but in a pod there is no kubeconfig; leave it out")
        configuration, default_namespace = await credentials(kubeconfig, context, inside=inside, notify=notify)
        return cls(
            ApiClient(configuration=configuration),
            namespace=namespace or default_namespace or "default",
            inside=inside,
            kubeconfig=kubeconfig,
            context=context,
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

    async def get_path(self, path: str) -> Object | None:
        """Return the JSON object at a path such as ``/version``; None if the server does not have the path."""
        try:
            async with self._request("GET", path, path) as reply:
                found = json.loads(await reply.read())
        except ClusterError as error:
            if error.status == 404:
                return None
            raise
        except ValueError as error:
            raise ClusterError(f"GET {path}: the response is no JSON: {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _cut_short("GET", path, error) from None
        return found if isinstance(found, dict) else None

    async def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> Object | None:
        """Return an object; None if it does not exist."""
        try:
            return await self._json("GET", self._path(kind, namespace, name), kind)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self, kind: Kind, *, selector: str = "", fields: str = "", namespace: str | None = None
    ) -> tuple[list[Object], str]:
        """Return the objects that match a label and a field selector, and the version from which to watch them."""
        query = {k: v for k, v in (("labelSelector", selector), ("fieldSelector", fields)) if v}
        found = await self._json("GET", self._path(kind, namespace), kind, query=query)
        return found.get("items") or [], found["metadata"].get("resourceVersion", "")

    async def create(self, kind: Kind, body: Object, *, namespace: str | None = None, dry_run: bool = False) -> Object:
        """Create an object once. If a response is lost, the object is looked up before the request is repeated.

        Raises ClusterError, with status 409 if an object of that name existed before.
        """
        mark = uuid.uuid4().hex
        metadata = body["metadata"]
        marked = {**metadata, "annotations": {**metadata.get("annotations", {}), REQUEST_ANNOTATION: mark}}
        body = {"apiVersion": kind.api_version, "kind": kind.name, **body, "metadata": marked}
        query = {"dryRun": "All"} if dry_run else {}

        async def created() -> Object | None:
            found = await self.get(kind, name_of(body), namespace=namespace) if not dry_run else None
            ours = found is not None and (found["metadata"].get("annotations") or {}).get(REQUEST_ANNOTATION) == mark
            return found if ours else None

        return await self._json("POST", self._path(kind, namespace), kind, query=query, body=body, find_created=created)

    async def submit(self, kind: Kind, body: Object) -> Object:
        """Post an object that the server answers and does not store, such as an access review. Returns the answer."""
        return await self._json("POST", self._path(kind, None), kind, body={**_type_fields(kind), **body})

    async def is_allowed(
        self, verb: str, resource: str, group: str = "", subresource: str = "", *, cluster_wide: bool = False
    ) -> bool:
        """Whether this account has a permission, in the namespace or in the whole cluster.

        Raises ClusterError if the account may not create access reviews.
        """
        attributes = {"verb": verb, "group": group, "resource": resource}
        if subresource:
            attributes["subresource"] = subresource
        if not cluster_wide:
            attributes["namespace"] = self.namespace
        review = await self.submit(ACCESS_REVIEW, {"spec": {"resourceAttributes": attributes}})
        return bool((review.get("status") or {}).get("allowed"))

    async def patch(self, kind: Kind, name: str, body: Object, *, namespace: str | None = None) -> Object:
        """Merge ``body`` into an object and return the result."""
        return await self._json(
            "PATCH", self._path(kind, namespace, name), kind, body=body, headers={"Content-Type": _MERGE}
        )

    async def replace(self, kind: Kind, body: Object, *, namespace: str | None = None) -> Object:
        """Replace an object. Raises ClusterError, with status 409 if it has changed since ``body`` was read."""
        body = {**_type_fields(kind), **body}
        return await self._json("PUT", self._path(kind, namespace, name_of(body)), kind, body=body)

    async def delete(
        self,
        kind: Kind,
        name: str,
        *,
        namespace: str | None = None,
        uid: str | None = None,
        propagation: str = "Foreground",
        grace_s: int | None = None,
    ) -> bool:
        """Request an object's deletion. Returns False if it, or the object with that uid, is gone already.

        ``Foreground`` keeps the object until its dependents are deleted.
        """
        options: Object = {"propagationPolicy": propagation}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._json("DELETE", self._path(kind, namespace, name), kind, body=options)
        except ClusterError as error:
            # 409: the name belongs to another object now.
            if error.status == 404 or (error.status == 409 and uid is not None):
                return False
            raise
        return True

    async def log(
        self,
        pod: str,
        container: str,
        *,
        tail_lines: int | None = None,
        previous: bool = False,
        namespace: str | None = None,
    ) -> str:
        """Return a container's log so far. Raises ClusterError if there is none (400 before the container starts)."""
        query = {"container": container}
        if tail_lines is not None:
            query["tailLines"] = str(tail_lines)
        if previous:
            query["previous"] = "true"
        path = self._log_path(pod, namespace)
        async with self._request("GET", path, "pods/log", query=query) as reply:
            try:
                return await reply.text(errors="replace")
            except (aiohttp.ClientError, OSError) as error:
                raise _cut_short("GET", path, error) from None

    @contextlib.asynccontextmanager
    async def follow_log(
        self, pod: str, container: str, *, namespace: str | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream a container's log from its beginning until the container ends.

        The stream raises TimeoutError if it is silent for ``silent_log_s``.
        """
        query = {"container": container, "follow": "true"}
        path = self._log_path(pod, namespace)
        async with self._request(
            "GET", path, "pods/log", query=query, timeout_s=None, silent_s=self.silent_log_s
        ) as reply:
            yield reply.content.iter_any()

    async def stream(
        self, kind: Kind, version: str, *, selector: str = "", fields: str = "", timeout_s: int = 300
    ) -> aiohttp.ClientResponse:
        """Return the open response of a watch, one JSON line for each event. The caller closes it.

        The server ends it after ``timeout_s``; if it does not, reading raises TimeoutError.
        """
        query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
        query |= {"timeoutSeconds": str(timeout_s)}
        query |= {k: v for k, v in (("labelSelector", selector), ("fieldSelector", fields)) if v}
        path = self._path(kind, None)
        return await self._send(
            "GET", path, kind.resource, query=query, timeout_s=None, silent_s=timeout_s + _MARGIN_S, verb="WATCH"
        )

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

    def _path(self, kind: Kind, namespace: str | None, name: str | None = None) -> str:
        return kind.path(namespace or self.namespace, name)

    def _log_path(self, pod: str, namespace: str | None) -> str:
        return f"/api/v1/namespaces/{namespace or self.namespace}/pods/{pod}/log"

    async def _json(self, method: str, path: str, kind: Kind, **options: Any) -> Object:
        async with self._request(method, path, kind.resource, **options) as reply:
            try:
                body = json.loads(await reply.read())
            except (aiohttp.ClientError, OSError) as error:
                raise _cut_short(method, path, error) from None
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


class _StoredObject:
    """Stands in for a lost response: the object that was found."""

    def __init__(self, obj: Object) -> None:
        self._obj = obj

    async def read(self) -> bytes:
        return json.dumps(self._obj).encode()


def _type_fields(kind: Kind) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.name}


def _cut_short(method: str, path: str, error: BaseException) -> ClusterError:
    return ClusterError(f"{method} {path}: the response is cut short: {error_text(error)}")


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
