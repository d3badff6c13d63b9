"""A trial's objects: created once, after waiting for quota, and found after a lost response."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from autotune_nb.cluster import owned_object as module
from autotune_nb.cluster.kinds import CONFIG_MAP, Object
from autotune_nb.cluster.owned_object import OwnedObject
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.errors import ClusterError
from tests.cluster.test_session import opened
from tests.kubernetes.handle import TestCluster
from tests.kubernetes.proxy import FaultProxy
from tests.stubs import HANGS_S, in_loop, until_async

_MAPS = r"/configmaps(\?|$)"


def body(session: ClusterSession) -> Object:
    return {"metadata": session.trial_metadata(3), "data": {"a": "b"}}


async def make(session: ClusterSession, one: OwnedObject, *, within_s: float = HANGS_S) -> Object:
    deadline = asyncio.get_running_loop().time() + within_s
    return await one.create(body(session), deadline=deadline, notify=session.notify, subject="trial 3")


def test_it_is_made_once_and_known_to_be_this_trials(kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with opened(kubeconfig) as session:
            one, other = OwnedObject(session, CONFIG_MAP, 3), OwnedObject(session, CONFIG_MAP, 4)
            made = await make(session, one)
            assert one.uid == made["metadata"]["uid"]
            assert one.full_name == f"configmap {one.name} in namespace {session.cluster.namespace}"
            assert one.belongs_to_trial(made)
            assert not other.belongs_to_trial(made)
            with pytest.raises(ClusterError) as caught:
                await make(session, other)
            assert caught.value.status == 409
            assert not other.uid

    in_loop(scenario())


def test_a_quota_that_many_count_against_at_once_is_asked_again_but_not_for_ever(
    kubeconfig: Path, proxy: FaultProxy
) -> None:
    async def scenario() -> None:
        async with opened(kubeconfig) as session:
            conflict = proxy.add("POST", _MAPS, status=409, reason="Conflict", times=2)
            await make(session, OwnedObject(session, CONFIG_MAP, 3))
            assert conflict.hits == 2
            conflict.times = 10**6
            with pytest.raises(ClusterError, match="injected"):
                async with asyncio.timeout(HANGS_S):
                    await make(session, OwnedObject(session, CONFIG_MAP, 3), within_s=0.5)

    in_loop(scenario())


def test_a_quota_is_waited_for_and_told_once(
    kubeconfig: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUOTA_PAUSE_S", 0.05)
    proxy.add("POST", _MAPS, status=403, message="exceeded quota: q", times=3)

    async def scenario() -> list[str]:
        async with opened(kubeconfig) as session:
            assert (await make(session, OwnedObject(session, CONFIG_MAP, 3)))["data"]
            said: list[str] = session.said  # type: ignore[attr-defined]
            return said

    assert in_loop(scenario()) == ["trial 3 waits for quota: exceeded quota: q"]


def test_what_is_made_while_its_trial_is_stopped_is_known_before_the_trial_ends(
    kubeconfig: Path, proxy: FaultProxy, cluster: TestCluster, namespace: str
) -> None:
    late = proxy.add("POST", _MAPS, late_s=0.5)

    async def scenario() -> None:
        async with opened(kubeconfig) as session:
            one = OwnedObject(session, CONFIG_MAP, 3)
            making = asyncio.ensure_future(make(session, one))
            await until_async(lambda: late.hits)
            making.cancel()
            with pytest.raises(asyncio.CancelledError):
                await making
            assert one.cancellations == 1
            (found,) = (m for m in cluster.list("configmaps", namespace) if m["metadata"]["name"] == one.name)
            assert one.uid == found["metadata"]["uid"]

    in_loop(scenario())


def test_what_may_have_been_made_is_settled_later(kubeconfig: Path, proxy: FaultProxy) -> None:
    async def scenario() -> None:
        async with opened(kubeconfig) as session:
            session.cluster.patience_s = 0.3
            one, none = OwnedObject(session, CONFIG_MAP, 3), OwnedObject(session, CONFIG_MAP, 3, "never-asked-for")
            proxy.add("POST", _MAPS, lose_answer=True)
            looks = proxy.add("GET", r"/configmaps/", status=500, times=10**6)
            with pytest.raises(ClusterError):
                await make(session, one)
            with pytest.raises(ClusterError):
                await one.find_unconfirmed()
            assert not one.uid
            looks.times = 0
            await one.find_unconfirmed()
            assert one.uid
            before = session.cluster.requests.total()
            await none.find_unconfirmed()
            await one.find_unconfirmed()
            assert session.cluster.requests.total() == before

    in_loop(scenario())
