"""Trials as local processes: deployment, failures and teardown."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from autotune_nb.deploy import Deployment, DeployRequest, Endpoint, LocalDeployer
from autotune_nb.deploy._gpus import GpuSlots
from autotune_nb.deploy._process import (
    STUDY_LABEL,
    TRIAL_LABEL,
    GuardedProcess,
    Listener,
    labelled,
    still_listen,
)
from autotune_nb.deploy.model_files import default_tokenizer, local_model
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import DeployError, Failure, FailureKind, SetupError
from autotune_nb.task.task import Task
from tests.contracts.deployer import DeployerContract
from tests.known_engine import KnownEngine
from tests.stubs import (
    HANGS_S,
    StubEngine,
    deploy_request,
    deployer_for,
    in_loop,
    package_env,
    running,
    stub_task,
    until,
    until_async,
)


class LocalSubject:
    """A LocalDeployer over the stub engine."""

    failing_kind = FailureKind.CONFIGURATION
    failing_line = "error: unknown argument --turbo"
    stop_s = 1.0

    def __init__(self, data: dict[str, Any], stub: StubEngine, folder: Path) -> None:
        self._stub = stub
        self._folder = folder
        self._study = uuid.uuid4().hex
        self._orphans: list[subprocess.Popen[bytes]] = []
        self.deployer = self._of(stub_task(data, stub))
        self.failing = self._of(stub_task(data, stub, "print:error:_unknown_argument_--turbo", "exit:2"))
        slow, never = (
            self._of(stub_task(data, stub, "stubborn", deadlines={"ready_s": HANGS_S, "stop_s": stop_s}))
            for stop_s in (self.stop_s, 600)
        )
        self.slow_to_stop, self.never_stops = slow, never

    def _of(self, task: Task) -> LocalDeployer:
        return deployer_for(task, self._folder, study_id=self._study)

    def request(self) -> DeployRequest:
        return deploy_request(self._folder / uuid.uuid4().hex)

    def deployed(self) -> list[int]:
        processes = labelled({STUDY_LABEL: self._study})
        return [p.pid for p in processes if running(p.pid)] + self._stub.alive

    def kill(self, deployment: Deployment) -> None:
        os.kill(self._stub.pids[-1], signal.SIGKILL)

    def create_leftovers(self) -> None:
        env = {**os.environ, STUDY_LABEL: self._study, TRIAL_LABEL: "7"}
        before = len(self._stub.pids)
        self._orphans.append(subprocess.Popen(self._stub.argv(_free_port(), "stubborn", "children"), env=env))
        until(lambda: len(self._stub.pids) == before + 3)

    def reap(self) -> None:
        for orphan in self._orphans:
            orphan.kill()
            orphan.wait()


class TestLocalDeployer(DeployerContract):
    @pytest.fixture
    def subject(self, task_data: dict[str, Any], stub: StubEngine, tmp_path: Path) -> Iterator[LocalSubject]:
        subject = LocalSubject(task_data, stub, tmp_path)
        yield subject
        subject.reap()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def failure_of(deployer: LocalDeployer, folder: Path, **params: Any) -> Failure:
    """The failure that deploying a configuration raises."""

    async def scenario() -> Failure:
        await deployer.prepare()
        with pytest.raises(DeployError) as caught:
            async with deployer.deploy(deploy_request(folder, params=params)):
                pass
        return caught.value.failure

    return in_loop(scenario())


# The real engine


@pytest.fixture
def llama_task(task_data: dict[str, Any], small_model: Path) -> Any:
    pytest.importorskip("xllamacpp")

    def make(**changes: Any) -> Task:
        return Task.parse(
            {**task_data, "model": str(small_model), "deadlines": {"ready_s": 60, "stop_s": 5}, **changes}
        )

    return make


def test_llama_cpp_serves_under_the_name_and_flags_it_was_given(llama_task: Any, tmp_path: Path) -> None:
    task = llama_task(model={"id_or_path": llama_task().model.id_or_path, "served_name": "noise"})
    deployer = deployer_for(task, tmp_path, study_id="serves")

    async def scenario() -> tuple[Endpoint, dict[str, Any], int]:
        await deployer.prepare()
        params = {"threads": 1, "batch_size": 64}
        async with deployer.deploy(deploy_request(tmp_path / "trial", params=params)) as deployment:
            import aiohttp

            async with aiohttp.ClientSession() as session, session.get(f"{deployment.endpoint.url}/v1/models") as reply:
                return deployment.endpoint, await reply.json(), labelled({STUDY_LABEL: "serves"})[0].pid

    endpoint, models, pid = in_loop(scenario())
    assert models["data"][0]["id"] == endpoint.model == "noise"
    assert Path(endpoint.tokenizer).is_dir()
    command = " ".join(endpoint.command)
    assert "--threads 1 --batch-size 64" in command
    assert not running(pid)


def test_llama_cpp_refusing_a_value_is_a_configuration_failure_with_its_line(llama_task: Any, tmp_path: Path) -> None:
    task = llama_task(engine={"kind": "llama_cpp", "raw_args": ["--no-such-flag"]})
    failure = failure_of(deployer_for(task, tmp_path), tmp_path / "trial")
    assert failure.kind is FailureKind.CONFIGURATION
    assert "exit code 1" in failure.message
    assert any("--no-such-flag" in line for line in failure.log_lines)


# Coming up


def test_an_engine_that_dies_at_start_tells_its_exit_code_and_last_lines(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    task = stub_task(task_data, stub, "print:reading_weights", "print:something_went_wrong_here", "exit:7")
    failure = failure_of(deployer_for(task, tmp_path), tmp_path / "trial")
    assert failure.kind is FailureKind.CRASH
    assert "exit code 7" in failure.message
    # The last one first, since a message shows only that.
    assert failure.log_lines == ("something went wrong here", "reading weights")
    assert "reading weights" in (tmp_path / "trial" / "engine.log").read_text()


def test_a_server_without_health_page_is_ready_when_it_lists_its_models(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    deployer = deployer_for(stub_task(task_data, stub, "models-only"), tmp_path)

    async def scenario() -> str:
        await deployer.prepare()
        async with deployer.deploy(deploy_request(tmp_path)) as deployment:
            return deployment.endpoint.model

    assert in_loop(scenario()) == "stub"


def test_the_health_page_counts_where_the_models_are_listed_at_once(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    deployer = deployer_for(stub_task(task_data, stub, "loads-for-a-second"), tmp_path)

    async def scenario() -> float:
        await deployer.prepare()
        began = time.monotonic()
        async with deployer.deploy(deploy_request(tmp_path)):
            return time.monotonic() - began

    assert in_loop(scenario()) > 1


@pytest.mark.parametrize("word", ["hang", "unhealthy"])
def test_the_deadline_of_an_engine_that_never_becomes_healthy_is_honoured(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path, word: str
) -> None:
    task = stub_task(task_data, stub, "print:still_loading", word, deadlines={"ready_s": 0.6, "stop_s": 1})
    began = time.monotonic()
    failure = failure_of(deployer_for(task, tmp_path), tmp_path / "trial")
    assert time.monotonic() - began >= 0.6
    assert failure.kind is FailureKind.TIMEOUT
    assert "0.6 s" in failure.message
    assert "deadlines.ready_s" in failure.hint
    assert failure.log_lines == ("still loading",)
    assert not stub.alive


def test_memory_running_out_is_told_from_other_failures(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    words = ("print:torch.OutOfMemoryError:_CUDA_out_of_memory._Tried_to_allocate_20_GiB", "exit:1")
    failure = failure_of(deployer_for(stub_task(task_data, stub, *words), tmp_path), tmp_path / "trial")
    assert failure.kind is FailureKind.OUT_OF_MEMORY
    assert "Tried to allocate" in failure.log_lines[0]
    assert failure.hint


def test_telling_lines_are_free_of_terminal_escapes(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    words = ("print:<ESC>[31;1mfatal<ESC>[0m_<ESC>]0;title\x07broken", "exit:1")
    failure = failure_of(deployer_for(stub_task(task_data, stub, *words), tmp_path), tmp_path / "trial")
    assert failure.log_lines == ("fatal broken",)


def test_an_earlier_starts_lines_are_not_read_as_this_ones(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    deployer = deployer_for(stub_task(task_data, stub, "print:gave_up", "exit:1"), tmp_path)
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "engine.log").write_text("CUDA out of memory\n")
    failure = failure_of(deployer, tmp_path / "trial")
    assert failure.kind is FailureKind.CRASH
    assert failure.log_lines == ("gave up",)
    assert (tmp_path / "trial" / "engine.1.log").read_text() == "CUDA out of memory\n"


def test_a_program_that_is_missing_names_the_field(task_data: dict[str, Any], tmp_path: Path) -> None:
    task = Task.parse({**task_data, "model": "stub", "engine": {"kind": "command", "command": "no-such-server {port}"}})
    with pytest.raises(SetupError, match="no-such-server") as caught:
        in_loop(deployer_for(task, tmp_path).prepare())
    assert caught.value.field == "engine.command"


def test_a_program_that_vanishes_after_the_start_of_the_study_is_said(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    program = tmp_path / "server"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    task = Task.parse(
        {**task_data, "model": "stub", "engine": {"kind": "command", "command": [str(program), "{port}"]}}
    )
    deployer = deployer_for(task, tmp_path)

    async def scenario() -> None:
        await deployer.prepare()
        program.unlink()
        with pytest.raises(SetupError, match="cannot be started"):
            async with deployer.deploy(deploy_request(tmp_path / "trial")):
                pass

    in_loop(scenario())


def test_a_model_path_that_does_not_exist_names_the_field(make_task: Any, tmp_path: Path) -> None:
    task = make_task(model=str(tmp_path / "missing.gguf"))
    with pytest.raises(SetupError, match=r"missing\.gguf") as caught:
        in_loop(deployer_for(task, tmp_path).prepare())
    assert caught.value.field == "model.id_or_path"


def test_a_hubs_name_is_left_to_the_engine_that_can_fetch_it(make_task: Any) -> None:
    vllm = engine_for(make_task(engine="vllm", parameters={"max_num_seqs": [1, 2]}))
    assert local_model("org/model", vllm) == "org/model"
    with pytest.raises(SetupError):
        local_model("./model", vllm)
    with pytest.raises(SetupError):
        local_model("org/model", engine_for(make_task()))


def test_a_model_file_without_a_tokenizer_beside_it_names_the_field(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.touch()
    with pytest.raises(SetupError) as caught:
        default_tokenizer(str(model))
    assert caught.value.field == "model.tokenizer"
    (tmp_path / "tokenizer.json").touch()
    assert default_tokenizer(str(model)) == str(tmp_path)


# Ports


def test_a_fixed_port_in_use_names_its_owner_before_any_trial(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=rf"port {port} is in use by .*pid {os.getpid()}") as caught:
            in_loop(deployer_for(stub_task(task_data, stub, deploy={"port": port}), tmp_path).prepare())
    assert caught.value.field == "deploy.port"


def test_a_stranger_that_answers_on_the_port_is_not_measured_in_the_engines_place(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    stranger = StubEngine(tmp_path / "stranger")
    port = _free_port()
    # The engine comes up elsewhere, so only the stranger answers where it is looked for.
    task = stub_task(task_data, stub, "hang", deploy={"port": port})
    deployer = deployer_for(task, tmp_path)

    async def scenario() -> Failure:
        await deployer.prepare()
        process = await asyncio.create_subprocess_exec(*stranger.argv(port))
        try:
            await until_async(lambda: _listens(port))
            with pytest.raises(DeployError) as caught:
                async with deployer.deploy(deploy_request(tmp_path / "trial")):
                    pytest.fail("the stranger was taken for the engine")
        finally:
            process.kill()
            await process.wait()
        assert str(process.pid) in caught.value.failure.message
        return caught.value.failure

    assert in_loop(scenario()).kind is FailureKind.INFRASTRUCTURE


def test_an_engine_that_finds_the_fixed_port_taken_is_an_infrastructure_failure(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    port = _free_port()
    deployer = deployer_for(stub_task(task_data, stub, deploy={"port": port}), tmp_path)

    async def scenario() -> Failure:
        await deployer.prepare()
        with socket.socket() as taken:
            # Bound but not listening: nobody answers there, and the engine cannot bind it.
            taken.bind(("127.0.0.1", port))
            with pytest.raises(DeployError) as caught:
                async with deployer.deploy(deploy_request(tmp_path / "trial")):
                    pass
        return caught.value.failure

    failure = in_loop(scenario())
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert "Address already in use" in failure.log_lines[0]


def test_a_free_port_that_is_snatched_is_exchanged_for_another(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ports = iter([taken.getsockname()[1], _free_port()])
        monkeypatch.setattr("autotune_nb.deploy.local.free_port", lambda _host: next(ports))
        deployer = deployer_for(stub_task(task_data, stub), tmp_path)

        async def scenario() -> None:
            await deployer.prepare()
            async with deployer.deploy(deploy_request(tmp_path / "trial")):
                assert (tmp_path / "trial" / "engine.1.log").is_file()

        in_loop(scenario())


def test_an_ipv6_host_is_written_as_urls_have_it(task_data: dict[str, Any], stub: StubEngine, tmp_path: Path) -> None:
    task = stub_task(task_data, stub, "hang", deploy={"host": "::1", "port": 9}, deadlines={"ready_s": 0.2})
    failure = failure_of(deployer_for(task, tmp_path), tmp_path / "trial")
    assert "http://[::1]:9/" in failure.message


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# Going down


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("children",), id="children and grandchildren"),
        pytest.param(("stubborn", "children"), id="ignores SIGTERM"),
        pytest.param(("detached-child",), id="setsid and double fork"),
        pytest.param(("stubborn", "detached-child"), id="setsid and ignores SIGTERM"),
        pytest.param(("detached-server",), id="the one that serves left the group"),
    ],
)
def test_the_whole_family_is_gone_afterwards(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path, words: tuple[str, ...]
) -> None:
    expected = 3 if "children" in words else 2
    deployer = deployer_for(stub_task(task_data, stub, *words, deadlines={"ready_s": 60, "stop_s": 0.3}), tmp_path)

    async def scenario() -> None:
        await deployer.prepare()
        async with deployer.deploy(deploy_request(tmp_path / "trial")):
            await until_async(lambda: len(stub.alive) == expected)
        assert stub.alive == []

    in_loop(scenario())


def test_the_family_of_an_engine_that_died_at_start_is_gone(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    script = tmp_path / "wrapper"
    script.write_text(
        f"#!/bin/sh\n{' '.join(stub.argv(0, 'hang'))} &\nwhile [ ! -s {stub.script.parent}/pids ]; do\n"
        "sleep 0.02; done\necho cannot go on; exit 4\n"
    )
    script.chmod(0o755)
    task = Task.parse(
        {
            **task_data,
            "model": "stub",
            "engine": {"kind": "command", "command": [str(script), "{port}"]},
            "deadlines": {"ready_s": 20, "stop_s": 1},
        }
    )
    failure = failure_of(deployer_for(task, tmp_path), tmp_path / "trial")
    assert "exit code 4" in failure.message
    assert stub.pids
    assert stub.alive == []


def test_an_engine_that_a_supervisor_restarted_is_not_the_one_that_was_deployed(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    script = tmp_path / "supervisor"
    script.write_text(f"#!/bin/sh\nwhile true; do {' '.join(stub.argv('$1'))}; done\n")
    script.chmod(0o755)
    engine = {"kind": "command", "command": [str(script), "{port}"]}
    task = Task.parse({**task_data, "model": "stub", "engine": engine, "deadlines": {"ready_s": 20, "stop_s": 1}})
    deployer = deployer_for(task, tmp_path)

    async def scenario() -> Failure:
        await deployer.prepare()
        async with deployer.deploy(deploy_request(tmp_path / "trial")) as deployment:
            await deployment.require_same_engine()
            (first,) = stub.alive
            psutil.Process(first).kill()
            port = int(deployment.endpoint.url.rsplit(":", 1)[1])
            await until_async(lambda: stub.alive not in ([first], []) and _listens(port))
            with pytest.raises(DeployError) as caught:
                await deployment.require_same_engine()
            assert f"process {first} served port {port}, now {stub.alive[0]} does" in caught.value.failure.message
            return caught.value.failure

    failure = in_loop(scenario())
    assert (failure.kind, failure.phase) == (FailureKind.CRASH, "benchmark")


@pytest.mark.parametrize("tables", [True, False])
def test_whether_an_engine_still_listens_is_read_of_its_own_processes_only(
    tables: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(psutil.Process, "children")
    monkeypatch.delattr(psutil, "pids")
    if not tables:
        # As on other systems than Linux.
        monkeypatch.setattr("autotune_nb.deploy._listening._TABLES", (tmp_path / "none",))
    elif sys.platform == "linux":
        # It reads all connections of the machine.
        monkeypatch.delattr(psutil.Process, "net_connections")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        one = Listener(os.getpid(), psutil.Process().create_time())
        assert still_listen([one], port)
        assert not still_listen([one._replace(started=one.started - 1)], port)
        assert not still_listen([one, Listener(2**22 + 1, one.started)], port)
    assert not still_listen([one], port)


def test_a_killed_guard_leaves_nothing_behind(task_data: dict[str, Any], stub: StubEngine, tmp_path: Path) -> None:
    deployer = deployer_for(
        stub_task(task_data, stub, "stubborn", "children", "detached-child"), tmp_path, study_id="guardless"
    )

    async def scenario() -> None:
        await deployer.prepare()
        with pytest.raises(DeployError):
            async with deployer.deploy(deploy_request(tmp_path / "trial")) as deployment:
                await until_async(lambda: len(stub.alive) == 4)
                guard = psutil.Process(stub.pids[0]).parent()
                assert guard is not None
                guard.kill()
                await deployment.died()
        await until_async(lambda: not stub.alive)

    in_loop(scenario())


HOLDER = """
import asyncio, sys, json, signal
from pathlib import Path
from autotune_nb.deploy import LocalDeployer, DeployRequest
from autotune_nb.engines.registry import engine_for
from autotune_nb.task.task import Task

async def main():
    task = Task.parse(json.loads(Path(sys.argv[1]).read_text()))
    folder = Path(sys.argv[2])
    deployer = LocalDeployer(task, engine_for(task), study_id="held", folder=folder)
    await deployer.prepare()
    async with deployer.deploy(DeployRequest(0, {}, folder)):
        print("up", flush=True)
        await asyncio.sleep(600)

# A shell's background jobs ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_engine_does_not_outlive_the_python_that_deployed_it(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path, number: signal.Signals
) -> None:
    words = ("children", "detached-child")
    task = stub_task(task_data, stub, *words, deadlines={"ready_s": 20, "stop_s": 1})
    (tmp_path / "task.json").write_text(json.dumps(task.model_dump(mode="json")))
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / "task.json"), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=package_env(),
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        until(lambda: len(stub.alive) == 4)
        holder.send_signal(number)
        holder.wait(15)
    until(lambda: not stub.alive)


# Environments, GPUs, facts


def test_every_trial_has_the_tasks_environment_and_its_own_label(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    env = {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "5"}
    words = ("env:OMP_NUM_THREADS", f"env:{TRIAL_LABEL}", "env:CUDA_VISIBLE_DEVICES")
    data = {**task_data, "model": "stub", "engine": {**stub.engine(*words), "env": env}}
    deployer = deployer_for(Task.parse(data), tmp_path)

    async def scenario() -> str:
        await deployer.prepare()
        async with deployer.deploy(deploy_request(tmp_path / "trial", trial=4)) as deployment:
            assert deployment.endpoint.log is not None
            return deployment.endpoint.log.read_text()

    # GPUs are not managed here, so the task's own choice stands.
    assert in_loop(scenario()).split() == ["OMP_NUM_THREADS=3", f"{TRIAL_LABEL}=4", "CUDA_VISIBLE_DEVICES=5"]


def test_the_engines_caches_are_kept_between_trials_and_the_record_says_what_a_start_found(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    task = Task.parse({**task_data, "model": "stub", "engine": stub.engine("env:KERNELS")})
    engine = replace(engine_for(task), cache_variables={"KERNELS": "kernels"})
    deployer = LocalDeployer(task, engine, study_id="test-study", folder=tmp_path)

    async def scenario() -> list[Any]:
        await deployer.prepare()
        found = []
        for number in range(2):
            async with deployer.deploy(deploy_request(tmp_path / str(number))) as deployment:
                assert deployment.endpoint.log is not None
                found.append((deployment.endpoint.log.read_text().strip(), deployment.endpoint.fingerprint))
            (tmp_path / "caches" / "kernels" / "compiled").write_text("x")
        return [*found, deployer.command({})]

    first, second, command = in_loop(scenario())
    assert first[0] == f"KERNELS={tmp_path / 'caches' / 'kernels'}" == second[0]
    assert (first[1]["start_caches"], second[1]["start_caches"]) == ("cold", "warm")
    # A command line to paste is for another place.
    assert "KERNELS=" not in " ".join(command)


def test_settings_left_in_this_environment_do_not_reach_the_engine_unasked(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stray = ["LLAMA_API_KEY", "LLAMA_ARG_THREADS", "VLLM_PORT", "VLLM_API_KEY", "RANK", "WORLD_SIZE", "MASTER_ADDR"]
    for name in (*stray, "VLLM_LOGGING_LEVEL"):
        monkeypatch.setenv(name, "left-over")
    engine = {**stub.engine(*(f"env:{name}" for name in (*stray, "VLLM_LOGGING_LEVEL"))), "env": {"RANK": "0"}}
    data = {**task_data, "model": "stub", "engine": engine, "benchmark": {"api_key": "${VLLM_API_KEY}"}}
    deployer = deployer_for(Task.parse(data), tmp_path)
    notices: list[str] = []

    async def scenario() -> list[str]:
        await deployer.prepare()
        for number in range(2):
            request = replace(deploy_request(tmp_path / str(number)), on_notice=notices.append)
            async with deployer.deploy(request) as deployment:
                assert deployment.endpoint.log is not None
                log = deployment.endpoint.log.read_text()
        return log.split()

    passed = {"RANK": "0", "VLLM_API_KEY": "left-over", "VLLM_LOGGING_LEVEL": "left-over"}
    assert in_loop(scenario()) == [f"{name}={passed.get(name)}" for name in (*stray, "VLLM_LOGGING_LEVEL")]
    (notice,) = notices
    assert "LLAMA_API_KEY, LLAMA_ARG_THREADS, MASTER_ADDR, VLLM_PORT, WORLD_SIZE of" in notice


def test_two_trials_at_a_time_never_share_a_gpu(task_data: dict[str, Any], stub: StubEngine, tmp_path: Path) -> None:
    task = stub_task(
        task_data, stub, "env:CUDA_VISIBLE_DEVICES", deploy={"gpus": [2, 5, 7], "gpus_per_trial": 1, "parallel": 3}
    )
    deployer = deployer_for(task, tmp_path)
    held: list[str] = []
    together = asyncio.Event()

    async def trial(number: int) -> None:
        async with deployer.deploy(deploy_request(tmp_path / str(number), trial=number)) as deployment:
            assert deployment.endpoint.log is not None
            gpu = deployment.endpoint.log.read_text().split("=")[1].strip()
            assert gpu not in held
            assert deployment.endpoint.gpu_count == 1
            held.append(gpu)
            if len(held) >= 2:
                together.set()
            await together.wait()
            held.remove(gpu)

    async def scenario() -> None:
        await deployer.prepare()
        await asyncio.gather(*(trial(number) for number in range(5)))

    in_loop(scenario())


def test_gpu_slots_are_handed_on_when_a_holder_ends_or_is_cancelled() -> None:
    async def scenario() -> None:
        slots = GpuSlots(["1", "GPU-a"])
        seen: list[list[str] | None] = []

        async def take(count: int) -> None:
            async with slots.hold(count) as held:
                seen.append(held)

        async with slots.hold(1) as first:
            assert first == ["1"]
            waiting = [asyncio.ensure_future(take(2)) for _ in range(2)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert seen == []
            waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert seen == [["1", "GPU-a"]]
        async with slots.hold(2) as again:
            assert again == ["1", "GPU-a"]

    in_loop(scenario())


@pytest.mark.parametrize(
    ("visible", "gpus", "seen"),
    [
        ("2,3", {"gpus": 1}, ["2"]),
        ("3", {"gpus": [3]}, ["3"]),
        ("MIG-1/a,GPU-b", {"gpus": 2, "gpus_per_trial": 2}, ["MIG-1/a,GPU-b"]),
        ("2,3", {"gpus": 2, "parallel": 2}, ["2", "3"]),
    ],
)
def test_trials_get_only_gpus_that_are_visible(
    task_data: dict[str, Any],
    stub: StubEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    visible: str,
    gpus: dict[str, Any],
    seen: list[str],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    deployer = deployer_for(
        stub_task(task_data, stub, "env:CUDA_VISIBLE_DEVICES", deploy={"gpus_per_trial": 1, **gpus}), tmp_path
    )

    # As a pasted command line has them.
    assert deployer.command({})[:2] == ["env", f"CUDA_VISIBLE_DEVICES={seen[0]}"]

    async def scenario() -> list[str]:
        await deployer.prepare()
        found = []
        async with contextlib.AsyncExitStack() as stack:
            for number in range(len(seen)):
                request = deploy_request(tmp_path / str(number), trial=number)
                deployment = await stack.enter_async_context(deployer.deploy(request))
                assert deployment.endpoint.log is not None
                found.append(deployment.endpoint.log.read_text().split("=")[1].strip())
        return found

    assert in_loop(scenario()) == seen


def test_a_gpu_that_is_not_visible_is_refused_before_the_first_trial(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    deployer = deployer_for(stub_task(task_data, stub, deploy={"gpus": [0], "gpus_per_trial": 1}), tmp_path)
    for attempt in (lambda: in_loop(deployer.prepare()), deployer.check):
        with pytest.raises(SetupError, match="GPU 0 is not visible: CUDA_VISIBLE_DEVICES is '2,3'"):
            attempt()


def test_a_configuration_that_needs_more_gpus_than_there_are_is_its_own_fault(make_task: Any, tmp_path: Path) -> None:
    task = make_task(
        engine="vllm", model="org/model", parameters={"tensor_parallel_size": [1, 2, 4]}, deploy={"gpus": [0, 1]}
    )
    deployer = deployer_for(task, tmp_path)

    async def scenario() -> Failure:
        with pytest.raises(DeployError) as caught:
            async with deployer.deploy(deploy_request(tmp_path / "trial", params={"tensor_parallel_size": 4})):
                pass
        return caught.value.failure

    failure = in_loop(scenario())
    assert failure.kind is FailureKind.CONFIGURATION
    assert "needs 4 GPUs, and trials may hold 2 together" in failure.message


def test_more_gpus_a_trial_than_are_given_is_said_before_the_first_trial(
    task_data: dict[str, Any], stub: StubEngine, tmp_path: Path
) -> None:
    task = stub_task(task_data, stub, deploy={"gpus": [0], "gpus_per_trial": 2})
    with pytest.raises(SetupError) as caught:
        in_loop(deployer_for(task, tmp_path).prepare())
    assert caught.value.field == "deploy.gpus"


def test_the_command_to_paste_is_on_the_engines_usual_port_and_needs_no_engine(make_task: Any, tmp_path: Path) -> None:
    command = deployer_for(make_task(), tmp_path).command({"threads": 2, "batch_size": 64})
    assert " ".join(command).endswith("--port 8080 --fit off --metrics --threads 2 --batch-size 64")


def test_the_fingerprint_holds_the_models_size_and_the_engines_version(
    make_task: Any, small_model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("xllamacpp")
    deployer = deployer_for(make_task(model=str(small_model)), tmp_path)

    async def scenario() -> dict[str, Any]:
        await deployer.prepare()
        return await deployer.fingerprint()

    told = in_loop(scenario())
    assert told["engine"] == "llama_cpp"
    assert any(c.isdigit() for c in told["engine_version"])
    assert told["model"]["bytes"] == small_model.stat().st_size


def deployed_beside(task_data: dict[str, Any], folder: Path, name: str) -> str:
    """Deploy a command that serves nothing itself while a process that is not its child serves the model ``m``."""
    port = _free_port()
    engine = {"kind": "command", "command": ["sleep", "600", "{port}"]}
    model = {"id_or_path": "stub", "served_name": name}
    data = {**task_data, "model": model, "engine": engine, "deploy": {"port": port}, "deadlines": {"ready_s": 20}}
    deployer = deployer_for(Task.parse(data), folder)

    async def scenario() -> str:
        await deployer.prepare()
        with KnownEngine(port=port):
            async with deployer.deploy(deploy_request(folder)) as deployment:
                return deployment.endpoint.model

    return in_loop(scenario())


def test_a_port_that_is_not_served_by_a_child_counts_by_the_served_model(
    task_data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.deploy.local._BIND_S", 0.1)
    assert deployed_beside(task_data, tmp_path / "one", "m") == "m"
    with pytest.raises(DeployError, match=r"not the engine, listens on port .* it serves 'm', not 'other'"):
        deployed_beside(task_data, tmp_path / "two", "other")
    # The engine of another trial is never measured.
    monkeypatch.setattr("autotune_nb.deploy.local.serves_a_trial", lambda _port: True)
    with pytest.raises(DeployError, match="not the engine, listens on port"):
        deployed_beside(task_data, tmp_path / "three", "m")


def test_a_log_that_cannot_be_written_is_no_wrong_program(tmp_path: Path) -> None:
    async def start() -> None:
        log = tmp_path / "missing" / "engine.log"
        await GuardedProcess.start([sys.executable, "-c", ""], env=dict(os.environ), log=log, grace_s=1)

    with pytest.raises(OSError, match=r"engine\.log"):
        in_loop(start())
