"""Will it run there? Asked before anything is made, each answer in a line."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from autotune_nb.cluster.choice import chosen_executor
from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import (
    BASE_MODEL,
    CLAIM,
    CLUSTER_BASE_MODEL,
    CLUSTER_SERVING_RUNTIME,
    OME_GROUP,
    OME_VERSION,
    QUOTA,
    SERVICE,
    SERVING_RUNTIME,
    Kind,
    Object,
    name_of,
)
from autotune_nb.cluster.names import MAX_NAME, trial_name
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.cluster.templates import refuse_templates
from autotune_nb.deploy.ome.compare import quantity
from autotune_nb.deploy.ome.largest import largest_trial
from autotune_nb.deploy.ome.permissions import missing, needed
from autotune_nb.engines.base import Engine
from autotune_nb.errors import ClusterError, TaskError, did_you_mean
from autotune_nb.task import Task

_MAX_LABEL = 63


@dataclass(frozen=True)
class Answer:
    """One line: whether it is well, what was found, and what to do where it is not."""

    ok: bool
    text: str
    hint: str = ""

    def __str__(self) -> str:
        mark = "ok  " if self.ok else "FAIL"
        return f"{mark}  {self.text}" + (f" (try: {self.hint})" if self.hint and not self.ok else "")


async def preflight(session: ClusterSession, task: Task, engine: Engine, *, executor: str = "") -> list[Answer]:
    """Every answer, the first one the cluster's; nothing is made.

    ``executor`` is the one that was picked; without it the task's choice counts. Never raises for what it
    finds; the session is open.
    """
    answers: list[Answer] = []
    async for answer in _answers(session, task, engine, executor):
        answers.append(answer)
    return answers


async def _answers(session: ClusterSession, task: Task, engine: Engine, executor: str) -> AsyncIterator[Answer]:
    cluster = session.cluster
    try:
        version = (await cluster.look("/version") or {}).get("gitVersion", "of unknown version")
    except ClusterError as error:
        yield Answer(
            False, f"the cluster is not reached: {error}", "see the kubeconfig, its context and its credentials"
        )
        return
    executor = executor or await chosen_executor(task, cluster)
    where = "from inside" if cluster.inside else "from outside"
    yield Answer(True, f"cluster {cluster.server} reached {where}, Kubernetes {version}")
    for check in (
        _namespace(cluster),
        _ome(cluster, executor),
        _permissions(cluster, task, executor),
        _model(cluster, task),
        _runtime(cluster, task),
        _quota(cluster, task, engine),
        _results(cluster, task, executor),
        _names(task, session),
        _services(cluster, task, session),
    ):
        try:
            async for answer in check:
                yield answer
        except ClusterError as error:
            if error.status != 403:
                yield Answer(False, f"the cluster did not answer: {error}")
            # What may not be looked at is told where the permissions are.


async def _namespace(cluster: Cluster) -> AsyncIterator[Answer]:
    space = Kind("Namespace", "namespaces", namespaced=False)
    try:
        found = await cluster.get(space, cluster.namespace)
    except ClusterError as error:
        if error.status != 403:
            raise
        # A namespace's own account may not look at it.
        yield Answer(True, f"namespace {cluster.namespace}")
        return
    if found is None:
        hint = "name another with --namespace, or make it: kubectl create namespace " + cluster.namespace
        yield Answer(False, f"there is no namespace {cluster.namespace}", hint)
    elif (found.get("status") or {}).get("phase") == "Terminating":
        yield Answer(False, f"namespace {cluster.namespace} is being deleted", "name another with --namespace")
    else:
        yield Answer(True, f"namespace {cluster.namespace}")


async def _ome(cluster: Cluster, executor: str) -> AsyncIterator[Answer]:
    group = await cluster.look(f"/apis/{OME_GROUP}")
    if group is None:
        yield Answer(False, "OME is not installed: the cluster knows no API group ome.io", "install OME")
        return
    served = [one["version"] for one in group.get("versions") or ()]
    if OME_VERSION not in served:
        told = f"OME serves {', '.join(served) or 'no version'} of ome.io, and this version needs {OME_VERSION}"
        yield Answer(False, told, "a newer autotune_nb, or an OME that still serves it")
        return
    there = await cluster.look(f"/apis/{OME_GROUP}/{OME_VERSION}") or {}
    kinds = {one["name"] for one in there.get("resources") or ()}
    wanted = ["inferenceservices", *(["benchmarkjobs"] if executor == "benchmark_job" else [])]
    lacking = [name for name in wanted if name not in kinds]
    if lacking:
        yield Answer(False, f"OME's {', '.join(lacking)} are not installed", "install all of OME's CRDs")
        return
    newer = [version for version in served if version != OME_VERSION]
    beside = f", beside {', '.join(newer)}" if newer else ""
    yield Answer(True, f"OME's CRDs serve {OME_GROUP}/{OME_VERSION}{beside}")


async def _permissions(cluster: Cluster, task: Task, executor: str) -> AsyncIterator[Answer]:
    creates = [
        plural
        for plural, spec in (
            ("clusterbasemodels", task.deploy.clusterbasemodel),
            ("clusterservingruntimes", task.deploy.clusterservingruntime),
        )
        if spec is not None
    ]
    rights = needed(executor, inside=cluster.inside, creates=creates)
    lacking = await missing(cluster, rights)
    if lacking:
        told = ", ".join(right.text for right in lacking)
        hint = f"autotune-nb manifests rbac --namespace {cluster.namespace} | kubectl apply -f -, and use its account"
        yield Answer(False, f"missing permissions in namespace {cluster.namespace}: {told}", hint)
    else:
        yield Answer(True, f"all {len(rights)} permissions for executor {executor}")


async def _model(cluster: Cluster, task: Task) -> AsyncIterator[Answer]:
    name = task.model.id_or_path
    if name is None:
        yield Answer(
            False, "a model of random weights is written here, not on the cluster's nodes", "name a model of OME's"
        )
        return
    kind, found, known = await _find(cluster, (CLUSTER_BASE_MODEL, BASE_MODEL), name)
    if found is None and task.deploy.clusterbasemodel is not None:
        yield Answer(True, f"model {name} will be made from deploy.clusterbasemodel")
        return
    if found is None:
        hint = "name one of them in model.id_or_path, or give deploy.clusterbasemodel"
        yield Answer(False, f"there is no model {name!r}{did_you_mean(name, known)}", hint)
        return
    assert kind is not None
    yield Answer(True, f"model {name} ({kind.name})")
    status = found.get("status") or {}
    nodes = status.get("nodesReady") or []
    if status.get("state") == "Ready" and nodes:
        yield Answer(True, f"model {name} is ready on {len(nodes)} node{'s' if len(nodes) > 1 else ''}")
    else:
        state = status.get("state") or "unknown"
        hint = "wait for OME's model agent, or see why it failed: pods would find no node"
        yield Answer(False, f"model {name} is ready on no node (state {state})", hint)


async def _runtime(cluster: Cluster, task: Task) -> AsyncIterator[Answer]:
    name = task.deploy.runtime
    if name is None:
        yield Answer(True, "no runtime is named: OME chooses one that fits the model")
        return
    kind, found, known = await _find(cluster, (CLUSTER_SERVING_RUNTIME, SERVING_RUNTIME), name)
    if found is None and task.deploy.clusterservingruntime is not None:
        yield Answer(True, f"runtime {name} will be made from deploy.clusterservingruntime")
    elif found is None:
        hint = "name one of them in deploy.runtime, or leave it out and OME chooses"
        yield Answer(False, f"there is no runtime {name!r}{did_you_mean(name, known)}", hint)
    elif (found.get("spec") or {}).get("disabled"):
        yield Answer(False, f"runtime {name} is disabled", "enable it, or name another in deploy.runtime")
    else:
        assert kind is not None
        yield Answer(True, f"runtime {name} ({kind.name})")


async def _find(cluster: Cluster, kinds: Iterable[Kind], name: str) -> tuple[Kind | None, Object | None, list[str]]:
    """An object of the first kind that has it, or else all names there are."""
    known: list[str] = []
    for kind in kinds:
        try:
            found = await cluster.get(kind, name)
            if found is not None:
                return kind, found, []
            known += [name_of(one) for one in (await cluster.list(kind))[0]]
        except ClusterError as error:
            # The namespace's own kinds need not be readable where the cluster's are used.
            if error.status not in (403, 404):
                raise
    return None, None, known


async def _quota(cluster: Cluster, task: Task, engine: Engine) -> AsyncIterator[Answer]:
    gpus, why = largest_trial(task, engine)
    told = f"the largest trial takes {gpus} GPUs" + (
        f" ({', '.join(f'{name}={value}' for name, value in why.items())})" if why else ""
    )
    ceiling = task.deploy.gpus
    if isinstance(ceiling, int) and gpus > ceiling:
        yield Answer(False, f"{told}, and deploy.gpus allows {ceiling}", "raise --gpus, or leave the sizes out")
        return
    asked = {**task.deploy.resources, **({task.deploy.gpu_resource: gpus} if gpus else {})}
    quotas, _ = await cluster.list(QUOTA)
    for quota in quotas:
        hard = (quota.get("status") or {}).get("hard") or (quota.get("spec") or {}).get("hard") or {}
        for name, amount in asked.items():
            for key in (f"requests.{name}", f"limits.{name}", name):
                if key in hard and quantity(amount) > quantity(hard[key]):
                    text = f"{told}: {amount} of {name}, and quota {name_of(quota)} allows {hard[key]} ({key})"
                    yield Answer(False, text, "raise the quota, or leave the large sizes out")
                    return
    yield Answer(True, told + (f", within {len(quotas)} quota{'s' if len(quotas) > 1 else ''}" if quotas else ""))


async def _results(cluster: Cluster, task: Task, executor: str) -> AsyncIterator[Answer]:
    results = task.benchmark.results
    if results is None:
        if executor == "benchmark_job":
            yield Answer(False, "a BenchmarkJob needs a place for its files", "--results pvc://CLAIM/FOLDER")
        return
    if not results.startswith("pvc://"):
        import fsspec

        try:
            fsspec.get_filesystem_class(results.split("://")[0])
            yield Answer(True, f"results go to {results}")
        except (ImportError, ValueError) as error:
            yield Answer(False, f"{results} cannot be read from here: {error}", "install the package it names")
        return
    claim = results.removeprefix("pvc://").split("/")[0]
    found = await cluster.get(CLAIM, claim)
    if found is not None:
        phase = (found.get("status") or {}).get("phase", "Pending")
        lost = phase == "Lost"
        yield Answer(not lost, f"claim {claim} ({phase})", "its volume is gone: name another claim" if lost else "")
    elif task.benchmark.results_size is not None:
        yield Answer(True, f"claim {claim} of {task.benchmark.results_size} will be made")
    else:
        known = [name_of(one) for one in (await cluster.list(CLAIM))[0]]
        hint = f"autotune-nb manifests claim --namespace {cluster.namespace} --name {claim} | kubectl apply -f -"
        yield Answer(False, f"there is no claim {claim!r}{did_you_mean(claim, known)}", hint)


async def _names(task: Task, session: ClusterSession) -> AsyncIterator[Answer]:
    name = trial_name(task.name, session.study_label, task.num_trials or 0)
    if len(name) > MAX_NAME:
        yield Answer(False, f"name {name} has {len(name)} characters, {MAX_NAME} are safe", "a shorter task name")
    for what, value in (("model", task.model.id_or_path), ("runtime", task.deploy.runtime)):
        if value is not None and (
            len(value) > _MAX_LABEL or not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", value)
        ):
            yield Answer(False, f"{value!r} is no {what}'s name in a cluster", "the name that OME knows it by")
    try:
        refuse_templates(
            task.model_dump(mode="json", include={"engine", "parameters", "deploy", "model"}), field="task"
        )
        yield Answer(True, f"objects are called {name}")
    except TaskError as error:
        yield Answer(False, str(error), "take the braces out")


async def _services(cluster: Cluster, task: Task, session: ClusterSession) -> AsyncIterator[Answer]:
    count = task.num_trials or 1000
    ours = {trial_name(task.name, session.study_label, trial) for trial in range(min(count, 5000) + 1)}
    there, _ = await cluster.list(SERVICE)
    foreign = [
        name_of(one)
        for one in there
        if name_of(one).removesuffix("-engine") in ours
        and not any(owner.get("kind") == "InferenceService" for owner in one["metadata"].get("ownerReferences") or ())
    ]
    if foreign:
        told = f"service {foreign[0]} is somebody else's and has a trial's name: OME would fall silent"
        yield Answer(False, told, f"delete service {foreign[0]}, or rename the task")
