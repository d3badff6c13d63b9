"""A namespace of the test cluster, and studies' objects as a killed run leaves them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import (
    CONFIG_MAP,
    INFERENCE_SERVICE,
    JOB,
    LEASE,
    POD,
    Kind,
    Object,
    labels_of,
    name_of,
    uid_of,
)
from autotune_nb.cluster.names import STUDY_LABEL, study_labels, study_name, trial_labels, trial_name

RBAC = "rbac.authorization.k8s.io"
KINDS = {
    "ServiceAccount": Kind("ServiceAccount", "serviceaccounts"),
    "Role": Kind("Role", "roles", RBAC),
    "RoleBinding": Kind("RoleBinding", "rolebindings", RBAC),
    "ClusterRole": Kind("ClusterRole", "clusterroles", RBAC, namespaced=False),
    "ClusterRoleBinding": Kind("ClusterRoleBinding", "clusterrolebindings", RBAC, namespaced=False),
    "ConfigMap": CONFIG_MAP,
    "PersistentVolumeClaim": Kind("PersistentVolumeClaim", "persistentvolumeclaims"),
    "Job": JOB,
}
#: One that the tests' node knows.
IMAGE = "autotune-nb/test:1"
#: OME lets it in and, since there is no such runtime, makes nothing of it.
SERVICE_SPEC: Object = {
    "model": {"name": "tiny"},
    "runtime": {"name": "nowhere"},
    "engine": {"minReplicas": 1, "maxReplicas": 1, "runner": {"name": "ome-container"}},
}


@dataclass(frozen=True)
class NamespaceAccess:
    """A namespace, and the credentials for it."""

    kubeconfig: Path
    namespace: str
    folder: Path

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Cluster]:
        cluster = await Cluster.connect(kubeconfig=str(self.kubeconfig), namespace=self.namespace)
        try:
            yield cluster
        finally:
            await cluster.close()

    async def apply(self, objects: Sequence[Object]) -> None:
        """Create objects of the kinds above."""
        async with self.connected() as cluster:
            for obj in objects:
                await cluster.create(KINDS[obj["kind"]], obj)

    async def account(self, name: str) -> NamespaceAccess:
        """Return access to the same namespace with a service account's token."""
        kind = Kind("TokenRequest", f"serviceaccounts/{name}/token")
        async with self.connected() as cluster:
            answer = await cluster.submit(kind, {"apiVersion": "authentication.k8s.io/v1", "spec": {}})
        config = yaml.safe_load(self.kubeconfig.read_text())
        for user in config["users"]:
            user["user"] = {"token": answer["status"]["token"]}
        file = self.folder / f"{name}.kubeconfig"
        file.write_text(yaml.safe_dump(config))
        return replace(self, kubeconfig=file)


def stamp(age_s: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def leave(
    cluster: Cluster,
    label: str,
    *,
    age_s: float | None = 300.0,
    holder: str = "elsewhere/1/abc",
    trials: int = 1,
    anchored: bool = True,
    finalizers: Sequence[str] = (),
) -> str:
    """Create a study's objects: anchor, lease (renewed ``age_s`` ago; none without), and for each trial an
    InferenceService and a Job whose pod holds a GPU. Returns the anchor's name."""
    name = study_name("chat", label)
    owners: list[Object] = []
    if anchored:
        data = {"task": "chat", "study": label, "holder": holder}
        anchor = await cluster.create(
            CONFIG_MAP, {"metadata": {"name": name, "labels": study_labels(label)}, "data": data}
        )
        owners = [{"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid_of(anchor)}]
    if age_s is not None:
        metadata = {"name": name, "labels": study_labels(label), "ownerReferences": owners}
        await cluster.create(LEASE, {"metadata": metadata, "spec": lease_spec(holder, age_s)})
    for trial in range(trials):
        metadata = {
            "name": trial_name("chat", label, trial),
            "labels": trial_labels(label, trial),
            "ownerReferences": owners,
        }
        service = {"metadata": {**metadata, "finalizers": list(finalizers)}, "spec": SERVICE_SPEC}
        await cluster.create(INFERENCE_SERVICE, service)
        await cluster.create(JOB, {"metadata": metadata, "spec": job_spec(trial_labels(label, trial))})
    return name


def lease_spec(holder: str, age_s: float) -> Object:
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": 60,
        "acquireTime": stamp(age_s + 60),
        "renewTime": stamp(age_s),
    }


def job_spec(labels: dict[str, str]) -> Object:
    container = {
        "name": "main",
        "image": IMAGE,
        "command": ["sleep", "600"],
        "resources": {"limits": {"nvidia.com/gpu": 1}},
    }
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "containers": [container]}
    return {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}}


async def there(cluster: Cluster, label: str | None = None) -> list[str]:
    """Return the objects of a study, or of all studies."""
    found = []
    for kind in (INFERENCE_SERVICE, JOB, POD, CONFIG_MAP, LEASE):
        objects, _ = await cluster.list(kind, selector=STUDY_LABEL)
        found += [f"{kind.name} {name_of(o)}" for o in objects if label in (None, labels_of(o)[STUDY_LABEL])]
    return found


def as_job(cronjob: Object, name: str, env: dict[str, str] | None = None) -> Object:
    """Return the Job that a CronJob would create."""
    job: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": cronjob["metadata"]["namespace"]},
        "spec": cronjob["spec"]["jobTemplate"]["spec"],
    }
    for container in job["spec"]["template"]["spec"]["containers"]:
        container["env"] = [*container["env"], *({"name": k, "value": v} for k, v in (env or {}).items())]
    return job


async def ended(cluster: Cluster, job: str) -> tuple[bool, str]:
    """Wait until a Job has ended. Returns whether it succeeded, and its pod's log."""
    while True:
        found = await cluster.get(JOB, job)
        assert found is not None
        status = found.get("status", {})
        if status.get("succeeded") or status.get("failed"):
            (pod,), _ = await cluster.list(POD, selector=f"job-name={job}")
            container = pod["spec"]["containers"][0]["name"]
            return bool(status.get("succeeded")), await cluster.log(name_of(pod), container)
        await asyncio.sleep(0.2)
