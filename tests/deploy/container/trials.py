"""Trials of the stub engine in containers of the stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune_nb.deploy.container.deployer import ContainerDeployer
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import Failure, SetupError, TrialError
from autotune_nb.task.task import Task
from tests.deploy.container.fake_client import FakeClient
from tests.stubs import StubEngine, deploy_request, in_loop, stub_task


def container_task(
    data: dict[str, Any], stub: StubEngine, client: FakeClient, *behaviours: str, **changes: Any
) -> Task:
    deploy = {"kind": "container", "image": "engine:1", "runtime": str(client.path), **changes.pop("deploy", {})}
    engine = changes.pop("engine", None)
    task = stub_task(data, stub, *behaviours, deploy=deploy, **changes)
    return task if engine is None else Task.parse({**task.model_dump(), "engine": engine})


def deployer_of(task: Task, folder: Path, study: str = "study-1") -> ContainerDeployer:
    return ContainerDeployer(task, engine_for(task), study_label=study, folder=folder)


def error_of(task: Task, folder: Path, **params: Any) -> Exception:
    """The error that deploying a configuration raises, with everything taken down."""

    async def scenario() -> Exception:
        deployer = deployer_of(task, folder)
        await deployer.prepare()
        with pytest.raises((TrialError, SetupError)) as caught:
            async with deployer.deploy(deploy_request(folder / "trial", params=params)):
                pass
        return caught.value

    return in_loop(scenario())


def failure_of(task: Task, folder: Path) -> Failure:
    error = error_of(task, folder)
    assert isinstance(error, TrialError)
    return error.failure
