"""The kinds of Kubernetes objects that this package uses, and their API paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: A Kubernetes object as decoded JSON.
Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of object, with its names and its API path."""

    name: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The value of an object's ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The name in messages and RBAC, such as ``inferenceservices.ome.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str, name: str | None = None) -> str:
        """Return the API path of the collection, or of one object."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced else ""
        return f"{root}{scope}/{self.plural}" + (f"/{name}" if name else "")


OME_GROUP = "ome.io"
OME_VERSION = "v1beta1"


def _ome(name: str, plural: str, *, namespaced: bool = True) -> Kind:
    return Kind(name, plural, OME_GROUP, OME_VERSION, namespaced)


INFERENCE_SERVICE = _ome("InferenceService", "inferenceservices")
BENCHMARK_JOB = _ome("BenchmarkJob", "benchmarkjobs")
BASE_MODEL = _ome("BaseModel", "basemodels")
CLUSTER_BASE_MODEL = _ome("ClusterBaseModel", "clusterbasemodels", namespaced=False)
SERVING_RUNTIME = _ome("ServingRuntime", "servingruntimes")
CLUSTER_SERVING_RUNTIME = _ome("ClusterServingRuntime", "clusterservingruntimes", namespaced=False)
POD = Kind("Pod", "pods")
EVENT = Kind("Event", "events")
SERVICE = Kind("Service", "services")
CONFIG_MAP = Kind("ConfigMap", "configmaps")
CLAIM = Kind("PersistentVolumeClaim", "persistentvolumeclaims")
QUOTA = Kind("ResourceQuota", "resourcequotas")
DEPLOYMENT = Kind("Deployment", "deployments", "apps")
REPLICA_SET = Kind("ReplicaSet", "replicasets", "apps")
JOB = Kind("Job", "jobs", "batch")
LEASE = Kind("Lease", "leases", "coordination.k8s.io")
ACCESS_REVIEW = Kind("SelfSubjectAccessReview", "selfsubjectaccessreviews", "authorization.k8s.io", namespaced=False)


def name_of(obj: Object) -> str:
    """Return the object's name."""
    return str(obj["metadata"]["name"])


def uid_of(obj: Object) -> str:
    """Return the object's uid."""
    return str(obj["metadata"]["uid"])


def labels_of(obj: Object) -> dict[str, str]:
    """Return the object's labels."""
    return obj["metadata"].get("labels") or {}


def terminating(obj: Object) -> bool:
    """Whether the object's deletion was requested."""
    return "deletionTimestamp" in obj["metadata"]
