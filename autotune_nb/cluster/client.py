"""One connection to a cluster: requests as plain objects, repeated where that is safe, refused in words that help."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from autotune_nb.cluster._credential_renewal import Renewal
from autotune_nb.cluster._credentials import credentials, has_kubeconfig, told
from autotune_nb.cluster.kinds import ACCESS_REVIEW, Kind, Object, name_of
from autotune_nb.cluster.names import REQUEST_ANNOTATION
from autotune_nb.errors import ClusterError

_MERGE = "application/merge-patch+json"
#: Answers after which the same request may do: too many requests, and a server that is not up to it now.
_AGAIN = frozenset({429, 500, 502, 503, 504})
#: Those that no API server gives that is there: no answer, credentials it does not take, a proxy's before it.
_AWAY = frozenset({0, 401, 502, 503, 504})


class Cluster:
    """A cluster's API server, reached through ``kubernetes.aio``. Made by ``connect``; of one event loop."""

    #: How long a request is repeated for, and how long one answer may take, in seconds.
    patience_s = 30.0
    timeout_s = 20.0
    #: How long credentials that ran out are waited for.
    renewal_s = 60.0

    def __init__(
        self, api: ApiClient, *, namespace: str, inside: bool, kubeconfig: str | None, context: str | None
    ) -> None:
        self.namespace = namespace
        #: Whether this process runs in a pod of the cluster, and so reaches Services by their names.
        self.inside = inside
        #: How often each verb was asked of each kind.
        self.requests: Counter[tuple[str, str]] = Counter()
        #: What kept the last request from being answered at all; None where it was, if only by a refusal.
        self.trouble: ClusterError | None = None
        self._api = api

        async def fresh() -> Configuration:
            return (await credentials(kubeconfig, context, inside=inside))[0]

        #: Told what a person should know of the connection.
        self.say: Callable[[str], None] = lambda _text: None
        self._renewal = Renewal(api, fresh, patience_s=self.renewal_s, say=lambda text: self.say(text))

    @classmethod
    async def connect(
        cls, *, kubeconfig: str | None = None, context: str | None = None, namespace: str | None = None
    ) -> Cluster:
        """Read the credentials: a kubeconfig file, $KUBECONFIG, ~/.kube/config, or those of the pod this runs in.

        Raises ClusterError where there are none that can be read. Nothing is asked of the server yet.
        """
        inside = kubeconfig is None and not has_kubeconfig() and "KUBERNETES_SERVICE_HOST" in os.environ
        if inside and context is not None:
            raise ClusterError(f"context {context!r} is asked for, but in a pod there is no kubeconfig; leave it out")
        configuration, found = await credentials(kubeconfig, context, inside=inside)
        return cls(
            ApiClient(configuration=configuration),
            namespace=namespace or found or "default",
            inside=inside,
            kubeconfig=kubeconfig,
            context=context,
        )

    @property
    def server(self) -> str:
        return str(self._api.configuration.host)

    def hurry(self) -> None:
        """Wait for no credentials any more."""
        self._renewal.patience_s = 0.0

    async def close(self) -> None:
        await self._api.close()

    async def look(self, path: str) -> Object | None:
        """What the server says under a path of its own, such as ``/version``; None where it has no such path."""
        try:
            async with self._answer("GET", path, path) as reply:
                found = json.loads(await reply.read())
        except ClusterError as error:
            if error.status == 404:
                return None
            raise
        except (ValueError, aiohttp.ClientError) as error:
            raise ClusterError(f"GET {path}: the answer is no JSON: {error}") from None
        return found if isinstance(found, dict) else None

    async def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> Object | None:
        """An object; None where there is none."""
        try:
            return await self._json("GET", self._path(kind, namespace, name), kind)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self, kind: Kind, *, selector: str = "", fields: str = "", namespace: str | None = None
    ) -> tuple[list[Object], str]:
        """The objects that a label and a field selector leave, and the version a watch goes on from."""
        query = {k: v for k, v in (("labelSelector", selector), ("fieldSelector", fields)) if v}
        found = await self._json("GET", self._path(kind, namespace), kind, query=query)
        return found.get("items") or [], found["metadata"].get("resourceVersion", "")

    async def create(self, kind: Kind, body: Object, *, namespace: str | None = None, dry_run: bool = False) -> Object:
        """Make an object, once: where an answer gets lost, it is looked for before the request is repeated.

        Raises ClusterError, with status 409 where an object of that name was there before.
        """
        mark = uuid.uuid4().hex
        metadata = body["metadata"]
        marked = {**metadata, "annotations": {**metadata.get("annotations", {}), REQUEST_ANNOTATION: mark}}
        body = {"apiVersion": kind.api_version, "kind": kind.name, **body, "metadata": marked}
        query = {"dryRun": "All"} if dry_run else {}

        async def made() -> Object | None:
            there = await self.get(kind, name_of(body), namespace=namespace) if not dry_run else None
            ours = there is not None and (there["metadata"].get("annotations") or {}).get(REQUEST_ANNOTATION) == mark
            return there if ours else None

        return await self._json("POST", self._path(kind, namespace), kind, query=query, body=body, effect=made)

    async def ask(self, kind: Kind, body: Object) -> Object:
        """Put a question that is asked by making an object which is not kept, such as an access review."""
        return await self._json("POST", self._path(kind, None), kind, body={**_head(kind), **body})

    async def may(
        self, verb: str, resource: str, group: str = "", subresource: str = "", *, everywhere: bool = False
    ) -> bool:
        """Whether this account has a right, in the namespace or in the whole cluster. Raises ClusterError where it may
        not even ask."""
        asked = {"verb": verb, "group": group, "resource": resource}
        if subresource:
            asked["subresource"] = subresource
        if not everywhere:
            asked["namespace"] = self.namespace
        answer = await self.ask(ACCESS_REVIEW, {"spec": {"resourceAttributes": asked}})
        return bool((answer.get("status") or {}).get("allowed"))

    async def patch(self, kind: Kind, name: str, body: Object, *, namespace: str | None = None) -> Object:
        """Merge a part into an object."""
        return await self._json(
            "PATCH", self._path(kind, namespace, name), kind, body=body, headers={"Content-Type": _MERGE}
        )

    async def replace(self, kind: Kind, body: Object, *, namespace: str | None = None) -> Object:
        """Put a whole object in the place of the one it was read as; status 409 where that has changed since."""
        body = {**_head(kind), **body}
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
        """Ask for an object's deletion; False where it, or the one with that uid, is gone already.

        ``Foreground`` keeps the object until what belongs to it is gone.
        """
        options: Object = {"propagationPolicy": propagation}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._json("DELETE", self._path(kind, namespace, name), kind, body=options)
        except ClusterError as error:
            # 409: the name has passed to another object.
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
        """A container's log so far. Raises ClusterError where there is none (400 while it waits to start)."""
        query = {"container": container}
        if tail_lines is not None:
            query["tailLines"] = str(tail_lines)
        if previous:
            query["previous"] = "true"
        path = self._log_path(pod, namespace)
        async with self._answer("GET", path, "pods/log", query=query) as reply:
            return await reply.text(errors="replace")

    @contextlib.asynccontextmanager
    async def follow_log(
        self, pod: str, container: str, *, namespace: str | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A container's log from its beginning, in pieces as they are written, until the container ends."""
        query = {"container": container, "follow": "true"}
        path = self._log_path(pod, namespace)
        async with self._answer("GET", path, "pods/log", query=query, timeout_s=None) as reply:
            yield reply.content.iter_any()

    async def stream(
        self, kind: Kind, version: str, *, selector: str = "", fields: str = "", timeout_s: int = 300
    ) -> aiohttp.ClientResponse:
        """The open answer of a watch, a JSON line an event; to be closed by whoever reads it."""
        query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
        query |= {"timeoutSeconds": str(timeout_s)}
        query |= {k: v for k, v in (("labelSelector", selector), ("fieldSelector", fields)) if v}
        path = self._path(kind, None)
        return await self._send("GET", path, kind.resource, query=query, timeout_s=None, verb="WATCH")

    @contextlib.asynccontextmanager
    async def websocket(
        self, path: str, query: Mapping[str, str], protocols: tuple[str, ...]
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A web socket of the API server's, such as a port-forward's. Raises ClusterError where it is refused."""
        self.requests["CONNECT", path.rsplit("/", 1)[-1]] += 1
        for last in (False, True):
            _, url, headers, _, _ = await self._api.param_serialize("GET", path, auth_settings=["BearerToken"])
            try:
                socket = await self._session().ws_connect(
                    f"{url}?{urlencode(query)}", headers=headers, protocols=protocols, heartbeat=20.0
                )
            except aiohttp.WSServerHandshakeError as error:
                refused = ClusterError(f"{path}: {error.status} {error.message}", status=error.status)
                if error.status == 401 and not last:
                    await self._renewal.after(headers.get("authorization"), refused, first=True, wait=False)
                    continue
                raise refused from None
            except (aiohttp.ClientError, OSError) as error:
                raise ClusterError(f"{self.server} did not answer: {told(error)}") from None
            async with socket:
                yield socket
            return

    def _path(self, kind: Kind, namespace: str | None, name: str | None = None) -> str:
        return kind.path(namespace or self.namespace, name)

    def _log_path(self, pod: str, namespace: str | None) -> str:
        return f"/api/v1/namespaces/{namespace or self.namespace}/pods/{pod}/log"

    async def _json(self, method: str, path: str, kind: Kind, **how: Any) -> Object:
        async with self._answer(method, path, kind.resource, **how) as reply:
            try:
                answer = json.loads(await reply.read())
            except (ValueError, aiohttp.ClientError) as error:
                raise ClusterError(f"{method} {path}: the answer is cut short or no JSON: {error}") from None
        if not isinstance(answer, dict):
            raise ClusterError(f"{method} {path}: the answer is no object")
        return answer

    @contextlib.asynccontextmanager
    async def _answer(
        self, method: str, path: str, resource: str, *, effect: Any = None, **how: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A good answer, asked for again while that is worth it. ``effect`` looks for what a lost answer did."""
        deadline = asyncio.get_running_loop().time() + self.patience_s
        pause, unsure = 0.2, False
        while True:
            try:
                reply = await self._send(method, path, resource, **how)
                break
            except ClusterError as error:
                # A webhook that is not there is a 500 too, but one that nothing came of.
                lost = error.status == 0 or (error.status >= 500 and not error.by_webhook)
                unsure = unsure or (lost and effect is not None)
                if unsure and (lost or error.status == 409):
                    done = await effect()
                    if done is not None:
                        yield _Known(done)  # type: ignore[misc]
                        return
                late = asyncio.get_running_loop().time() + pause > deadline
                if late or not (error.status == 0 or error.status in _AGAIN) or "exceeded quota" in str(error):
                    raise
                await asyncio.sleep(max(pause * random.uniform(0.7, 1.3), error.retry_after_s))
                pause = min(pause * 2, 5.0)
        try:
            yield reply
        finally:
            reply.release()

    async def _send(self, method: str, path: str, resource: str, **how: Any) -> aiohttp.ClientResponse:
        """One request, with new credentials where the old ones ran out. Raises ClusterError for anything but a 2xx."""
        try:
            reply = await self._sent(method, path, resource, **how)
        except ClusterError as error:
            self.trouble = error if error.status in _AWAY else None
            raise
        self.trouble = None
        return reply

    async def _sent(
        self,
        method: str,
        path: str,
        resource: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = -1,
        verb: str | None = None,
    ) -> aiohttp.ClientResponse:
        limit = aiohttp.ClientTimeout(total=self.timeout_s if timeout_s == -1 else timeout_s, sock_connect=10)
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
                answer = await self._api.call_api(method, url, sent, data, _request_timeout=limit)
                reply: aiohttp.ClientResponse = answer.response
                if reply.status != 401:
                    self._renewal.accepted()
                if reply.status < 300:
                    return reply
                text = await reply.text(errors="replace")
            except TimeoutError:
                raise ClusterError(f"{method} {path}: no answer from {self.server} within {limit.total} s") from None
            except (aiohttp.ClientError, OSError) as error:
                raise ClusterError(f"{method} {path}: {self.server} did not answer: {told(error)}") from None
            refused = _refused(method, path, reply, text)
            if reply.status != 401:
                raise refused
            await self._renewal.after(sent.get("authorization"), refused, first=first)
            first = False

    def _session(self) -> aiohttp.ClientSession:
        rest = self._api.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()
        session: aiohttp.ClientSession = rest.pool_manager
        return session


class _Known:
    """The answer that got lost: the object as it was found."""

    def __init__(self, obj: Object) -> None:
        self._obj = obj

    async def read(self) -> bytes:
        return json.dumps(self._obj).encode()


def _head(kind: Kind) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.name}


def _refused(method: str, path: str, reply: aiohttp.ClientResponse, text: str) -> ClusterError:
    try:
        status = json.loads(text)
        message, reason = str(status["message"]), str(status.get("reason", ""))
    except (ValueError, KeyError, TypeError):
        message, reason = " ".join(text.split())[:300] or str(reply.reason), ""
    error = ClusterError(f"{method} {path}: {reply.status}: {message}", status=reply.status, reason=reason)
    with contextlib.suppress(ValueError):
        error.retry_after_s = min(float(reply.headers.get("Retry-After", 0)), 10.0)
    return error
