"""A client of the Kubernetes API: reads, creates, changes, deletes and watches plain objects, and reads logs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from autotune_nb.cluster._credentials import credentials, has_kubeconfig
from autotune_nb.cluster._requests import ApiRequests, cut_short
from autotune_nb.cluster.kinds import ACCESS_REVIEW, Kind, Object, name_of
from autotune_nb.cluster.names import REQUEST_ANNOTATION
from autotune_nb.errors import ClusterError

_MERGE = "application/merge-patch+json"
#: How much longer than its period a watch may be silent, in seconds.
_MARGIN_S = 10.0


def write_to_stderr(text: str) -> None:
    """Write a message for the user where nothing else displays it."""
    sys.stderr.write(f"{text}\n")


class Cluster(ApiRequests):
    """A client of a cluster's API server. Create it with ``connect`` and use it in one event loop only."""

    #: How long a followed log may be silent before it is read again: its connection may be half open.
    silent_log_s = 120.0

    def __init__(
        self, api: ApiClient, *, namespace: str, inside: bool, kubeconfig: str | None, context: str | None
    ) -> None:
        async def read_credentials() -> Configuration:
            return (await credentials(kubeconfig, context, inside=inside, notify=lambda text: self.notify(text)))[0]

        super().__init__(api, read_credentials)
        self.namespace = namespace
        #: Whether this process runs in a pod of the cluster, so that Services are reachable by their names.
        self.inside = inside

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
            raise cut_short("GET", path, error) from None
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
                raise cut_short("GET", path, error) from None

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

    def _path(self, kind: Kind, namespace: str | None, name: str | None = None) -> str:
        return kind.path(namespace or self.namespace, name)

    def _log_path(self, pod: str, namespace: str | None) -> str:
        return f"/api/v1/namespaces/{namespace or self.namespace}/pods/{pod}/log"


def _type_fields(kind: Kind) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.name}
