"""The client: retries, lost responses, renewed credentials, and error messages."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import ACCESS_REVIEW, CONFIG_MAP, INFERENCE_SERVICE, POD, name_of, uid_of
from autotune_nb.errors import ClusterError
from tests.kubernetes.proxy import FaultProxy
from tests.stubs import in_loop, until_async


@contextlib.asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Cluster]:
    cluster = await Cluster.connect(kubeconfig=str(kubeconfig))
    try:
        yield cluster
    finally:
        await cluster.close()


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"of": "test"}}, "data": data}


def test_objects_are_made_read_listed_changed_and_deleted(kubeconfig: Path, namespace: str) -> None:
    async def scenario() -> None:
        async with connected(kubeconfig) as cluster:
            assert cluster.namespace == namespace
            assert not cluster.inside
            made = await cluster.create(CONFIG_MAP, config_map("one", a="1"))
            assert (await cluster.get(CONFIG_MAP, "one") or {})["data"] == {"a": "1"}
            await cluster.patch(CONFIG_MAP, "one", {"data": {"b": "2"}})
            found, version = await cluster.list(CONFIG_MAP, selector="of=test")
            assert [one["data"] for one in found] == [{"a": "1", "b": "2"}]
            assert version
            await cluster.replace(CONFIG_MAP, {**found[0], "data": {"c": "3"}})
            with pytest.raises(ClusterError) as stale:
                await cluster.replace(CONFIG_MAP, {**found[0], "data": {}})
            assert (stale.value.status, stale.value.reason) == (409, "Conflict")
            assert not await cluster.delete(CONFIG_MAP, "one", uid="0-0-0")
            assert await cluster.delete(CONFIG_MAP, "one", uid=uid_of(made), propagation="Background")
            assert await cluster.get(CONFIG_MAP, "one") is None
            assert not await cluster.delete(CONFIG_MAP, "one")

    in_loop(scenario())


def test_a_dry_run_makes_nothing(kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with connected(kubeconfig) as cluster:
            assert name_of(await cluster.create(CONFIG_MAP, config_map("dry"), dry_run=True)) == "dry"
            assert await cluster.get(CONFIG_MAP, "dry") is None

    in_loop(scenario())


def test_a_question_is_answered(kubeconfig: Path, namespace: str) -> None:
    async def scenario() -> None:
        async with connected(kubeconfig) as cluster:
            asked = {"namespace": namespace, "verb": "create", "resource": "pods"}
            answer = await cluster.submit(ACCESS_REVIEW, {"spec": {"resourceAttributes": asked}})
            assert answer["status"]["allowed"] is True
            assert await cluster.is_allowed("create", "pods")
            assert await cluster.is_allowed("get", "clusterbasemodels", "ome.io", cluster_wide=True)

    in_loop(scenario())


@pytest.mark.parametrize(
    "lost",
    [
        {"lose_answer": True},
        {"take_effect": True, "status": 500},
        {"take_effect": True, "status": 504},
        {"late_s": 3},
    ],
)
def test_a_create_whose_answer_got_lost_is_looked_up_and_not_repeated(
    proxy: FaultProxy, kubeconfig: Path, lost: dict[str, Any]
) -> None:
    fault = proxy.add("POST", "/configmaps", **lost)

    async def scenario() -> None:
        async with connected(kubeconfig) as cluster:
            cluster.timeout_s = 1.0 if "late_s" in lost else cluster.timeout_s
            made = await cluster.create(CONFIG_MAP, config_map("once", a="1"))
            assert fault.hits == 1
            assert made["data"] == {"a": "1"}
            assert uid_of(made) == uid_of(await cluster.get(CONFIG_MAP, "once") or {})
            assert cluster.requests["POST", "configmaps"] == 1

    in_loop(scenario())


def test_a_create_that_nothing_came_of_is_repeated(proxy: FaultProxy, kubeconfig: Path) -> None:
    proxy.add("POST", "/configmaps", status=500, times=2)

    async def scenario() -> None:
        async with connected(kubeconfig) as cluster:
            await cluster.create(CONFIG_MAP, config_map("again"))
            assert cluster.requests["POST", "configmaps"] == 3

    in_loop(scenario())


def test_an_object_of_that_name_that_somebody_else_made_is_a_conflict_also_after_a_lost_answer(
    proxy: FaultProxy, kubeconfig: Path
) -> None:
    async def scenario() -> None:
        async with connected(kubeconfig) as cluster:
            await cluster.create(CONFIG_MAP, config_map("taken"))
            proxy.add("POST", "/configmaps", status=500)
            with pytest.raises(ClusterError) as caught:
                await cluster.create(CONFIG_MAP, config_map("taken"))
            assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")

    in_loop(scenario())


def test_too_many_requests_waits_as_long_as_the_server_asks(proxy: FaultProxy, kubeconfig: Path) -> None:
    proxy.add("GET", "/configmaps", status=429, reason="TooManyRequests", headers={"Retry-After": "1"})

    async def scenario() -> None:
        async with connected(kubeconfig) as cluster:
            began = time.monotonic()
            await cluster.list(CONFIG_MAP)
            assert time.monotonic() - began >= 1

    in_loop(scenario())


def test_what_is_refused_for_good_is_not_repeated_and_says_why(proxy: FaultProxy, kubeconfig: Path) -> None:
    proxy.add(
        "GET", "/pods", status=403, reason="Forbidden", message='pods is forbidden: User "x" cannot list', times=9
    )

    async def scenario() -> None:
        async with connected(kubeconfig) as cluster:
            with pytest.raises(ClusterError, match='User "x" cannot list') as caught:
                await cluster.list(POD)
            assert (caught.value.status, caught.value.reason) == (403, "Forbidden")
            assert not caught.value.by_webhook
            assert cluster.requests["GET", "pods"] == 1

    in_loop(scenario())


def test_a_server_that_is_away_is_asked_again_until_patience_ends(proxy: FaultProxy, kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with connected(kubeconfig) as cluster:
            cluster.patience_s = 1.0
            with proxy.down(), pytest.raises(ClusterError, match="did not respond") as caught:
                await cluster.list(CONFIG_MAP)
            assert caught.value.status == 0
            assert cluster.requests["GET", "configmaps"] > 1
            await cluster.list(CONFIG_MAP)

    in_loop(scenario())


def test_a_request_that_hangs_is_given_up_and_repeated(proxy: FaultProxy, kubeconfig: Path) -> None:
    # Until the end of the test.
    proxy.add("GET", "/configmaps", delay_s=600)

    async def scenario() -> None:
        async with connected(kubeconfig) as cluster:
            cluster.timeout_s = 0.5
            await cluster.list(CONFIG_MAP)
            assert cluster.requests["GET", "configmaps"] > 1

    in_loop(scenario())


def test_credentials_that_ran_out_are_read_anew(
    proxy: FaultProxy, cluster: Any, namespace: str, tmp_path: Path
) -> None:
    file = proxy.kubeconfig(tmp_path / "kubeconfig", token="old", namespace=namespace)

    async def scenario() -> None:
        async with connected(file) as client:
            with pytest.raises(ClusterError) as caught:
                await client.list(CONFIG_MAP)
            assert caught.value.status == 401
            proxy.kubeconfig(file, token=cluster.token, namespace=namespace)
            # Many find out at once; none of them fails.
            await asyncio.gather(*(client.list(CONFIG_MAP) for _ in range(5)))
            await client.create(CONFIG_MAP, config_map("renewed"))

    in_loop(scenario())


def test_credentials_that_worked_are_waited_for_and_that_is_told_once(
    proxy: FaultProxy, cluster: Any, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.cluster._credential_renewal._PAUSE_S", 0.2)
    file = proxy.kubeconfig(tmp_path / "kubeconfig", token="first", namespace=namespace)
    proxy.token = ("first", cluster.token)
    said: list[str] = []

    async def scenario() -> None:
        async with connected(file) as client:
            client.notify = said.append
            await client.list(CONFIG_MAP)
            proxy.token = ("second", cluster.token)
            asking = [asyncio.ensure_future(client.list(CONFIG_MAP)) for _ in range(5)]
            await until_async(lambda: said)
            # It is just being written.
            file.write_text("")
            await asyncio.sleep(0.5)
            assert not any(one.done() for one in asking)
            proxy.kubeconfig(file, token="second", namespace=namespace)
            await asyncio.gather(*asking)
            assert len(said) == 2
            proxy.token = ("third", cluster.token)
            client.stop_credential_wait()
            with pytest.raises(ClusterError) as caught:
                await client.list(CONFIG_MAP)
            assert caught.value.status == 401

    in_loop(scenario())
    assert "log in again" in said[0]
    assert said[1] == "the cluster accepts the credentials again"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data.update({"current-context": "none"}), "none"),
        (lambda data: data.update({"contexts": []}), "no credentials for a cluster"),
        (lambda data: data.clear(), "no credentials for a cluster"),
    ],
)
def test_a_kubeconfig_that_is_wrong_is_named(kubeconfig: Path, change: Any, told: str) -> None:
    data = yaml.safe_load(kubeconfig.read_text())
    change(data)
    kubeconfig.write_text(yaml.safe_dump(data))
    with pytest.raises(ClusterError, match=told) as caught:
        in_loop(Cluster.connect(kubeconfig=str(kubeconfig)))
    assert str(kubeconfig) in str(caught.value)


def test_a_context_and_a_namespace_may_be_named(kubeconfig: Path, cluster: Any) -> None:
    data = yaml.safe_load(kubeconfig.read_text())
    data["contexts"].append({"name": "other", "context": {"cluster": "proxy", "user": "user", "namespace": "there"}})
    kubeconfig.write_text(yaml.safe_dump(data))

    async def named(**how: str) -> str:
        found = await Cluster.connect(kubeconfig=str(kubeconfig), **how)
        await found.close()
        return found.namespace

    assert in_loop(named(context="other")) == "there"
    assert in_loop(named(context="other", namespace="mine")) == "mine"
    with pytest.raises(ClusterError, match="missing"):
        in_loop(named(context="missing"))


def test_no_kubeconfig_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError, match=r"~/\.kube/config.*give a kubeconfig file"):
        in_loop(Cluster.connect())
    with pytest.raises(ClusterError, match="there is no kubeconfig file"):
        in_loop(Cluster.connect(kubeconfig=str(tmp_path / "none")))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'one'}:{tmp_path / 'two'}")
    with pytest.raises(ClusterError, match=r"there is no kubeconfig file .*one:.*two' \(KUBECONFIG\)"):
        in_loop(Cluster.connect())


def test_a_kind_the_cluster_does_not_have(kubeconfig: Path, proxy: FaultProxy) -> None:
    proxy.add(
        "GET", "/inferenceservices", status=404, reason="NotFound", message="the server could not find it", times=9
    )

    async def scenario() -> None:
        async with connected(kubeconfig) as cluster:
            with pytest.raises(ClusterError) as caught:
                await cluster.list(INFERENCE_SERVICE)
            assert caught.value.status == 404

    in_loop(scenario())


def test_an_answer_that_is_no_json_is_an_error_of_the_clusters(kubeconfig: Path, proxy: FaultProxy) -> None:
    proxy.add("GET", "/configmaps", cut_after=10)

    async def scenario() -> None:
        async with connected(kubeconfig) as cluster:
            with pytest.raises(ClusterError, match=r"cut short|did not respond"):
                await cluster.list(CONFIG_MAP)

    in_loop(scenario())
