"""Checks whether a task can run in a cluster, before any object is created."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.executor_choice import choose_executor
from autotune_nb.cluster.kinds import (
    BASE_MODEL,
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
from autotune_nb.cluster.quantity import quantity
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.cluster.templates import refuse_go_templates
from autotune_nb.deploy.ome._largest_trial import largest_trial
from autotune_nb.deploy.ome._permissions import missing_permissions, required_by
from autotune_nb.deploy.ome._results_location import caches_checks, results_checks
from autotune_nb.deploy.ome.check_result import CheckResult
from autotune_nb.deploy.ome.model_and_runtime import find_model_and_runtime, several_pods
from autotune_nb.engines.base import Engine
from autotune_nb.errors import ClusterError, TaskError, did_you_mean
from autotune_nb.task.task import Task

_MAX_LABEL = 63


async def preflight(
    session: ClusterSession, task: Task, engine: Engine, *, executor: str = "", study_exists: bool = True
) -> list[CheckResult]:
    """Return the results of all checks, first whether the cluster is reachable. Creates nothing.

    ``executor`` is the one that was chosen; by default it is chosen from the task. ``study_exists`` is whether the
    session belongs to an existing study, so that the names of its trials can be checked. The session must be open.
    Does not raise for failed checks.
    """
    cluster = session.cluster
    try:
        version = (await cluster.get_path("/version") or {}).get("gitVersion", "of unknown version")
    except ClusterError as error:
        hint = "check the kubeconfig, its context and its credentials"
        return [CheckResult(False, f"the cluster is unreachable: {error}", hint)]
    executor = executor or await choose_executor(task, cluster)
    where = "from inside" if cluster.inside else "from outside"
    # Requested concurrently, reported in this order.
    found = await asyncio.gather(
        _check("the namespace", _namespace(cluster), cluster),
        _check("OME's version", _ome(cluster, executor), cluster),
        _check("permissions", _permissions(cluster, task, executor), cluster),
        _check("the model", _model(cluster, task), cluster),
        _check("the runtime", _runtime(cluster, task), cluster),
        _check("quotas", _quota(cluster, task, engine), cluster),
        _check("the location for results", results_checks(cluster, task, executor), cluster),
        _check("the claim for caches", caches_checks(cluster, task), cluster),
        _check("names", _names(task, session, study_exists), cluster),
        _check("other Services", _services(cluster, task, session, study_exists), cluster),
    )
    reached = CheckResult(True, f"cluster {cluster.server} reached {where}, Kubernetes {version}")
    return [reached, *(result for results in found for result in results)]


async def _check(subject: str, checks: AsyncIterator[CheckResult], cluster: Cluster) -> list[CheckResult]:
    """Return the results of one check; an error of the API server is a failed check."""
    results: list[CheckResult] = []
    try:
        async for result in checks:
            results.append(result)
    except ClusterError as error:
        if error.status == 403:
            results.append(CheckResult(False, f"{subject} could not be read: {error}", _role_hint(cluster)))
        else:
            results.append(CheckResult(False, f"{subject} could not be checked: {error}"))
    return results


def _role_hint(cluster: Cluster) -> str:
    return f"autotune-nb manifests rbac --namespace {cluster.namespace} | kubectl apply -f -, and use its account"


async def _namespace(cluster: Cluster) -> AsyncIterator[CheckResult]:
    kind = Kind("Namespace", "namespaces", namespaced=False)
    try:
        found = await cluster.get(kind, cluster.namespace)
    except ClusterError as error:
        if error.status != 403:
            raise
        # A Role of the namespace cannot allow reading the namespace object.
        yield CheckResult(True, f"namespace {cluster.namespace}; this account may not check that it exists")
        return
    if found is None:
        hint = "give another with --namespace, or create it: kubectl create namespace " + cluster.namespace
        yield CheckResult(False, f"there is no namespace {cluster.namespace}", hint)
    elif (found.get("status") or {}).get("phase") == "Terminating":
        yield CheckResult(False, f"namespace {cluster.namespace} is being deleted", "give another with --namespace")
    else:
        yield CheckResult(True, f"namespace {cluster.namespace}")


async def _ome(cluster: Cluster, executor: str) -> AsyncIterator[CheckResult]:
    group = await cluster.get_path(f"/apis/{OME_GROUP}")
    if group is None:
        yield CheckResult(False, "OME is not installed: the cluster has no API group ome.io", "install OME")
        return
    served = [one["version"] for one in group.get("versions") or ()]
    if OME_VERSION not in served:
        text = f"OME serves {', '.join(served) or 'no version'} of ome.io, and this version needs {OME_VERSION}"
        yield CheckResult(False, text, "install a newer autotune_nb, or a version of OME that serves it")
        return
    resources = await cluster.get_path(f"/apis/{OME_GROUP}/{OME_VERSION}") or {}
    kinds = {one["name"] for one in resources.get("resources") or ()}
    wanted = ["inferenceservices", *(["benchmarkjobs"] if executor == "benchmark_job" else [])]
    lacking = [name for name in wanted if name not in kinds]
    if lacking:
        yield CheckResult(False, f"OME's {', '.join(lacking)} are not installed", "install all of OME's CRDs")
        return
    newer = [version for version in served if version != OME_VERSION]
    others = f", besides {', '.join(newer)}" if newer else ""
    yield CheckResult(True, f"OME's CRDs serve {OME_GROUP}/{OME_VERSION}{others}")


async def _permissions(cluster: Cluster, task: Task, executor: str) -> AsyncIterator[CheckResult]:
    permissions = required_by(task, executor, inside=cluster.inside)
    lacking = await missing_permissions(cluster, permissions)
    if lacking:
        names = ", ".join(one.text for one in lacking)
        yield CheckResult(False, f"missing permissions in namespace {cluster.namespace}: {names}", _role_hint(cluster))
    else:
        yield CheckResult(True, f"all {len(permissions)} permissions for executor {executor}")


async def _model(cluster: Cluster, task: Task) -> AsyncIterator[CheckResult]:
    name = task.model.id_or_path
    if name is None:
        yield CheckResult(
            False,
            "a model of random weights is written on this machine, not on the cluster's nodes",
            "use a model of OME",
        )
        return
    if invalid := _invalid_name("model", name):
        yield invalid
        return
    kind, found, known = await _find(cluster, (CLUSTER_BASE_MODEL, BASE_MODEL), name)
    if found is None and task.deploy.clusterbasemodel is not None:
        yield CheckResult(True, f"model {name} will be created from deploy.clusterbasemodel")
        return
    if found is None:
        hint = "use one of them in model.id_or_path, or set deploy.clusterbasemodel"
        yield CheckResult(False, f"there is no model {name!r}{did_you_mean(name, known)}", hint)
        return
    assert kind is not None
    yield CheckResult(True, f"model {name} ({kind.name})")
    status = found.get("status") or {}
    nodes = status.get("nodesReady") or []
    if status.get("state") == "Ready" and nodes:
        yield CheckResult(True, f"model {name} is ready on {len(nodes)} node{'s' if len(nodes) > 1 else ''}")
    else:
        state = status.get("state") or "unknown"
        hint = "wait for OME's model agent, or check why it failed: pods would find no node"
        yield CheckResult(False, f"model {name} is ready on no node (state {state})", hint)


async def _runtime(cluster: Cluster, task: Task) -> AsyncIterator[CheckResult]:
    name = task.deploy.runtime
    if name is None:
        yield CheckResult(True, "no runtime is given: OME chooses one that supports the model")
        return
    if invalid := _invalid_name("runtime", name):
        yield invalid
        return
    kind, found, known = await _find(cluster, (CLUSTER_SERVING_RUNTIME, SERVING_RUNTIME), name)
    if found is None and task.deploy.clusterservingruntime is not None:
        yield CheckResult(True, f"runtime {name} will be created from deploy.clusterservingruntime")
    elif found is None:
        hint = "use one of them in deploy.runtime, or leave it out for OME to choose"
        yield CheckResult(False, f"there is no runtime {name!r}{did_you_mean(name, known)}", hint)
    elif (found.get("spec") or {}).get("disabled"):
        yield CheckResult(False, f"runtime {name} is disabled", "enable it, or use another in deploy.runtime")
    else:
        assert kind is not None
        if parts := several_pods(found):
            hint = "use a runtime with one engine pod in deploy.runtime"
            yield CheckResult(False, f"runtime {name} has {parts}; a trial runs in one pod", hint)
        else:
            yield CheckResult(True, f"runtime {name} ({kind.name})")


async def _find(cluster: Cluster, kinds: Iterable[Kind], name: str) -> tuple[Kind | None, Object | None, list[str]]:
    """Return the object and its kind from the first kind that has it; else the names of all objects."""
    known: list[str] = []
    for kind in kinds:
        try:
            found = await cluster.get(kind, name)
        except ClusterError as error:
            # The namespaced kinds may be unreadable if only those of the cluster are used.
            if error.status == 403 and kind.namespaced:
                continue
            raise
        if found is not None:
            return kind, found, []
        # The names are only for a suggestion.
        with contextlib.suppress(ClusterError):
            known += [name_of(one) for one in (await cluster.list(kind))[0]]
    return None, None, known


def _invalid_name(subject: str, name: str) -> CheckResult | None:
    """Return a failed check if a name is no valid name in a cluster; None if it is."""
    hint = f"use the name of the {subject} in OME"
    if len(name) > _MAX_LABEL:
        return CheckResult(
            False, f"{subject} name {name!r} has {len(name)} characters, and a label has at most {_MAX_LABEL}", hint
        )
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name):
        allowed = "lower case letters, digits, dashes and dots, with a letter or a digit at both ends"
        return CheckResult(False, f"{name!r} is no valid {subject} name in a cluster: use {allowed}", hint)
    return None


async def _quota(cluster: Cluster, task: Task, engine: Engine) -> AsyncIterator[CheckResult]:
    try:
        known, _ = await find_model_and_runtime(cluster, task)
        gpus, sizes = largest_trial(task, engine, known.runner)
    except TaskError as error:
        yield CheckResult(False, f"the largest trial is unknown: {error}")
        return
    text = f"the largest trial takes {gpus} GPUs" + (
        f" ({', '.join(f'{name}={value}' for name, value in sizes.items())})" if sizes else ""
    )
    ceiling = task.deploy.gpus
    if isinstance(ceiling, int) and gpus > ceiling:
        yield CheckResult(False, f"{text}, and deploy.gpus allows {ceiling}", "raise --gpus, or leave the sizes out")
        return
    try:
        amounts = {name: (amount, quantity(amount)) for name, amount in task.deploy.resources.items()}
    except ValueError as error:
        yield CheckResult(False, f"deploy.resources: {error}")
        return
    if gpus:
        amounts[task.deploy.gpu_resource] = (gpus, quantity(gpus))
    quotas, _ = await cluster.list(QUOTA)
    for quota in quotas:
        hard = (quota.get("status") or {}).get("hard") or (quota.get("spec") or {}).get("hard") or {}
        for name, (amount, needed) in amounts.items():
            for key in (f"requests.{name}", f"limits.{name}", name):
                if key in hard and needed > quantity(hard[key]):
                    problem = f"{text}: {amount} of {name}, and quota {name_of(quota)} allows {hard[key]} ({key})"
                    yield CheckResult(False, problem, "raise the quota, or leave the large sizes out")
                    return
    yield CheckResult(True, text + (f", within {len(quotas)} quota{'s' if len(quotas) > 1 else ''}" if quotas else ""))


async def _names(task: Task, session: ClusterSession, study_exists: bool) -> AsyncIterator[CheckResult]:
    name = trial_name(task.name, session.study_label, task.num_trials or 0)
    if len(name) > MAX_NAME:
        yield CheckResult(
            False, f"name {name} has {len(name)} characters, the limit is {MAX_NAME}", "use a shorter task name"
        )
    try:
        refuse_go_templates(
            task.model_dump(mode="json", include={"engine", "parameters", "deploy", "model"}), field="task"
        )
        example = name if study_exists else f"{name.rpartition('-')[0]}-… with an ending for each study"
        yield CheckResult(True, f"objects are named like {example}")
    except TaskError as error:
        yield CheckResult(False, str(error), "remove the braces")


async def _services(
    cluster: Cluster, task: Task, session: ClusterSession, study_exists: bool
) -> AsyncIterator[CheckResult]:
    if not study_exists:
        text = "whether another Service has a trial's name is checked when the study starts"
        yield CheckResult(True, f"{text}, and here with --study for an existing study")
        return
    count = task.num_trials or 1000
    names = {trial_name(task.name, session.study_label, trial) for trial in range(min(count, 5000) + 1)}
    services, _ = await cluster.list(SERVICE)
    foreign = [
        name_of(one)
        for one in services
        if name_of(one).removesuffix("-engine") in names
        and not any(owner.get("kind") == "InferenceService" for owner in one["metadata"].get("ownerReferences") or ())
    ]
    if foreign:
        text = f"service {foreign[0]} is not this study's and has a trial's name: OME would not set the trial's status"
        yield CheckResult(False, text, f"delete service {foreign[0]}, or rename the task")
    else:
        yield CheckResult(True, "no other Service has a trial's name")
