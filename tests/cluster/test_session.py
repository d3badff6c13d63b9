"""A study's anchor and lease: created once, held by one process, deleted at the end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.cluster import session as module
from autotune_nb.cluster.kinds import CONFIG_MAP, JOB, LEASE, POD, uid_of
from autotune_nb.cluster.session import ClusterSession, expired
from autotune_nb.errors import ClusterError, StudyBusyError
from autotune_nb.task.task import Task
from tests.kubernetes.handle import TestCluster
from tests.kubernetes.proxy import FaultProxy
from tests.stubs import in_loop, until_async

BASE: dict[str, Any] = {
    "name": "chat",
    "model": "tiny",
    "engine": "sglang",
    "parameters": {"tp_size": [1, 2]},
    "workload": {"scenarios": ["D(16,8)"], "concurrency": [1]},
    "objective": "maximize output_tokens_per_s",
}


@contextlib.asynccontextmanager
async def opened(kubeconfig: Path, label: str = "study-1", **benchmark: Any) -> AsyncIterator[ClusterSession]:
    deploy = {"kind": "ome", "kubeconfig": str(kubeconfig)}
    session = ClusterSession(Task.parse({**BASE, "deploy": deploy, "benchmark": benchmark}), study_label=label)
    session.said = []  # type: ignore[attr-defined]
    session.notify = session.said.append  # type: ignore[attr-defined]
    await session.open()
    try:
        yield session
    finally:
        await session.close()


def renewed(seconds_ago: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def held_by(session: ClusterSession, holder: str, seconds_ago: float = 0) -> None:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 60, "renewTime": renewed(seconds_ago)}
    await session.cluster.create(LEASE, {"metadata": {"name": session.name}, "spec": spec})


def test_it_holds_an_anchor_and_a_lease_and_lets_go_of_both(kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with opened(kubeconfig) as session:
            await session.acquire()
            await session.acquire()
            anchor = await session.cluster.get(CONFIG_MAP, session.name)
            lease = await session.cluster.get(LEASE, session.name)
            assert anchor is not None and lease is not None
            assert session.owner["uid"] == uid_of(anchor)
            assert lease["spec"]["holderIdentity"].startswith(socket.gethostname())
            assert session.trial_metadata(7)["ownerReferences"] == [session.owner]
        async with opened(kubeconfig, "other") as session:
            assert await session.cluster.get(CONFIG_MAP, anchor["metadata"]["name"]) is None
            assert await session.cluster.get(LEASE, anchor["metadata"]["name"]) is None

    in_loop(scenario())


def test_what_is_left_keeps_its_anchor_for_a_reaper_to_find(kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with opened(kubeconfig) as session:
            await session.acquire()
            await session.close(keep_anchor=True)
            await session.open()
            assert await session.cluster.get(CONFIG_MAP, session.name) is not None
            assert await session.cluster.get(LEASE, session.name) is not None

    in_loop(scenario())


@pytest.mark.parametrize(
    ("holder", "seconds_ago"), [(f"{socket.gethostname()}/1/x", 0), ("elsewhere/1/x", 61), ("elsewhere/1/x", 4000)]
)
def test_a_lease_of_a_process_that_died_here_or_that_ran_out_is_taken(
    kubeconfig: Path, holder: str, seconds_ago: float
) -> None:
    async def scenario() -> None:
        async with opened(kubeconfig) as session:
            await held_by(session, holder, seconds_ago)
            await session.acquire()
            lease = await session.cluster.get(LEASE, session.name) or {}
            assert lease["spec"]["holderIdentity"] != holder

    in_loop(scenario())


def test_a_lease_that_is_seen_to_be_renewed_elsewhere_refuses_and_stays(kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with opened(kubeconfig) as session:
            await held_by(session, "elsewhere/1/x")

            async def renew() -> None:
                while True:
                    await asyncio.sleep(0.5)
                    await session.cluster.patch(LEASE, session.name, {"spec": {"renewTime": renewed(0)}})

            renewing = asyncio.ensure_future(renew())
            with pytest.raises(StudyBusyError, match="elsewhere/1/x runs this study"):
                await session.acquire()
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await session.close()
            await session.open()
            # The other's: closing takes neither away.
            assert await session.cluster.get(LEASE, session.name) is not None
            assert await session.cluster.get(CONFIG_MAP, session.name) is not None

    in_loop(scenario())


def test_it_is_renewed_and_says_when_somebody_took_it(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.2)

    async def scenario() -> None:
        async with opened(kubeconfig) as session:
            await session.acquire()
            first = (await session.cluster.get(LEASE, session.name) or {})["spec"]["renewTime"]
            while (await session.cluster.get(LEASE, session.name) or {})["spec"]["renewTime"] <= first:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            assert session.said == []  # type: ignore[attr-defined]
            await session.cluster.patch(LEASE, session.name, {"spec": {"holderIdentity": "thief/1"}})
            # A renewal that was under way as it was taken is refused, and the next one finds the thief.
            await until_async(lambda: any("taken by thief/1" in text for text in session.said))  # type: ignore[attr-defined]

    in_loop(scenario())


def test_a_lease_that_is_deleted_is_created_again_and_no_error_ends_its_renewal(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.1)

    async def scenario() -> None:
        async with opened(kubeconfig) as session:
            await session.acquire()
            get, errors = session.cluster.get, [TimeoutError(), AttributeError("unexpected")]

            async def failing(*args: Any, **named: Any) -> Any:
                if errors:
                    raise errors.pop()
                return await get(*args, **named)

            monkeypatch.setattr(session.cluster, "get", failing)
            await until_async(lambda: not errors)
            await session.cluster.delete(LEASE, session.name)
            await until_async(lambda: any("created again" in text for text in session.said))  # type: ignore[attr-defined]
            lease = await get(LEASE, session.name)
            assert lease is not None and lease["spec"]["holderIdentity"] == session._holder
            assert uid_of(lease) == session._lease_uid

    in_loop(scenario())


def test_an_anchor_that_was_deleted_is_created_again_once(kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with opened(kubeconfig) as session:
            await session.acquire()
            before = session.owner["uid"]
            await session.ensure_anchor()
            assert session.owner["uid"] == before
            await session.cluster.delete(CONFIG_MAP, session.name, propagation="Background")
            await asyncio.gather(*(session.ensure_anchor() for _ in range(3)))
            found = await session.cluster.get(CONFIG_MAP, session.name)
            assert found is not None and uid_of(found) == session.owner["uid"] != before
            (notice,) = [text for text in session.said if "configmap" in text]  # type: ignore[attr-defined]
            assert "is created again" in notice

    in_loop(scenario())


def test_an_anchor_that_is_being_deleted_is_not_held_on_to(kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with opened(kubeconfig) as session:
            body = {"metadata": {"name": session.name, "finalizers": ["test/stays"]}}
            await session.cluster.create(CONFIG_MAP, body)
            await session.cluster.delete(CONFIG_MAP, session.name, propagation="Background")
            with pytest.raises(ClusterError, match="being deleted"):
                await session.acquire()
            await session.cluster.patch(CONFIG_MAP, session.name, {"metadata": {"finalizers": None}})

    in_loop(scenario())


def test_a_right_that_is_missing_ends_it_at_once(proxy: FaultProxy, kubeconfig: Path) -> None:
    proxy.add("POST", "/leases", status=403, reason="Forbidden", message="leases is forbidden", times=99)

    async def scenario() -> None:
        async with opened(kubeconfig) as session:
            with pytest.raises(ClusterError, match="leases is forbidden"):
                await session.acquire()

    in_loop(scenario())


def test_benchmark_jobs_hand_no_label_on_so_their_pods_are_watched_without(
    kubeconfig: Path, cluster: TestCluster, namespace: str
) -> None:
    other = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other"}}
    cluster.create({**other, "spec": {"containers": [{"name": "c", "image": "docker.io/missing/x"}]}}, namespace)

    async def scenario(**benchmark: Any) -> set[str]:
        async with opened(kubeconfig, **benchmark) as session:
            await session.follow()
            assert session.watches.objects(JOB) == {}
            return set(session.watches.objects(POD))

    assert in_loop(scenario()) == set()
    assert in_loop(scenario(results="pvc://results/x")) == {"other"}


@pytest.mark.parametrize("spec", [{}, {"renewTime": "never", "leaseDurationSeconds": 60}, {"renewTime": None}])
def test_a_lease_that_says_nothing_has_run_out(spec: dict[str, Any]) -> None:
    assert expired(spec)
    assert not expired({"renewTime": renewed(5), "leaseDurationSeconds": 60})
    assert expired({"renewTime": renewed(61), "leaseDurationSeconds": 60})
