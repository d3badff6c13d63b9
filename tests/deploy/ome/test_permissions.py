"""The Roles allow the requests of the code, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from itertools import combinations, product
from pathlib import Path
from typing import Any

import autotune_nb
from autotune_nb.cluster import kinds
from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import ACCESS_REVIEW, CLAIM, CLUSTER_BASE_MODEL, CLUSTER_SERVING_RUNTIME
from autotune_nb.cluster.templates import Templates
from autotune_nb.deploy.ome._permissions import Permission, missing_permissions, required, required_by
from autotune_nb.task.task import Task
from tests.kubernetes.study_objects import NamespaceAccess
from tests.stubs import in_loop

EXECUTORS = ("benchmark_job", "job", "direct")
OME, BATCH, APPS, LEASES = "ome.io", "batch", "apps", "coordination.k8s.io"
#: Group, resource, verbs; what a run asks for in its namespace.
RUN = [
    (OME, "inferenceservices", "get list watch create delete"),
    (OME, "benchmarkjobs", "get list watch create delete"),
    (OME, "basemodels", "get list"),
    (OME, "servingruntimes", "get list"),
    ("", "pods", "get list watch create delete"),
    ("", "pods/log", "get"),
    ("", "pods/portforward", "get create"),
    ("", "events", "list watch"),
    ("", "services", "get list watch"),
    ("", "resourcequotas", "list"),
    ("", "persistentvolumeclaims", "get list create"),
    ("", "configmaps", "get list create delete"),
    (APPS, "deployments", "list watch"),
    (APPS, "replicasets", "list watch"),
    (BATCH, "jobs", "get list watch create delete"),
    (LEASES, "leases", "get list create update delete"),
]
#: What nobody is to be allowed.
NEVER = [
    ("", "secrets", "get list watch create update patch delete"),
    ("", "pods/exec", "get create"),
    ("", "pods/attach", "get create"),
    ("", "pods/ephemeralcontainers", "update patch"),
    ("", "serviceaccounts", "create update patch delete"),
    ("", "serviceaccounts/token", "create"),
    ("", "persistentvolumeclaims", "delete deletecollection update patch"),
    ("", "services", "create update patch delete"),
    ("", "configmaps", "update patch deletecollection"),
    ("", "resourcequotas", "create update patch delete"),
    (OME, "inferenceservices", "update patch deletecollection"),
    (OME, "basemodels", "create update patch delete"),
    (OME, "servingruntimes", "create update patch delete"),
    (APPS, "deployments", "create update patch delete"),
    (BATCH, "cronjobs", "create update patch delete"),
    (BATCH, "jobs", "update patch deletecollection"),
    ("rbac.authorization.k8s.io", "roles", "create update patch delete escalate bind"),
    ("rbac.authorization.k8s.io", "rolebindings", "create update patch delete"),
]
REAP = [
    (OME, "inferenceservices", "list delete"),
    (OME, "benchmarkjobs", "list delete"),
    (BATCH, "jobs", "list delete"),
    ("", "pods", "list delete"),
    ("", "configmaps", "list delete"),
    (LEASES, "leases", "list update delete"),
]


async def allowed(cluster: Cluster, wanted: list[tuple[str, str, str]], namespace: str) -> dict[str, bool]:
    found = {}
    for group, resource, verbs in wanted:
        name, _, sub = resource.partition("/")
        for verb in verbs.split():
            asked = {"namespace": namespace, "group": group, "resource": name, "subresource": sub, "verb": verb}
            answer = await cluster.submit(
                ACCESS_REVIEW, {"metadata": {}, "spec": {"resourceAttributes": {k: v for k, v in asked.items() if v}}}
            )
            found[f"{verb} {resource} in {namespace or 'the cluster'}"] = answer["status"]["allowed"]
    return found


def without(found: dict[str, bool], *, wanted: bool) -> list[str]:
    return [what for what, allowed in found.items() if allowed is not wanted]


def granted(right: Permission, objects: list[dict[str, Any]]) -> bool:
    """Whether the printed rules of the place a right belongs to allow it."""
    kind = "ClusterRole" if right.cluster_wide else "Role"
    resource = f"{right.resource}/{right.subresource}" if right.subresource else right.resource
    return any(
        right.group in rule["apiGroups"] and resource in rule["resources"] and right.verb in rule["verbs"]
        for obj in objects
        if obj["kind"] == kind
        for rule in obj["rules"]
    )


def every_need() -> Iterator[tuple[list[Permission], bool]]:
    """What is asked for with each executor and option, and whether the task brings a model or a runtime along."""
    brought = (CLAIM.plural, CLUSTER_BASE_MODEL.plural, CLUSTER_SERVING_RUNTIME.plural)
    for executor, inside, claim, count in product(EXECUTORS, (True, False), (True, False), range(4)):
        for creates in combinations(brought, count):
            yield required(executor, inside=inside, claim=claim, creates=creates), bool(set(creates) & set(brought[1:]))


def test_the_role_grants_what_any_run_needs() -> None:
    values = {"namespace": "n"}
    plain = Templates().render_objects("rbac.yaml.j2", values)
    makes = Templates().render_objects("rbac.yaml.j2", {**values, "create_models": True})
    for rights, models in every_need():
        lacking = [right.text for right in rights if not granted(right, makes if models else plain)]
        assert lacking == []
    assert not granted(Permission("patch", "pods"), makes)


#: The verbs of each call at the API server. After a creation without response the object is looked up.
VERBS = {
    "get": "get",
    "list": "list",
    "create": "create get",
    "delete": "delete",
    "replace": "update",
    "patch": "patch",
    "follow": "list watch",
    "OwnedObject": "create get",
    "BenchmarkObject": "create get delete",
    "_create_missing": "create get",
}
#: Permissions that are optional: they only serve suggestions of names.
OPTIONAL = {("list", "persistentvolumeclaims")}


def used() -> set[tuple[str, str]]:
    """Verb and resource of every request in the package's code that names its kind."""
    found = set()
    for file in Path(autotune_nb.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            call = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            named = [getattr(kinds, arg.id, None) for arg in node.args if isinstance(arg, ast.Name)]
            for kind in named:
                if isinstance(kind, kinds.Kind):
                    found |= {(verb, kind.plural) for verb in VERBS.get(call, "").split()}
    return found


def test_what_the_code_asks_of_the_server_is_among_the_needs() -> None:
    asked = {(right.verb, right.resource) for rights, _ in every_need() for right in rights}
    there = used()
    assert {("create", "inferenceservices"), ("watch", "events"), ("get", "jobs"), ("update", "leases"),
            ("list", "resourcequotas"), ("create", "persistentvolumeclaims")} <= there  # fmt: skip
    assert there - OPTIONAL <= asked


def test_a_run_may_do_what_it_does_and_no_more(
    access: NamespaceAccess, cluster_scoped: list[dict[str, object]]
) -> None:
    objects = Templates().render_objects("rbac.yaml.j2", {"namespace": access.namespace})
    cluster_scoped += [obj for obj in objects if obj["kind"].startswith("Cluster")]
    shared = [(OME, "clusterbasemodels", "get list"), (OME, "clusterservingruntimes", "get list")]
    never = [
        (OME, "clusterbasemodels", "create update patch delete"),
        (OME, "clusterservingruntimes", "create update patch delete"),
        ("", "nodes", "get list"),
        ("", "namespaces", "create delete"),
        (OME, "inferenceservices", "list delete"),
    ]

    async def work() -> None:
        await access.apply(objects)
        runner = await access.account("autotune-nb")
        async with runner.connected() as cluster:
            for executor in EXECUTORS:
                rights = required(executor, inside=False, claim=True, creates=["persistentvolumeclaims"])
                assert await missing_permissions(cluster, rights) == []
            assert without(await allowed(cluster, RUN, access.namespace), wanted=True) == []
            assert without(await allowed(cluster, shared, ""), wanted=True) == []
            assert without(await allowed(cluster, NEVER, access.namespace), wanted=False) == []
            assert without(await allowed(cluster, never, ""), wanted=False) == []
            assert without(await allowed(cluster, RUN, "default"), wanted=False) == []

    in_loop(work())


def test_models_and_runtimes_may_be_made_where_that_is_switched_on(
    access: NamespaceAccess, cluster_scoped: list[dict[str, object]]
) -> None:
    values = {"namespace": access.namespace, "name": "maker", "create_models": True}
    objects = Templates().render_objects("rbac.yaml.j2", values)
    cluster_scoped += [obj for obj in objects if obj["kind"].startswith("Cluster")]

    async def work() -> None:
        await access.apply(objects)
        maker = await access.account("maker")
        async with maker.connected() as cluster:
            creates = ("clusterbasemodels", "clusterservingruntimes")
            assert await missing_permissions(cluster, required("job", inside=True, creates=creates)) == []
            made = [(OME, "clusterbasemodels", "create"), (OME, "clusterservingruntimes", "create")]
            assert without(await allowed(cluster, made, ""), wanted=True) == []
            never = [(OME, "clusterbasemodels", "update patch delete")]
            assert without(await allowed(cluster, never, ""), wanted=False) == []

    in_loop(work())


def test_the_reaper_may_list_and_delete_what_studies_make_and_no_more(access: NamespaceAccess) -> None:
    objects = Templates().render_objects("reaper.yaml.j2", {"namespace": access.namespace, "image": "r/i:1"})

    async def work() -> None:
        await access.apply([obj for obj in objects if obj["kind"] != "CronJob"])
        reaper = await access.account("autotune-nb-reaper")
        async with reaper.connected() as cluster:
            assert without(await allowed(cluster, REAP, access.namespace), wanted=True) == []
            assert without(await allowed(cluster, NEVER, access.namespace), wanted=False) == []
            more = [(group, resource, "create patch") for group, resource, _ in REAP]
            assert without(await allowed(cluster, more, access.namespace), wanted=False) == []
            assert without(await allowed(cluster, REAP, "default"), wanted=False) == []

    in_loop(work())


def test_a_claim_of_caches_is_read_and_asked_for_once(make_task: Callable[..., Task]) -> None:
    reads = Permission("get", "persistentvolumeclaims")
    for deploy, count in (({}, 0), ({"caches": "pvc://kernels"}, 1)):
        task = make_task(deploy={"kind": "ome", "runtime": "r", **deploy})
        assert required_by(task, "direct", inside=True).count(reads) == count
        both = Task.parse({**task.model_dump(), "benchmark": {"results": "pvc://results/x"}})
        assert required_by(both, "job", inside=True).count(reads) == 1
