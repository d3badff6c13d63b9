"""Watches show the current objects, also after interruptions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import CONFIG_MAP, EVENT, POD
from autotune_nb.cluster.names import study_selector, trial_labels
from autotune_nb.cluster.watch import Watches
from autotune_nb.errors import ClusterError
from tests.kubernetes.proxy import FaultProxy
from tests.stubs import HANGS_S, in_loop, until_async

STUDY = "s1"


@contextlib.asynccontextmanager
async def watching(kubeconfig: Path) -> AsyncIterator[tuple[Cluster, Watches]]:
    cluster = await Cluster.connect(kubeconfig=str(kubeconfig))
    watches = Watches(cluster)
    try:
        yield cluster, watches
    finally:
        await watches.close()
        await cluster.close()


def of_trial(name: str, trial: int, study: str = STUDY) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": trial_labels(study, trial)}, "data": {}}


def test_it_shows_what_was_there_what_comes_and_what_goes(kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with watching(kubeconfig) as (cluster, watches):
            await cluster.create(CONFIG_MAP, of_trial("before", 1))
            await cluster.create(CONFIG_MAP, of_trial("foreign", 1, "other"))
            await watches.follow(CONFIG_MAP, selector=study_selector(STUDY))
            assert set(watches.objects(CONFIG_MAP)) == {"before"}
            await cluster.create(CONFIG_MAP, of_trial("two", 2))
            await watches.until(lambda: "two" in watches.of_trial(CONFIG_MAP, 2) or None, trial=2)
            assert set(watches.of_trial(CONFIG_MAP, 1)) == {"before"}
            await cluster.patch(CONFIG_MAP, "two", {"data": {"a": "1"}})
            await watches.until(lambda: watches.of_trial(CONFIG_MAP, 2)["two"].get("data") or None, trial=2)
            await cluster.delete(CONFIG_MAP, "two")
            await watches.until(lambda: not watches.of_trial(CONFIG_MAP, 2) or None, trial=2)
            assert set(watches.objects(CONFIG_MAP)) == {"before"}
            assert cluster.requests["WATCH", "configmaps"] == 1

    in_loop(scenario())


def test_many_wait_on_one_watch(kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with watching(kubeconfig) as (cluster, watches):
            await watches.follow(CONFIG_MAP, selector=study_selector(STUDY))

            async def one(trial: int) -> None:
                await cluster.create(CONFIG_MAP, of_trial(f"t{trial}", trial))
                await watches.until(lambda: watches.of_trial(CONFIG_MAP, trial) or None, trial=trial)

            await asyncio.gather(*map(one, range(30)))
            assert cluster.requests["WATCH", "configmaps"] == 1
            assert cluster.requests["GET", "configmaps"] == 1

    in_loop(scenario())


def test_it_goes_on_where_it_was_cut_off(proxy: FaultProxy, kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with watching(kubeconfig) as (cluster, watches):
            await watches.follow(CONFIG_MAP, selector=study_selector(STUDY))
            for number in range(4):
                await cluster.create(CONFIG_MAP, of_trial(f"m{number}", number))
                await asyncio.to_thread(proxy.cut)
            await watches.until(lambda: len(watches.objects(CONFIG_MAP)) == 4 or None)
            # Resumed, not listed again.
            assert cluster.requests["GET", "configmaps"] == 1
            assert cluster.requests["WATCH", "configmaps"] > 1

    in_loop(scenario())


def test_a_line_cut_in_the_middle_loses_nothing(proxy: FaultProxy, kubeconfig: Path) -> None:
    fault = proxy.add("WATCH", "/configmaps", cut_after=50)

    async def scenario() -> None:
        async with watching(kubeconfig) as (cluster, watches):
            await watches.follow(CONFIG_MAP, selector=study_selector(STUDY))
            await cluster.create(CONFIG_MAP, of_trial("whole", 1))
            await watches.until(lambda: watches.of_trial(CONFIG_MAP, 1) or None, trial=1)
            assert fault.hits == 1

    in_loop(scenario())


_TOO_OLD = {"reason": "Expired", "message": "too old resource version"}


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 410, **_TOO_OLD},
        # As the API server says it of a watch that it has let in.
        {"status": 200, "body": {"type": "ERROR", "object": {"kind": "Status", "code": 410, **_TOO_OLD}}},
    ],
)
def test_after_410_it_lists_again_and_sees_what_went_meanwhile(
    proxy: FaultProxy, kubeconfig: Path, fault: dict[str, Any]
) -> None:
    async def scenario() -> None:
        async with watching(kubeconfig) as (cluster, watches):
            await cluster.create(CONFIG_MAP, of_trial("goes", 1))
            await watches.follow(CONFIG_MAP, selector=study_selector(STUDY))
            # The watch is open, so that its next request is the one with the fault.
            await until_async(lambda: proxy.num_open == 1)
            proxy.add("WATCH", "/configmaps", **fault)
            await asyncio.to_thread(proxy.cut)
            await cluster.delete(CONFIG_MAP, "goes")
            await cluster.create(CONFIG_MAP, of_trial("comes", 2))
            await watches.until(lambda: set(watches.objects(CONFIG_MAP)) == {"comes"} or None)
            assert not watches.of_trial(CONFIG_MAP, 1)
            assert cluster.requests["GET", "configmaps"] == 2

    in_loop(scenario())


@pytest.mark.parametrize(
    "line", ['{"type": "ADDED", "object": {"meta', '{"no": "event"}', '{"type": "BOOKMARK"}', "[]"]
)
def test_a_line_that_is_no_event_ends_no_watch(proxy: FaultProxy, kubeconfig: Path, line: str) -> None:
    fault = proxy.add("WATCH", "/configmaps", status=200, text=line)

    async def scenario() -> None:
        async with watching(kubeconfig) as (cluster, watches):
            await watches.follow(CONFIG_MAP, selector=study_selector(STUDY))
            await cluster.create(CONFIG_MAP, of_trial("whole", 1))
            await watches.until(lambda: watches.of_trial(CONFIG_MAP, 1) or None, trial=1)
            assert fault.hits == 1

    in_loop(scenario())


def test_a_watch_that_is_not_allowed_is_an_error_for_whoever_waits(proxy: FaultProxy, kubeconfig: Path) -> None:
    proxy.add("GET", "/configmaps", status=403, reason="Forbidden", message="configmaps is forbidden", times=9)

    async def scenario() -> None:
        async with watching(kubeconfig) as (_, watches):
            with pytest.raises(ClusterError, match="configmaps is forbidden"):
                await watches.follow(CONFIG_MAP)
            with pytest.raises(ClusterError, match="configmaps is forbidden"):
                await watches.until(lambda: None)

    in_loop(scenario())


def test_a_watch_that_is_refused_in_mid_run_comes_back_and_is_told_once(proxy: FaultProxy, kubeconfig: Path) -> None:
    said: list[str] = []

    async def scenario() -> None:
        async with watching(kubeconfig) as (cluster, watches):
            watches._notify = said.append
            watches.patience_s = 600.0
            await watches.follow(CONFIG_MAP, selector=study_selector(STUDY))
            await watches.follow(POD)
            await until_async(lambda: proxy.num_open == 2)
            refused = proxy.add("WATCH", ".*", status=403, reason="Forbidden", message="no watching", times=10**9)
            await asyncio.to_thread(proxy.cut)
            await until_async(lambda: watches._kinds[CONFIG_MAP].rejected and watches._kinds[POD].rejected)
            # An API server that starts up refuses for a moment.
            with pytest.raises(TimeoutError):
                await watches.until(lambda: None, within_s=0.1)
            watches.patience_s = 0.0
            with pytest.raises(ClusterError, match="no watching"):
                await watches.until(lambda: None)
            await cluster.create(CONFIG_MAP, of_trial("unseen", 1))
            proxy.faults.remove(refused)
            await until_async(lambda: "unseen" in watches.objects(CONFIG_MAP))
            await until_async(lambda: len(said) == 2)
            with pytest.raises(TimeoutError):
                await watches.until(lambda: None, within_s=0.1)

    in_loop(scenario())
    assert said[0].startswith("the watch of ")
    assert "no watching" in said[0]
    assert "autotune-nb check" in said[0]
    assert said[1] == "all watches are allowed again"


def test_waiting_ends_in_time_and_passes_on_what_the_check_raises(kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with watching(kubeconfig) as (_, watches):
            await watches.follow(CONFIG_MAP)
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await watches.until(lambda: None, within_s=0.3)
            assert time.monotonic() - began >= 0.3
            with pytest.raises(KeyError):
                await watches.until(lambda: {}["no"])  # type: ignore[misc]

    in_loop(scenario())


def test_events_are_told_by_the_uid_they_are_about(kubeconfig: Path, namespace: str) -> None:
    def event(name: str, uid: str, kind: str = "Warning") -> dict[str, Any]:
        about = {"kind": "Pod", "namespace": namespace, "name": "p", "uid": uid}
        return {"metadata": {"name": name}, "involvedObject": about, "type": kind, "reason": name, "message": "m"}

    async def scenario() -> None:
        async with watching(kubeconfig) as (cluster, watches):
            await watches.follow(EVENT, fields="type!=Normal")
            await cluster.create(EVENT, event("old", "1"))
            await cluster.create(EVENT, event("usual", "2", "Normal"))
            await cluster.create(EVENT, event("new", "2"))
            await watches.until(lambda: watches.events("2") or None, trial=5)
            assert [one["reason"] for one in watches.events("2")] == ["new"]
            assert [one["reason"] for one in watches.events("1")] == ["old"]
            assert watches.events("3") == []

    in_loop(scenario())


def test_closing_leaves_no_task_and_no_connection(proxy: FaultProxy, kubeconfig: Path) -> None:
    async def scenario() -> None:
        before = asyncio.all_tasks()
        async with watching(kubeconfig) as (_, watches):
            await watches.follow(CONFIG_MAP)
            await watches.follow(POD)
        assert asyncio.all_tasks() == before

    in_loop(scenario())


@pytest.mark.parametrize("turns", range(6))
def test_a_cancellation_as_something_comes_is_not_lost(turns: int) -> None:
    async def scenario() -> None:
        watches = Watches(None)  # type: ignore[arg-type]
        waiting = asyncio.ensure_future(watches.until(lambda: None, trial=1))
        await asyncio.sleep(0.01)
        watches._wake("1")
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        done, _ = await asyncio.wait((waiting,), timeout=HANGS_S)
        waiting.cancel()
        assert done, "the cancellation was lost"
        assert waiting.cancelled()

    in_loop(scenario())
