"""Trials as containers, over a stand-in for the client: deployment, options, names and removal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.cluster.names import trial_labels, trial_name
from autotune_nb.deploy import Deployment, DeployRequest
from autotune_nb.deploy.container.deployer import ContainerDeployer
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import DeployError, FailureKind, SetupError
from autotune_nb.task.task import Task
from tests.contracts.deployer import DeployerContract
from tests.deploy.container.fake_client import FakeClient
from tests.deploy.container.trials import container_task, deployer_of, error_of
from tests.stubs import HANGS_S, StubEngine, deploy_request, in_loop, package_env, until, until_async


class FakeSubject:
    """A ContainerDeployer over the stand-in and the stub engine."""

    failing_kind = FailureKind.CONFIGURATION
    failing_line = "error: unknown argument --turbo"
    stop_s = 1.0

    def __init__(self, data: dict[str, Any], stub: StubEngine, client: FakeClient, folder: Path) -> None:
        self._stub, self._client, self._folder = stub, client, folder
        self._study = uuid.uuid4().hex
        self._runs: list[subprocess.Popen[bytes]] = []
        self.deployer = self._of(container_task(data, stub, client))
        self.failing = self._of(container_task(data, stub, client, "print:error:_unknown_argument_--turbo", "exit:2"))
        self.slow_to_stop, self.never_stops = (
            self._of(container_task(data, stub, client, "stubborn", deadlines={"ready_s": HANGS_S, "stop_s": stop_s}))
            for stop_s in (self.stop_s, 600)
        )

    def _of(self, task: Task) -> ContainerDeployer:
        return deployer_of(task, self._folder, self._study)

    def request(self) -> DeployRequest:
        return deploy_request(self._folder / uuid.uuid4().hex)

    def deployed(self) -> list[Any]:
        return [*self._client.containers, *self._stub.alive]

    def kill(self, deployment: Deployment) -> None:
        os.kill(self._stub.pids[-1], signal.SIGKILL)

    def create_leftovers(self) -> None:
        labels = [w for pair in trial_labels(self._study, 7).items() for w in ("--label", "=".join(pair))]
        words = ["run", "--name", "left", *labels, "engine:1", *self._stub.argv(0, "stubborn")]
        self._runs.append(subprocess.Popen([str(self._client.path), *words]))
        until(lambda: self._client.containers and self._stub.alive)

    def reap(self) -> None:
        for run in self._runs:
            run.wait(HANGS_S)


class TestContainerDeployer(DeployerContract):
    @pytest.fixture
    def subject(
        self, task_data: dict[str, Any], stub: StubEngine, client: FakeClient, tmp_path: Path
    ) -> Iterator[FakeSubject]:
        subject = FakeSubject(task_data, stub, client, tmp_path)
        yield subject
        subject.reap()


def test_a_container_has_the_tasks_options_and_labels_and_secrets_only_in_the_environment(
    task_data: dict[str, Any],
    stub: StubEngine,
    client: FakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HUB_TOKEN", "hf_not_to_be_written")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    deploy = {
        "gpus": [2, 3],
        "gpus_per_trial": 2,
        "shm_size": "8g",
        "user": "1000",
        "network": "backend",
        "volumes": [f"{tmp_path}:/data:ro", "kernels:/var/cache/engine"],
        "run_args": "--ulimit memlock=-1",
    }
    engine = {**stub.engine("env:HF_TOKEN", "env:OMP_NUM_THREADS")}
    engine["env"] = {"HF_TOKEN": "${HUB_TOKEN}", "OMP_NUM_THREADS": "3"}
    task = container_task(task_data, stub, client, engine=engine, deploy=deploy)

    async def scenario() -> tuple[str, tuple[str, ...], int]:
        deployer = deployer_of(task, tmp_path)
        await deployer.prepare()
        async with deployer.deploy(deploy_request(tmp_path / "trial", trial=4)) as deployment:
            endpoint = deployment.endpoint
            assert endpoint.log is not None
            return endpoint.log.read_text(), endpoint.command, endpoint.gpu_count

    log, command, gpus = in_loop(scenario())
    assert log.split() == ["HF_TOKEN=hf_not_to_be_written", "OMP_NUM_THREADS=3"]
    run = next(call for call in client.calls if call[0] == "run")
    name = trial_name(task.name, "study-1", 4)
    assert run[1:3] == ["--name", name]
    assert "autotune-nb/trial=4" in run
    port = command[command.index("--publish") + 1].split(":")[1]
    options = [
        *("--gpus", '"device=2,3"', "--shm-size", "8g", "--volume", f"{tmp_path}:/data:ro"),
        *("--volume", "kernels:/var/cache/engine", "--user", "1000", "--network", "backend"),
        *("--publish", f"127.0.0.1:{port}:{port}", "--env", "HF_TOKEN", "--env", "OMP_NUM_THREADS=3"),
        *("--ulimit", "memlock=-1"),
    ]
    started = " ".join(run)
    assert " ".join(options) in started
    # The id of the image, so that a new image of this name changes no trial.
    assert f" sha256:{b'engine:1'.hex():0>64} " in started
    assert "hf_not_to_be_written" not in json.dumps(client.calls)
    # To be pasted, without what only this trial needs.
    assert command[:3] == (str(client.path), "run", "--rm")
    assert name not in command
    assert "engine:1" in command
    assert "HF_TOKEN=${HUB_TOKEN}" in command
    assert gpus == 2


def test_the_engines_caches_are_mounted_in_every_container(
    task_data: dict[str, Any], stub: StubEngine, client: FakeClient, tmp_path: Path
) -> None:
    task = container_task(task_data, stub, client)
    engine = replace(engine_for(task), cache_variables={"KERNELS": "kernels"})
    deployer = ContainerDeployer(task, engine, study_label="study-1", folder=tmp_path)

    async def scenario() -> list[Any]:
        await deployer.prepare()
        found = []
        for number in range(2):
            async with deployer.deploy(deploy_request(tmp_path / str(number))) as deployment:
                found.append(deployment.endpoint)
            (tmp_path / "caches" / "kernels" / "compiled").write_text("x")
        return found

    first, second = in_loop(scenario())
    for run in (call for call in client.calls if call[0] == "run"):
        assert run[run.index("--volume") + 1] == f"{tmp_path / 'caches'}:/var/cache/autotune-nb"
        assert "KERNELS=/var/cache/autotune-nb/kernels" in run
    assert (first.fingerprint["start_caches"], second.fingerprint["start_caches"]) == ("cold", "warm")
    assert "/var/cache/autotune-nb" not in " ".join(second.command)


def test_a_secret_in_an_argument_is_filled_in_by_a_shell_in_the_container(
    task_data: dict[str, Any],
    stub: StubEngine,
    client: FakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SERVER_KEY", "key_not_to_be_written")
    engine = {"kind": "command", "command": stub.argv("{port}", "print:${SERVER_KEY}")}
    task = container_task(task_data, stub, client, engine=engine)

    async def scenario() -> str:
        deployer = deployer_of(task, tmp_path)
        await deployer.prepare()
        async with deployer.deploy(deploy_request(tmp_path / "trial")) as deployment:
            assert deployment.endpoint.log is not None
            return deployment.endpoint.log.read_text()

    assert in_loop(scenario()).strip() == "key not to be written"
    assert "key_not_to_be_written" not in json.dumps(client.calls)


def test_podman_gets_devices_where_the_others_get_gpus(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    client = FakeClient(tmp_path / "podman", "podman version 5.2.1")
    task = container_task(task_data, stub, client, deploy={"gpus": 2, "gpus_per_trial": 2})
    command = " ".join(deployer_of(task, tmp_path).command({}))
    assert "--device nvidia.com/gpu=4 --device nvidia.com/gpu=5 --shm-size 16g" in command


def test_a_container_of_somebody_else_is_neither_used_nor_removed(
    task_data: dict[str, Any], stub: StubEngine, client: FakeClient, tmp_path: Path
) -> None:
    task = container_task(task_data, stub, client)
    name = trial_name(task.name, "study-1", 0)
    client.add_container(name, {"owner": "somebody"})
    error = error_of(task, tmp_path)
    assert isinstance(error, SetupError)
    assert f"a container named {name} that this study did not create (image img)" in str(error)
    assert [one["name"] for one in client.containers] == [name]
    assert not any(call[0] == "run" for call in client.calls)


def test_a_container_that_is_created_while_its_trial_is_stopped_is_removed(
    task_data: dict[str, Any], stub: StubEngine, client: FakeClient, tmp_path: Path
) -> None:
    deployer = deployer_of(container_task(task_data, stub, client), tmp_path)

    async def scenario() -> None:
        await deployer.prepare()
        client.create_slowly()

        async def hold() -> None:
            async with deployer.deploy(deploy_request(tmp_path / "trial")):
                pytest.fail("it became ready")

        holding = asyncio.ensure_future(hold())
        await until_async(lambda: client.is_creating)
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        assert holding.cancelled()

    in_loop(scenario())
    assert not client.containers


def test_an_engine_that_is_started_again_is_not_measured(
    task_data: dict[str, Any], stub: StubEngine, client: FakeClient, tmp_path: Path
) -> None:
    deployer = deployer_of(container_task(task_data, stub, client), tmp_path)

    async def scenario() -> None:
        await deployer.prepare()
        async with deployer.deploy(deploy_request(tmp_path / "trial")) as deployment:
            await deployment.require_same_engine()
            client.report(StartedAt="2026-01-02T00:00:00Z")
            with pytest.raises(DeployError, match="the engine was restarted during the measurement"):
                await deployment.require_same_engine()
            client.report()

    in_loop(scenario())


HOLDER = """
import asyncio, sys, json
from pathlib import Path
from autotune_nb.deploy import DeployRequest
from autotune_nb.deploy.container.deployer import ContainerDeployer
from autotune_nb.engines.registry import engine_for
from autotune_nb.task.task import Task

async def main():
    task = Task.parse(json.loads(Path(sys.argv[1]).read_text()))
    folder = Path(sys.argv[2])
    deployer = ContainerDeployer(task, engine_for(task), study_label="held", folder=folder)
    await deployer.prepare()
    async with deployer.deploy(DeployRequest(0, {}, folder)):
        print("up", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def test_a_container_does_not_outlive_the_python_that_was_killed(
    task_data: dict[str, Any], stub: StubEngine, client: FakeClient, tmp_path: Path
) -> None:
    task = container_task(task_data, stub, client, "stubborn", deadlines={"ready_s": 20, "stop_s": 600})
    (tmp_path / "task.json").write_text(json.dumps(task.model_dump(mode="json")))
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / "task.json"), str(tmp_path)],
        stdout=subprocess.PIPE,
        env=package_env(),
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        holder.kill()
        holder.wait(HANGS_S)
    until(lambda: not client.containers and not stub.alive)
