"""The behaviour that every deployer must have. Subclass ``DeployerContract`` and define the ``subject`` fixture."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Protocol

import aiohttp
import pytest

from autotune_nb.deploy import Deployer, Deployment, DeployRequest
from autotune_nb.errors import DeployError, FailureKind
from tests.stubs import in_loop


class Subject(Protocol):
    """One deployer under test, with access to what it deploys."""

    deployer: Deployer
    #: The same deployer with a configuration that never becomes ready.
    failing: Deployer
    failing_kind: FailureKind
    failing_line: str
    #: The same deployer with an engine that takes at least ``stop_s`` seconds to stop by itself.
    slow_to_stop: Deployer
    stop_s: float
    #: The same deployer with an engine that is given ten minutes to stop by itself, and takes them.
    never_stops: Deployer

    def request(self) -> DeployRequest: ...

    def deployed(self) -> list[Any]:
        """Return everything that exists of its deployments."""

    def kill(self, deployment: Deployment) -> None:
        """Kill a running engine without the deployer."""

    def create_leftovers(self) -> None:
        """Create what a previous process of the study leaves if it ends before it has cleaned up."""


class _BodyError(Exception):
    pass


async def _status(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as reply:
        return reply.status


def _run(subject: Subject, work: Coroutine[Any, Any, None]) -> None:
    """Run a scenario and close the deployers, which may have connections on its event loop."""

    async def scenario() -> None:
        try:
            await work
        finally:
            for deployer in (subject.deployer, subject.failing, subject.slow_to_stop, subject.never_stops):
                await deployer.close()

    in_loop(scenario())


class DeployerContract:
    """Tests of the protocols in ``autotune_nb.deploy.base``."""

    def test_a_deployment_serves_inside_the_context_and_is_gone_after(self, subject: Subject) -> None:
        async def scenario() -> None:
            await subject.deployer.prepare()
            async with subject.deployer.deploy(subject.request()) as deployment:
                endpoint = deployment.endpoint
                assert await _status(f"{endpoint.url}/v1/models") == 200
                assert endpoint.model
                assert endpoint.tokenizer
                assert endpoint.command
                assert subject.deployed()
            assert not subject.deployed()
            with pytest.raises(aiohttp.ClientError):
                await _status(f"{endpoint.url}/v1/models")

        _run(subject, scenario())

    def test_a_deployment_is_gone_after_the_body_raised(self, subject: Subject) -> None:
        async def scenario() -> None:
            await subject.deployer.prepare()
            with pytest.raises(_BodyError):
                async with subject.deployer.deploy(subject.request()):
                    raise _BodyError
            assert not subject.deployed()

        _run(subject, scenario())

    @pytest.mark.parametrize("times", [1, 2])
    def test_a_deployment_is_gone_after_the_body_was_cancelled(self, subject: Subject, times: int) -> None:
        # The first cancellation lets the engine stop by itself; the second one kills it.
        deployer = subject.slow_to_stop if times == 1 else subject.never_stops

        async def scenario() -> None:
            await deployer.prepare()
            inside = asyncio.Event()

            async def hold() -> None:
                async with deployer.deploy(subject.request()):
                    inside.set()
                    await asyncio.sleep(600)

            task = asyncio.ensure_future(hold())
            await inside.wait()
            began = time.monotonic()
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0.2)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not subject.deployed()
            assert times == 2 or time.monotonic() - began >= subject.stop_s

        _run(subject, scenario())

    def test_a_deployment_is_gone_when_it_is_cancelled_before_it_is_ready(self, subject: Subject) -> None:
        async def scenario() -> None:
            await subject.deployer.prepare()

            async def hold() -> None:
                async with subject.deployer.deploy(subject.request()):
                    await asyncio.sleep(600)

            for pause in (0.0, 0.01, 0.03, 0.06):
                task = asyncio.ensure_future(hold())
                await asyncio.sleep(pause)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert task.cancelled()
                assert not subject.deployed()

        _run(subject, scenario())

    def test_hurry_takes_a_deployment_down_at_once(self, subject: Subject) -> None:
        async def scenario() -> None:
            await subject.never_stops.prepare()
            async with subject.never_stops.deploy(subject.request()):
                subject.never_stops.hurry()
            assert not subject.deployed()

        _run(subject, scenario())

    def test_a_failing_configuration_raises_with_its_kind_and_log_lines(self, subject: Subject) -> None:
        async def scenario() -> None:
            await subject.failing.prepare()
            with pytest.raises(DeployError) as caught:
                async with subject.failing.deploy(subject.request()):
                    pytest.fail("it became ready")
            failure = caught.value.failure
            assert failure.kind is subject.failing_kind
            assert failure.phase == "deploy"
            assert any(subject.failing_line in line for line in failure.log_lines)
            assert not subject.deployed()

        _run(subject, scenario())

    def test_died_raises_when_the_engine_is_killed_and_not_before(self, subject: Subject) -> None:
        async def scenario() -> None:
            await subject.deployer.prepare()
            async with subject.deployer.deploy(subject.request()) as deployment:
                died = asyncio.ensure_future(deployment.died())
                await asyncio.wait((died,), timeout=0.3)
                assert not died.done()
                await deployment.require_same_engine()
                subject.kill(deployment)
                with pytest.raises(DeployError) as caught:
                    await died
                assert caught.value.failure.phase == "benchmark"
            assert not subject.deployed()

        _run(subject, scenario())

    def test_died_may_be_cancelled_and_awaited_again(self, subject: Subject) -> None:
        async def scenario() -> None:
            await subject.deployer.prepare()
            async with subject.deployer.deploy(subject.request()) as deployment:
                for _ in range(2):
                    watching = asyncio.ensure_future(deployment.died())
                    await asyncio.sleep(0.01)
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)
                assert await _status(f"{deployment.endpoint.url}/v1/models") == 200
            assert not subject.deployed()

        _run(subject, scenario())

    def test_sweep_removes_the_leftovers_of_a_previous_process(self, subject: Subject) -> None:
        async def scenario() -> None:
            assert await subject.deployer.sweep() == []
            subject.create_leftovers()
            assert subject.deployed()
            assert await subject.deployer.sweep()
            assert not subject.deployed()
            assert await subject.deployer.sweep() == []

        _run(subject, scenario())
