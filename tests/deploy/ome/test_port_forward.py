"""A port-forward that breaks during a measurement: a failure of the infrastructure, not of the configuration."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from autotune_nb import events
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import DeployError, FailureKind
from autotune_nb.runner.assembly import assemble
from autotune_nb.runner.runner import Runner
from autotune_nb.trial.trial import TrialState
from tests.deploy.ome.ome_namespace import OmeNamespace, gone_wrong, prepared, run
from tests.kubernetes.proxy import FaultProxy
from tests.stubs import HANGS_S, FakeBench, open_study, until, until_async

#: It streams for some ten seconds.
LONG = {"model": "tiny", "stream": True, "max_tokens": 5000, "messages": []}
#: A benchmark's request: the flag says that its answer has begun.
CLIENT = """
import json, pathlib, sys, urllib.request
url, flag, body = sys.argv[1:]
reply = urllib.request.urlopen(urllib.request.Request(url + "/v1/chat/completions", data=body.encode()))
reply.readline()
pathlib.Path(flag).touch()
reply.read()
"""


async def under_way(url: str) -> tuple[aiohttp.ClientSession, aiohttp.ClientResponse]:
    """A request whose answer has begun; the session is to be closed."""
    http = aiohttp.ClientSession()
    reply = await http.post(f"{url}/v1/chat/completions", json=LONG)
    await reply.content.readline()
    return http, reply


def test_a_drop_while_a_request_is_under_way_is_told_as_such_and_the_next_one_gets_through(
    ome: OmeNamespace, proxy: FaultProxy
) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            with pytest.raises(DeployError) as caught:
                async with deployer.deploy(ome.request()) as deployment:
                    url = deployment.endpoint.url
                    assert deployment.forward is not None
                    died = asyncio.ensure_future(deployment.died())
                    # One that nobody uses any more may go.
                    carried = deployment.forward._open.keys()
                    before = set(carried)
                    http, _ = await under_way(url)
                    await http.close()
                    await until_async(lambda: carried <= before)
                    await asyncio.to_thread(proxy.cut)
                    await asyncio.wait((died,), timeout=3.5)
                    assert not died.done()
                    http, reply = await under_way(url)
                    await asyncio.to_thread(proxy.cut)
                    with pytest.raises(aiohttp.ClientError):
                        await reply.read()
                    async with http.get(f"{url}/v1/models") as again:
                        assert again.status == 200
                    await http.close()
                    await asyncio.wait_for(died, HANGS_S)
        failure = caught.value.failure
        assert (failure.kind, failure.phase) == (FailureKind.INFRASTRUCTURE, "benchmark")
        assert "port-forward" in failure.message
        assert "was closed" in failure.message
        assert "executor" in failure.hint

    run(scenario)


def test_a_drop_at_the_very_end_does_not_pass_for_a_measurement(ome: OmeNamespace, proxy: FaultProxy) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            with pytest.raises(DeployError, match="port-forward"):
                async with deployer.deploy(ome.request()) as deployment:
                    http, reply = await under_way(deployment.endpoint.url)
                    await asyncio.to_thread(proxy.cut)
                    with pytest.raises(aiohttp.ClientError):
                        await reply.read()
                    await http.close()

    run(scenario)


def test_an_engine_that_dies_with_a_request_under_way_is_no_drop(ome: OmeNamespace) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            sessions: list[aiohttp.ClientSession] = []

            async def killed(deployment: Any) -> None:
                http, _ = await under_way(deployment.endpoint.url)
                sessions.append(http)
                await asyncio.to_thread(ome.kill, deployment)

            loop = asyncio.get_running_loop()
            failure = await gone_wrong(
                deployer,
                ome.request(),
                lambda deployment: asyncio.run_coroutine_threadsafe(killed(deployment), loop).result(20),
            )
            for http in sessions:
                await http.close()
            assert failure.kind is FailureKind.OUT_OF_MEMORY
            assert "exit code 137" in failure.message

    run(scenario)


# The drop's failure is above, and that such a trial is repeated once in tests/runner/test_trial_work.py.
@pytest.mark.slow
def test_a_second_attempt_measures(ome: OmeNamespace, proxy: FaultProxy, tmp_path: Path) -> None:
    flag, client = tmp_path / "under-way", tmp_path / "client.py"
    client.write_text(CLIENT)
    bench = FakeBench(tmp_path / "fake")
    first = f"[ -e '{flag}' ] || {{ '{sys.executable}' '{client}' \"$url\" '{flag}' '{json.dumps(LONG)}'; sleep 60; }}"
    task = ome.task(
        benchmark={"executable": bench.write(bench.both_levels(), before=first), "executor": "direct"},
        budget={"baseline": False, "trials": 1},
        strategy="random",
    )
    engine = engine_for(task)
    study = open_study(task, tmp_path / "study")
    bus = events.EventBus()
    seen: list[events.Event] = []
    bus.subscribe(seen.append)

    async def scenario() -> None:
        deployer, benchmark = assemble(
            task, engine, study_label=ome.study, folder=study.folder.path, notify=ome.notices.append
        )
        running = asyncio.ensure_future(Runner(study, deployer, benchmark, bus).run())
        await asyncio.to_thread(until, flag.exists)
        await asyncio.to_thread(proxy.cut)
        await running

    run(scenario)
    (trial,) = [event.trial for event in seen if isinstance(event, events.TrialEnded)]
    assert trial.state is TrialState.COMPLETE, trial.failure
    assert len(trial.measurements) == 2
    (retry,) = [event.text for event in seen if isinstance(event, events.Notice) and "is retried" in event.text]
    assert "infrastructure" in retry
    assert "port-forward" in retry
