"""Will it run there? Asked before anything is made, each answer in a line."""

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
from autotune_nb.deploy.ome._permissions import missing, needed_by
from autotune_nb.deploy.ome._results_location import results_answers
from autotune_nb.deploy.ome.check_result import Answer
from autotune_nb.engines.base import Engine
from autotune_nb.errors import ClusterError, TaskError, did_you_mean
from autotune_nb.task.task import Task

_MAX_LABEL = 63


async def preflight(
    session: ClusterSession, task: Task, engine: Engine, *, executor: str = "", named: bool = True
) -> list[Answer]:
    """Every answer, the first one the cluster's; nothing is made.

    ``executor`` is the one that was picked; without it the task's choice counts. Without ``named`` the session stands
    for a study that is not there yet, and nothing is said of its trials' names. Never raises for what it finds; the
    session is open.
    """
    cluster = session.cluster
    try:
        version = (await cluster.get_path("/version") or {}).get("gitVersion", "of unknown version")
    except ClusterError as error:
        hint = "see the kubeconfig, its context and its credentials"
        return [Answer(False, f"the cluster is not reached: {error}", hint)]
    executor = executor or await choose_executor(task, cluster)
    where = "from inside" if cluster.inside else "from outside"
    # Asked at once, told in this order.
    found = await asyncio.gather(
        _told("the namespace", _namespace(cluster), cluster),
        _told("OME's version", _ome(cluster, executor), cluster),
        _told("permissions", _permissions(cluster, task, executor), cluster),
        _told("the model", _model(cluster, task), cluster),
        _told("the runtime", _runtime(cluster, task), cluster),
        _told("quotas", _quota(cluster, task, engine), cluster),
        _told("the place for results", results_answers(cluster, task, executor), cluster),
        _told("names", _names(task, session, named), cluster),
        _told("services of somebody else's", _services(cluster, task, session, named), cluster),
    )
    reached = Answer(True, f"cluster {cluster.server} reached {where}, Kubernetes {version}")
    return [reached, *(answer for answers in found for answer in answers)]


async def _told(what: str, asked: AsyncIterator[Answer], cluster: Cluster) -> list[Answer]:
    """The answers to one question; where the cluster refuses to tell, that is the answer."""
    answers: list[Answer] = []
    try:
        async for answer in asked:
            answers.append(answer)
    except ClusterError as error:
        if error.status == 403:
            answers.append(Answer(False, f"{what} could not be looked at: {error}", _role_hint(cluster)))
        else:
            answers.append(Answer(False, f"the cluster did not answer about {what}: {error}"))
    return answers


def _role_hint(cluster: Cluster) -> str:
    return f"autotune-nb manifests rbac --namespace {cluster.namespace} | kubectl apply -f -, and use its account"


async def _namespace(cluster: Cluster) -> AsyncIterator[Answer]:
    space = Kind("Namespace", "namespaces", namespaced=False)
    try:
        found = await cluster.get(space, cluster.namespace)
    except ClusterError as error:
        if error.status != 403:
            raise
        # A namespace's own account may not look at it.
        yield Answer(True, f"namespace {cluster.namespace}; whether it is there this account may not ask")
        return
    if found is None:
        hint = "name another with --namespace, or make it: kubectl create namespace " + cluster.namespace
        yield Answer(False, f"there is no namespace {cluster.namespace}", hint)
    elif (found.get("status") or {}).get("phase") == "Terminating":
        yield Answer(False, f"namespace {cluster.namespace} is being deleted", "name another with --namespace")
    else:
        yield Answer(True, f"namespace {cluster.namespace}")


async def _ome(cluster: Cluster, executor: str) -> AsyncIterator[Answer]:
    group = await cluster.get_path(f"/apis/{OME_GROUP}")
    if group is None:
        yield Answer(False, "OME is not installed: the cluster knows no API group ome.io", "install OME")
        return
    served = [one["version"] for one in group.get("versions") or ()]
    if OME_VERSION not in served:
        told = f"OME serves {', '.join(served) or 'no version'} of ome.io, and this version needs {OME_VERSION}"
        yield Answer(False, told, "a newer autotune_nb, or an OME that still serves it")
        return
    there = await cluster.get_path(f"/apis/{OME_GROUP}/{OME_VERSION}") or {}
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
    rights = needed_by(task, executor, inside=cluster.inside)
    lacking = await missing(cluster, rights)
    if lacking:
        told = ", ".join(right.text for right in lacking)
        yield Answer(False, f"missing permissions in namespace {cluster.namespace}: {told}", _role_hint(cluster))
    else:
        yield Answer(True, f"all {len(rights)} permissions for executor {executor}")


async def _model(cluster: Cluster, task: Task) -> AsyncIterator[Answer]:
    name = task.model.id_or_path
    if name is None:
        yield Answer(
            False, "a model of random weights is written here, not on the cluster's nodes", "name a model of OME's"
        )
        return
    if wrong := _wrong_name("model", name):
        yield wrong
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
    if wrong := _wrong_name("runtime", name):
        yield wrong
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
        except ClusterError as error:
            # The namespace's own kinds need not be readable where the cluster's are used.
            if error.status == 403 and kind.namespaced:
                continue
            raise
        if found is not None:
            return kind, found, []
        # Names to propose are no answer.
        with contextlib.suppress(ClusterError):
            known += [name_of(one) for one in (await cluster.list(kind))[0]]
    return None, None, known


def _wrong_name(what: str, name: str) -> Answer | None:
    """Why a name cannot be one of OME's; None where it can."""
    hint = f"the name that OME knows the {what} by"
    if len(name) > _MAX_LABEL:
        return Answer(False, f"{what} name {name!r} has {len(name)} characters, and a label holds {_MAX_LABEL}", hint)
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name):
        allowed = "lower case letters, digits, dashes and dots, with a letter or a digit at both ends"
        return Answer(False, f"{name!r} is no {what}'s name in a cluster: those have {allowed}", hint)
    return None


async def _quota(cluster: Cluster, task: Task, engine: Engine) -> AsyncIterator[Answer]:
    try:
        gpus, why = largest_trial(task, engine)
    except TaskError as error:
        yield Answer(False, f"the largest trial is not known: {error}")
        return
    told = f"the largest trial takes {gpus} GPUs" + (
        f" ({', '.join(f'{name}={value}' for name, value in why.items())})" if why else ""
    )
    ceiling = task.deploy.gpus
    if isinstance(ceiling, int) and gpus > ceiling:
        yield Answer(False, f"{told}, and deploy.gpus allows {ceiling}", "raise --gpus, or leave the sizes out")
        return
    try:
        amounts = {name: (amount, quantity(amount)) for name, amount in task.deploy.resources.items()}
    except ValueError as error:
        yield Answer(False, f"deploy.resources: {error}")
        return
    if gpus:
        amounts[task.deploy.gpu_resource] = (gpus, quantity(gpus))
    quotas, _ = await cluster.list(QUOTA)
    for quota in quotas:
        hard = (quota.get("status") or {}).get("hard") or (quota.get("spec") or {}).get("hard") or {}
        for name, (amount, asked) in amounts.items():
            for key in (f"requests.{name}", f"limits.{name}", name):
                if key in hard and asked > quantity(hard[key]):
                    text = f"{told}: {amount} of {name}, and quota {name_of(quota)} allows {hard[key]} ({key})"
                    yield Answer(False, text, "raise the quota, or leave the large sizes out")
                    return
    yield Answer(True, told + (f", within {len(quotas)} quota{'s' if len(quotas) > 1 else ''}" if quotas else ""))


async def _names(task: Task, session: ClusterSession, named: bool) -> AsyncIterator[Answer]:
    name = trial_name(task.name, session.study_label, task.num_trials or 0)
    if len(name) > MAX_NAME:
        yield Answer(False, f"name {name} has {len(name)} characters, {MAX_NAME} are safe", "a shorter task name")
    try:
        refuse_go_templates(
            task.model_dump(mode="json", include={"engine", "parameters", "deploy", "model"}), field="task"
        )
        like = name if named else f"{name.rpartition('-')[0]}-…, with an end that the study gets when it begins"
        yield Answer(True, f"objects are called {like}")
    except TaskError as error:
        yield Answer(False, str(error), "take the braces out")


async def _services(cluster: Cluster, task: Task, session: ClusterSession, named: bool) -> AsyncIterator[Answer]:
    if not named:
        told = "whether somebody else's Service has a trial's name is looked at when the study begins"
        yield Answer(True, f"{told}, and here with --study for one that is there")
        return
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
    else:
        yield Answer(True, "no Service of somebody else's has a trial's name")
