"""The tests' own client of the cluster, independent of the code under test."""

from __future__ import annotations

import base64
import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import urllib3
import yaml

Json = dict[str, Any]
_PLURALS = {"ServingRuntime": "servingruntimes", "Lease": "leases", "ConfigMap": "configmaps"}
_HOOKED = "test.example.com/webhook"
_CLUSTER_WIDE = ("ClusterBaseModel", "ClusterServingRuntime", "ClusterRole", "ClusterRoleBinding", "Namespace", "Node")


def path_of(obj: Json, namespace: str | None = None) -> str:
    """Return the path of the collection an object belongs to."""
    group, _, version = obj["apiVersion"].rpartition("/")
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    space = namespace or obj["metadata"].get("namespace")
    where = "" if obj["kind"] in _CLUSTER_WIDE else f"/namespaces/{space}"
    return f"{root}{where}/{obj['kind'].lower()}s"


def _collection(plural: str, namespace: str) -> str:
    group, _, name = plural.rpartition("/")
    return f"{f'/{group}' if group else '/api/v1'}/namespaces/{namespace}/{name}"


@dataclass(frozen=True)
class TestCluster:
    """The running cluster, with the administrator's permissions."""

    __test__ = False

    kubeconfig: str
    url: str
    token: str
    ca: str
    root: str
    node: str
    #: Namespaces that are made but not given to a test yet.
    _spare: list[str] = field(default_factory=list)

    @cached_property
    def _connections(self) -> urllib3.PoolManager:
        return urllib3.PoolManager(ca_certs=self.ca, maxsize=8)

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> tuple[int, Any]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        reply = self._connections.request(
            method,
            self.url + path,
            body=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token or self.token}", "Content-Type": kind},
            timeout=60,
            retries=False,
        )
        return reply.status, json.loads(reply.data or b"{}")

    def get(self, path: str) -> Any:
        """Return an object; None if it does not exist."""
        status, found = self.call("GET", path)
        return found if status == 200 else None

    def list(self, plural: str, namespace: str, selector: str = "") -> list[Json]:
        """Return a namespace's objects by the end of their path, such as ``pods`` or ``apis/ome.io/v1beta1/…``."""
        query = f"?labelSelector={selector}" if selector else ""
        found: list[Json] = self.get(_collection(plural, namespace) + query)["items"]
        return found

    def delete_all(self, plural: str, namespace: str) -> None:
        """Delete a namespace's objects of a kind, and then what they own."""
        self.delete(_collection(plural, namespace), propagationPolicy="Background")

    def services(self, namespace: str) -> list[Json]:
        """Return the InferenceServices of a namespace."""
        return self.list("apis/ome.io/v1beta1/inferenceservices", namespace)

    def create(self, obj: Json, namespace: str | None = None) -> Json:
        status, made = self.call("POST", path_of(obj, namespace), obj)
        assert status in (201, 409), made
        return made if isinstance(made, dict) else {}

    def delete(self, path: str, **options: Any) -> None:
        status, told = self.call("DELETE", path, options or None)
        assert status in (200, 202, 404), told

    def until(self, condition: Callable[[], Any], *, within_s: float = 60.0) -> Any:
        """Poll until the condition returns a value, and return it."""
        deadline = time.monotonic() + within_s
        while not (value := condition()):
            assert time.monotonic() < deadline, f"still not so after {within_s:g} s"
            time.sleep(0.1)
        return value

    def namespace(self) -> str:
        """Return a new namespace whose default service account is ready for pods."""
        # The next one becomes ready while this one is in use.
        name = self._spare.pop() if self._spare else self._new_namespace()
        self._spare.append(self._new_namespace())
        pod = {"metadata": {"name": "asked"}, "spec": {"containers": [{"name": "c", "image": "none"}]}}
        path = f"/api/v1/namespaces/{name}/pods?dryRun=All"
        # Any server refuses pods until the account is there, old ones until its token is too. A webhook that knows no
        # dry run (400) comes after that.
        self.until(lambda: self.call("POST", path, pod)[0] in (201, 400))
        return name

    def _new_namespace(self) -> str:
        name = f"t-{uuid.uuid4().hex[:8]}"
        status, told = self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert status == 201, told
        return name

    @contextlib.contextmanager
    def dead_webhook(self, namespace: str, group: str, plural: str) -> Iterator[str]:
        """Register an admission webhook for new objects in a namespace at which nothing listens, and yield its name."""
        name, path = f"dead.{namespace}.test", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
        rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE"], "resources": [plural]}
        hook = {
            "name": name,
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [rule],
            "namespaceSelector": {"matchLabels": {_HOOKED: namespace}},
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        self.call("PATCH", f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": {_HOOKED: namespace}}})
        status, told = self.call("POST", path, {"metadata": {"name": name}, "webhooks": [hook]})
        assert status == 201, told
        probe = f"/api{'s/' + group if group else ''}/v1/namespaces/{namespace}/{plural}?dryRun=All"
        spec = {"containers": [{"name": "c", "image": "none"}], "restartPolicy": "Never"}
        body = {"metadata": {"name": "asked"}, "spec": spec if plural == "pods" else {"template": {"spec": spec}}}
        try:
            # The API server follows such registrations a moment later.
            self.until(lambda: self.call("POST", probe, body)[0] == 500)
            yield name
        finally:
            self.delete(f"{path}/{name}")
            self.until(lambda: self.call("POST", probe, body)[0] == 201)

    def claim(self, namespace: str, name: str) -> Path:
        """Create a claim and return the folder that backs it."""
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        about = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
        self.create(about, namespace)
        return Path(self.node) / "claims" / namespace / name

    def misbehave(self, namespace: str, **how: str) -> None:
        """Make the stand-in misbehave in a namespace from now on."""
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        status, _ = self.call("POST", path, {"metadata": {"name": "ome-standin"}, "data": how})
        if status == 409:
            self.call("PATCH", f"{path}/ome-standin", {"data": how})

    def account(self, namespace: str, manifests: str, name: str, file: Path, *, lasts_s: int = 3600) -> Path:
        """Apply manifests that create a service account, and write a kubeconfig with its token."""
        for obj in yaml.safe_load_all(manifests):
            if obj:
                self.create(obj, namespace)
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": lasts_s},
        }
        status, told = self.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", asked)
        assert status == 201, told
        return self.write_kubeconfig(file, told["status"]["token"], namespace)

    def write_kubeconfig(self, file: Path, token: str, namespace: str) -> Path:
        authority = base64.b64encode(Path(self.ca).read_bytes()).decode()
        data = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority-data": authority}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user", "namespace": namespace}}],
        }
        file.write_text(yaml.safe_dump(data))
        return file
