"""Deleting a study's objects: it waits until they are gone, names those that remain, and spares running studies."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from autotune_nb.cluster.cleanup import remove_expired, remove_study, take_over_lease
from autotune_nb.cluster.kinds import INFERENCE_SERVICE, LEASE, name_of
from autotune_nb.cluster.leftovers import StudyObjects, find_studies
from autotune_nb.errors import ClusterError, StudyBusyError
from tests.kubernetes.study_objects import NamespaceAccess, lease_spec, leave, there
from tests.stubs import in_loop


def test_a_study_goes_with_its_pods_and_nothing_of_another(access: NamespaceAccess) -> None:
    async def work() -> None:
        async with access.connected() as cluster:
            name = await leave(cluster, "one", trials=2)
            await leave(cluster, "two")
            before = await there(cluster, "two")
            said: list[str] = []
            removal = await remove_study(cluster, "one", notify=said.append)
            assert removal.remaining == []
            assert await there(cluster, "one") == []
            assert set(before) <= set(await there(cluster, "two"))
            assert removal.messages == said
            told = [line.removesuffix(" is gone") for line in said]
            assert f"ConfigMap {access.namespace}/{name}" == [t for t in told if not t.startswith("Lease")][-1]
            assert sum(line.startswith("InferenceService ") for line in told) == 2
            assert sum(line.startswith("Job ") for line in told) == 2
            again = await remove_study(cluster, "one")
            assert (again.messages, again.remaining) == ([], [])

    in_loop(work())


def test_a_sweep_before_a_run_keeps_anchor_and_lease(access: NamespaceAccess) -> None:
    async def work() -> None:
        async with access.connected() as cluster:
            name = await leave(cluster, "one")
            removal = await remove_study(cluster, "one", keep_anchor=True)
            assert removal.remaining == []
            assert await there(cluster) == [f"ConfigMap {name}", f"Lease {name}"]

    in_loop(work())


def test_what_stays_terminating_is_named_and_the_anchor_kept_for_the_next_try(access: NamespaceAccess) -> None:
    async def work() -> None:
        async with access.connected() as cluster:
            await leave(cluster, "one", finalizers=["example.com/held"])
            removal = await remove_study(cluster, "one", within_s=1)
            while len(removal.remaining) > 1:
                removal = await remove_study(cluster, "one", within_s=1)
            (service,), _ = await cluster.list(INFERENCE_SERVICE)
            since = service["metadata"]["deletionTimestamp"]
            (left,) = removal.remaining
            assert left.startswith(
                f"InferenceService {access.namespace}/{name_of(service)} (Terminating since {since}, held by its "
                "finalizers"
            )
            assert "example.com/held" in left
            kinds = {thing.split()[0] for thing in await there(cluster)}
            assert kinds == {"InferenceService", "ConfigMap", "Lease"}
            # Somebody mends it.
            await cluster.patch(INFERENCE_SERVICE, name_of(service), {"metadata": {"finalizers": []}})
            removal = await remove_study(cluster, "one")
            assert removal.remaining == []
            assert await there(cluster) == []

    in_loop(work())


def test_a_delete_that_is_refused_is_told_at_once_with_its_reason(access: NamespaceAccess) -> None:
    rules = [
        {"apiGroups": ["ome.io"], "resources": ["inferenceservices", "benchmarkjobs"], "verbs": ["list"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list", "delete"]},
        {"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["list", "delete"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list", "delete"]},
    ]

    async def work() -> None:
        metadata = {"name": "weak", "namespace": access.namespace}
        await access.apply(
            [
                {"kind": "ServiceAccount", "metadata": metadata},
                {"kind": "Role", "metadata": metadata, "rules": rules},
                {
                    "kind": "RoleBinding",
                    "metadata": metadata,
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "weak"},
                    "subjects": [{"kind": "ServiceAccount", **metadata}],
                },
            ]
        )
        async with access.connected() as cluster:
            await leave(cluster, "one")
        weak = await access.account("weak")
        async with weak.connected() as cluster:
            removal = await remove_study(cluster, "one", within_s=40)
            (left,) = removal.remaining
            assert left.startswith(f"InferenceService {access.namespace}/")
            assert "403" in left and "cannot delete" in left
            kinds = {line.split()[0] for line in removal.messages}
            assert kinds == {"Job"}

    in_loop(work())


def test_found_studies_say_whose_they_are_and_what_they_hold(access: NamespaceAccess) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()

    async def work() -> None:
        async with access.connected() as cluster:
            name = await leave(cluster, "alive", age_s=5, trials=2)
            await leave(cluster, "late", age_s=100)
            await leave(cluster, "here", age_s=5, holder=f"{socket.gethostname()}/{gone.pid}/abc", trials=0)
            await leave(cluster, "mine", age_s=5, holder=f"{socket.gethostname()}/{os.getpid()}/abc", trials=0)
            await leave(cluster, "bare", age_s=None, anchored=False)
            found: dict[str, StudyObjects] = {}
            while not found or found["alive"].gpus < 2:
                found = {study.label: study for study in await find_studies(cluster)}
            assert found.keys() == {"alive", "late", "here", "mine", "bare"}
            alive = found["alive"]
            assert (alive.name, alive.task, alive.holder, alive.gpus) == (name, "chat", "elsewhere/1/abc", 2)
            assert alive.counts == {"InferenceService": 2, "Job": 2, "Pod": 2, "ConfigMap": 1, "Lease": 1}
            assert alive.lease_status.startswith("held by elsewhere/1/abc, renewed ")
            assert found["late"].lease_status.startswith("lease of elsewhere/1/abc, expired 4")
            assert found["here"].lease_status.endswith("which has ended")
            assert found["bare"].lease_status == "no lease"
            assert {label for label, study in found.items() if study.held} == {"alive", "mine"}
            lines = alive.lines()
            assert "2 GPUs held" in lines[0]
            # A Job's pod goes with the Job.
            assert not any(line.strip().startswith("Pod ") for line in lines[1:])

    in_loop(work())


def test_only_expired_studies_are_removed_and_a_wrong_clock_costs_nobody_his_study(access: NamespaceAccess) -> None:
    async def work() -> None:
        async with access.connected() as cluster:
            await leave(cluster, "dead")
            await leave(cluster, "bare", age_s=None, anchored=False)
            await leave(cluster, "alive", age_s=5)
            slow = await leave(cluster, "slow-clock")
            before = await find_studies(cluster)
            # Its clock is minutes behind, and it goes on to renew.
            lease = await cluster.get(LEASE, slow)
            assert lease is not None
            await cluster.replace(LEASE, {**lease, "spec": lease_spec("elsewhere/1/abc", 300)})
            removed = await remove_expired(cluster, before=before, settle_s=0)
            assert removed.keys() == {"dead", "bare"}
            assert all(one.remaining == [] for one in removed.values())
            left = await find_studies(cluster)
            assert {study.label for study in left} == {"alive", "slow-clock"}
            assert all(study.counts["InferenceService"] == 1 for study in left)

    in_loop(work())


def test_a_lease_renewed_since_the_look_is_not_taken_over(access: NamespaceAccess) -> None:
    async def work() -> None:
        async with access.connected() as cluster:
            name = await leave(cluster, "one", trials=0)
            (study,) = await find_studies(cluster)
            lease = await cluster.get(LEASE, name)
            assert lease is not None
            await cluster.replace(LEASE, {**lease, "spec": lease_spec("elsewhere/1/abc", 0)})
            with pytest.raises(StudyBusyError, match=rf"elsewhere/1/abc has just renewed lease {name}"):
                await take_over_lease(cluster, study)
            (study,) = await find_studies(cluster)
            await take_over_lease(cluster, study)
            (study,) = await find_studies(cluster)
            assert study.holder.endswith("/cleanup")

    in_loop(work())


def test_where_nothing_may_be_listed_the_missing_permission_is_told(access: NamespaceAccess) -> None:
    async def work() -> None:
        await access.apply([{"kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": access.namespace}}])
        nobody = await access.account("nobody")
        async with nobody.connected() as cluster:
            with pytest.raises(ClusterError, match="cannot list") as raised:
                await find_studies(cluster)
            assert raised.value.status == 403

    in_loop(work())
