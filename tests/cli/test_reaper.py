"""The reaper with its own Role: it deletes the objects of an expired study, not those of a held one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from click.testing import CliRunner

from autotune_nb.cli.main import cli
from autotune_nb.cluster.cleanup import remove_expired
from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import JOB
from autotune_nb.cluster.templates import Templates
from tests.kubernetes.study_objects import IMAGE, NamespaceAccess, as_job, ended, leave, there
from tests.stubs import in_loop


async def in_this_process(_: Cluster, cronjob: dict[str, Any], kubeconfig: str) -> tuple[bool, str]:
    """Run the reaper's command with the rights of its account; return whether it succeeded, and its output."""
    (container,) = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["autotune-nb"]
    result = await asyncio.to_thread(CliRunner().invoke, cli, container["args"], env={"KUBECONFIG": kubeconfig})
    return result.exit_code == 0, result.output


async def in_a_pod(cluster: Cluster, cronjob: dict[str, Any], kubeconfig: str) -> tuple[bool, str]:
    """Run the reaper's Job; return whether it succeeded, and its pod's log."""
    # The tests' node runs pods as processes: the account's token is in a file, which may be in /tmp, so nothing is
    # mounted over that.
    job = as_job(cronjob, "reaper-due", {"KUBECONFIG": kubeconfig})
    (container,) = job["spec"]["template"]["spec"]["containers"]
    container["volumeMounts"] = []
    await cluster.create(JOB, job)
    return await ended(cluster, "reaper-due")


@pytest.mark.parametrize("reap", [in_this_process, pytest.param(in_a_pod, marks=pytest.mark.slow)])
def test_the_reaper_deletes_an_expired_study_and_spares_a_held_one(
    access: NamespaceAccess, reap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where it runs in this process, it does not wait fifteen seconds before it reads the leases again.
    monkeypatch.setitem(remove_expired.__kwdefaults__, "settle_s", 0.5)
    objects = Templates().render_objects("reaper.yaml.j2", {"namespace": access.namespace, "image": IMAGE})
    cronjob: dict[str, Any] = objects.pop()
    assert cronjob["kind"] == "CronJob"

    async def work() -> None:
        await access.apply(objects)
        reaper = await access.account("autotune-nb-reaper")
        async with access.connected() as cluster:
            await leave(cluster, "dead", trials=2)
            # Its lease lasts longer than the test.
            await leave(cluster, "alive", age_s=-600)
            alive = await there(cluster, "alive")
            succeeded, log = await reap(cluster, cronjob, str(reaper.kubeconfig))
            assert succeeded, log
            assert await there(cluster, "dead") == []
            assert set(alive) <= set(await there(cluster, "alive"))
            assert "held by elsewhere/1/abc" in log
            assert " is gone" in log

    in_loop(work())
