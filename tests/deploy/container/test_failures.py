"""What goes wrong with containers: each failure is told apart, and names what to change."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.deploy import DeployRequest
from autotune_nb.deploy.container._errors import client_error
from autotune_nb.errors import DeployError, FailureKind, SetupError, SurroundingsError
from tests.deploy.container.fake_client import FakeClient
from tests.deploy.container.trials import container_task, deployer_of, error_of, failure_of
from tests.stubs import StubEngine, in_loop

DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


@pytest.mark.parametrize(
    ("message", "field", "said"),
    [
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "
            '"http://%2Fvar%2Frun%2Fdocker.sock/v1.50/images": dial unix /var/run/docker.sock: permission denied',
            "deploy.runtime",
            "usermod -aG docker",
        ),
        (
            DAEMON,
            "deploy.runtime",
            f"docker does not respond: {DAEMON}; start its daemon (sudo systemctl start docker)",
        ),
    ],
)
def test_a_runtime_that_cannot_be_used_is_reported_before_the_first_trial(
    task_data: dict[str, Any],
    stub: StubEngine,
    client: FakeClient,
    tmp_path: Path,
    message: str,
    field: str,
    said: str,
) -> None:
    client.fail(every=(1, message))
    deployer = deployer_of(container_task(task_data, stub, client), tmp_path)
    for work in (deployer.prepare, deployer.sweep, deployer.check):
        with pytest.raises(SetupError) as caught:
            in_loop(work())
        assert caught.value.field == field
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "Error response from daemon: pull access denied for vllm/vlm, repository does not exist or may require "
            "'docker login': denied: requested access to the resource is denied",
            "does not exist or needs a login",
        ),
        ("Error response from daemon: manifest for vllm/vlm:v9 not found: manifest unknown", "no such image"),
        (
            "Error: initializing source docker://localhost/none:1: pinging container registry localhost: Get "
            '"https://localhost/v2/": dial tcp 127.0.0.1:443: connect: connection refused',
            "the registry cannot be reached",
        ),
    ],
)
def test_an_image_that_cannot_be_pulled_says_why(
    task_data: dict[str, Any], stub: StubEngine, client: FakeClient, tmp_path: Path, message: str, said: str
) -> None:
    client.fail(pull=(1, message))
    task = container_task(task_data, stub, client, deploy={"image": "vllm/vlm:v9"})
    with pytest.raises(SetupError, match=said) as caught:
        in_loop(deployer_of(task, tmp_path).prepare())
    assert caught.value.field == "deploy.image"


def test_an_image_is_pulled_with_progress_before_the_first_trial_and_never_if_the_task_says_so(
    task_data: dict[str, Any], stub: StubEngine, client: FakeClient, tmp_path: Path
) -> None:
    said: list[str] = []
    never = deployer_of(container_task(task_data, stub, client, deploy={"image": "a:1", "pull": "never"}), tmp_path)
    with pytest.raises(SetupError, match=r"no image a:1 on this machine, and deploy\.pull is never"):
        in_loop(never.prepare())
    deployer = deployer_of(container_task(task_data, stub, client, deploy={"image": "a:1"}), tmp_path)
    deployer.notify = said.append

    async def scenario() -> dict[str, Any]:
        await deployer.prepare()
        return await deployer.fingerprint()

    found = in_loop(scenario())
    assert said[0] == "docker pulls a:1"
    assert said[-1].startswith("pulled a:1 in ")
    assert found["image_id"] == "sha256:" + "a" * 64
    assert found["container_runtime"] == "docker 28.2.2"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (
            'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].',
            "deploy.gpus",
        ),
        (
            "Error: setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=7",
            "deploy.gpus",
        ),
        ('docker: Error response from daemon: exec: "vllm": executable file not found in $PATH', "engine.executable"),
        ("docker: Error response from daemon: unable to find user llm: no matching entries in passwd", "deploy.user"),
        ("docker: Error response from daemon: network backend not found", "deploy.network"),
        ("unknown flag: --ipcs\n\nUsage:  docker run [OPTIONS] IMAGE", "deploy.run_args"),
    ],
)
def test_what_no_trial_can_start_with_names_the_field_to_change(message: str, field: str) -> None:
    error = client_error(message, "docker")
    assert isinstance(error, SetupError)
    assert error.field == field
    assert message.splitlines()[0][-40:] in str(error)


@pytest.mark.parametrize(
    "message",
    [
        "docker: Error response from daemon: driver failed programming external connectivity: Bind for 127.0.0.1:8000 "
        "failed: port is already allocated.",
        "Error: rootlessport listen tcp 127.0.0.1:8000: bind: address already in use",
        "Error: OCI runtime error: crun: something that nobody has seen before",
    ],
)
def test_what_another_attempt_may_start_with_is_a_failure_of_the_infrastructure(message: str) -> None:
    error = client_error(message, "docker")
    assert isinstance(error, DeployError)
    assert error.failure.kind is FailureKind.INFRASTRUCTURE
    assert error.failure.log_lines == (message,)


def test_an_image_without_the_engine_ends_the_run(
    task_data: dict[str, Any], stub: StubEngine, client: FakeClient, tmp_path: Path
) -> None:
    engine = {"kind": "command", "command": ["no-such-engine", "{port}"]}
    error = error_of(container_task(task_data, stub, client, engine=engine), tmp_path)
    assert isinstance(error, SetupError)
    assert "the image has no such program" in str(error)
    assert not client.containers


def test_a_client_that_is_missing_says_what_to_install(
    task_data: dict[str, Any], stub: StubEngine, client: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    task = container_task(task_data, stub, client, deploy={"runtime": None})
    for runtime, said in ((None, "none of docker, podman, nerdctl"), ("/no/docker", "no program '/no/docker'")):
        task = container_task(task_data, stub, client, deploy={"runtime": runtime})
        with pytest.raises(SetupError, match=said) as caught:
            in_loop(deployer_of(task, tmp_path).prepare())
        assert "apt-get install podman" in str(caught.value)
        assert caught.value.field == "deploy.runtime"


def test_an_engine_that_was_killed_at_the_memory_limit_is_out_of_memory(
    task_data: dict[str, Any], stub: StubEngine, client: FakeClient, tmp_path: Path
) -> None:
    client.report(OOMKilled=True, ExitCode=137)
    failure = failure_of(container_task(task_data, stub, client, "exit:137"), tmp_path)
    assert failure.kind is FailureKind.OUT_OF_MEMORY
    assert "killed at the container's memory limit of 256 MiB" in failure.message
    assert "--memory" in failure.hint


def test_an_engine_that_is_never_healthy_times_out_with_its_last_lines(
    task_data: dict[str, Any], stub: StubEngine, client: FakeClient, tmp_path: Path
) -> None:
    behaviours = ("print:loading_the_weights", "unhealthy")
    task = container_task(task_data, stub, client, *behaviours, deadlines={"ready_s": 0.5, "stop_s": 1})
    failure = failure_of(task, tmp_path)
    assert failure.kind is FailureKind.TIMEOUT
    assert failure.log_lines == ("loading the weights",)


def test_a_daemon_that_goes_away_is_no_failure_of_the_trial(
    task_data: dict[str, Any], stub: StubEngine, client: FakeClient, tmp_path: Path
) -> None:
    deployer = deployer_of(container_task(task_data, stub, client), tmp_path)
    said: list[str] = []
    request = DeployRequest(0, {}, tmp_path, on_notice=said.append)

    async def scenario() -> None:
        await deployer.prepare()
        client.fail(every=(1, DAEMON))
        with pytest.raises(SurroundingsError, match="docker does not respond: Cannot connect to the Docker daemon"):
            async with deployer.deploy(request):
                pytest.fail("it became ready")
        client.fail()
        # It goes away while the engine runs, and takes the container with it.
        with pytest.raises(SurroundingsError) as caught:
            async with deployer.deploy(request) as deployment:
                client.fail(every=(1, DAEMON))
                os.kill(stub.pids[-1], signal.SIGKILL)
                await deployment.died()
        assert caught.value.failure.phase == "benchmark"
        # What could not be removed is removed at the next attempt, unless the guard was faster.
        assert len(client.containers) == 1
        client.fail()
        async with deployer.deploy(request):
            assert len(client.containers) == 1
        assert not client.containers

    in_loop(scenario())
    assert all("which a previous attempt had left behind" in line for line in said)
