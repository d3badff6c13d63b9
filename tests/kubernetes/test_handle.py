"""The tests' own client of the cluster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.kubernetes.handle import Json, TestCluster


def test_a_new_namespace_takes_pods_at_once(cluster: TestCluster) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": "docker.io/missing/x"}]}}

    def made(number: int) -> Json:
        namespace = cluster.namespace()
        try:
            return cluster.create({**pod, "metadata": {"name": f"p{number}"}}, namespace)
        finally:
            cluster.delete_all("pods", namespace)

    with ThreadPoolExecutor(4) as pool:
        assert [one["metadata"]["name"] for one in pool.map(made, range(12))] == [f"p{n}" for n in range(12)]
