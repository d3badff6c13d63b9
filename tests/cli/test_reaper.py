"""The reaper in a pod, with its own Role: it deletes the objects of an expired study, not those of a held one."""

from __future__ import annotations

from typing import Any

from autotune_nb.cluster.kinds import JOB
from autotune_nb.cluster.templates import Templates
from tests.kubernetes.study_objects import IMAGE, NamespaceAccess, as_job, ended, leave, there
from tests.stubs import in_loop


def test_the_reapers_job_deletes_an_expired_study_and_spares_a_held_one(access: NamespaceAccess) -> None:
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
            # The tests' node runs pods as processes: the account's token is in a file, which may be in /tmp, so nothing
            # is mounted over that.
            job = as_job(cronjob, "reaper-due", {"KUBECONFIG": str(reaper.kubeconfig)})
            (container,) = job["spec"]["template"]["spec"]["containers"]
            assert container["command"] == ["autotune-nb"]
            container["volumeMounts"] = []
            await cluster.create(JOB, job)
            succeeded, log = await ended(cluster, "reaper-due")
            assert succeeded, log
            assert await there(cluster, "dead") == []
            assert set(alive) <= set(await there(cluster, "alive"))
            assert "held by elsewhere/1/abc" in log
            assert " is gone" in log

    in_loop(work())
