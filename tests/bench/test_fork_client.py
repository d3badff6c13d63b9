"""The fork server: its children, and what happens when it, a child or the client ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from autotune_nb.bench import GenaiBench
from autotune_nb.bench._arguments import trusts_tokenizer
from autotune_nb.bench._fork_client import BenchProcess, ForkClient, start_command
from autotune_nb.bench.genai_bench import MeasurementLock
from autotune_nb.errors import FailureKind, MeasurementError, SetupError
from tests.bench.test_genai_bench import SECRETS, bench_for, request_in
from tests.stubs import contents_below, group_alive, in_loop, level_data, level_file, running, until, until_async

#: A fake genai_bench package, quick to import; the file ``mode`` beside it selects what it does.
CLI = """
import json, os, random, sys, time
from pathlib import Path
import click

HERE = Path(__file__).parent

@click.group()
def cli(): ...

@cli.command(context_settings={"ignore_unknown_options": True})
@click.option("--max-time-per-run", "max_time_per_run", type=int, default=10)
@click.option("--experiment-base-dir", "base")
@click.option("--experiment-folder-name", "name")
@click.argument("rest", nargs=-1)
def benchmark(max_time_per_run, base, name, rest):
    max_time_per_run *= 60
    with open(HERE / "runs", "a") as file:
        file.write(f"{os.getpid()} {max_time_per_run!r} {random.random()}\\n")
    print("environment:", dict(os.environ), flush=True)
    mode = (HERE / "mode").read_text()
    if mode == "exit":
        sys.exit(5)
    if mode == "raise":
        raise RuntimeError("the traffic broke down")
    if mode == "slow":
        time.sleep(600)
    out = Path(base, name)
    out.mkdir(parents=True)
    if os.fork() == 0:
        if mode == "detached" and os.fork() == 0:
            os.setsid()
            (HERE / "detached").write_text(str(os.getpid()))
        time.sleep(600)
    while mode == "detached" and not (HERE / "detached").exists():
        time.sleep(0.01)
    # The last file ends the run.
    for level in sorted(HERE.glob("level-*.json")):
        (out / level.name.removeprefix("level-")).write_text(level.read_text())
    if mode == "detached":
        sys.exit(0)
    time.sleep(600)
"""


class FakePackage:
    """A fake genai_bench package and its console script."""

    def __init__(self, folder: Path) -> None:
        self._cli = folder / "genai_bench" / "cli"
        self._cli.mkdir(parents=True)
        for file in (folder / "genai_bench" / "__init__.py", self._cli / "__init__.py"):
            file.touch()
        (folder / "genai_bench" / "version.py").write_text('__version__ = "0.0.0-fake"\n')
        (self._cli / "cli.py").write_text(CLI)
        self.script = folder / "genai-bench-like"
        self.script.write_text(f"#!{sys.executable}\nfrom genai_bench.cli.cli import cli\ncli()\n")
        self.script.chmod(0o755)
        self.mode("levels")
        for n in (1, 2):
            (self._cli / f"level-{level_file(n)}").write_text(json.dumps(level_data(concurrency=n)))

    def mode(self, mode: str) -> None:
        (self._cli / "mode").write_text(mode)

    def break_import(self) -> None:
        (self._cli / "cli.py").write_text("raise ImportError('libgevent.so is missing')\n")

    @property
    def detached(self) -> int:
        """The pid of the process that has a session of its own."""
        return int((self._cli / "detached").read_text())

    @property
    def runs(self) -> list[tuple[int, str, str]]:
        """The pid of each run, its seconds per level and its first random number."""
        file = self._cli / "runs"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(int(pid), seconds, number) for pid, seconds, number in (line.split() for line in lines)]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePackage:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    return FakePackage(tmp_path / "fake")


@pytest.fixture
def benchmark(package: FakePackage, make_task: Any) -> GenaiBench:
    return bench_for(make_task(benchmark={"executable": str(package.script)}))


async def take(benchmark: GenaiBench, folder: Path) -> int:
    """Measure once. Returns the number of levels."""
    async with aclosing(benchmark.measure(request_in(folder))) as levels:
        return len([one async for one in levels])


def server_pid(benchmark: GenaiBench) -> int:
    assert benchmark._client is not None
    return benchmark._client._process.pid


def test_one_import_serves_all_trials_and_close_ends_all_processes(
    package: FakePackage, benchmark: GenaiBench, tmp_path: Path
) -> None:
    async def scenario() -> int:
        await benchmark.prepare()
        assert await benchmark.fingerprint() == {"benchmark": "genai-bench", "benchmark_version": "0.0.0-fake"}
        pid = server_pid(benchmark)
        for number in range(2):
            assert await take(benchmark, tmp_path / str(number)) == 2
            assert server_pid(benchmark) == pid
        await benchmark.close()
        return pid

    pid = in_loop(scenario())
    assert not running(pid)
    assert len(package.runs) == 2
    # Each run had started a child of its own.
    until(lambda: not any(group_alive(run) for run, _, _ in package.runs))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a subreaper")
def test_a_process_in_a_session_of_its_own_ends_with_its_run(
    package: FakePackage, benchmark: GenaiBench, tmp_path: Path
) -> None:
    package.mode("detached")

    async def scenario() -> None:
        await benchmark.prepare()
        assert await take(benchmark, tmp_path / "t0") == 2
        await until_async(lambda: not running(package.detached))
        await benchmark.close()

    in_loop(scenario())


def test_a_run_has_whole_seconds_and_the_tasks_seed(package: FakePackage, make_task: Any, tmp_path: Path) -> None:
    # 965 is no float of minutes times 60.
    workload = {"scenarios": ["D(16,8)"], "concurrency": [1, 2], "seconds_per_level": 965}

    async def scenario() -> None:
        for seed in (3, 3, 4):
            task = make_task(
                workload=workload,
                strategy={"sampler": "random", "seed": seed},
                benchmark={"executable": str(package.script)},
            )
            benchmark = bench_for(task)
            await benchmark.prepare()
            await take(benchmark, tmp_path / str(len(package.runs)))
            await benchmark.close()

    in_loop(scenario())
    seconds = [run[1] for run in package.runs]
    assert seconds == ["965", "965", "965"]
    first, second, other = [run[2] for run in package.runs]
    assert first == second != other


def test_secrets_reach_neither_the_fork_server_nor_any_file(
    package: FakePackage, benchmark: GenaiBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HARMLESS", "kept-as-it-is")

    async def scenario() -> None:
        await benchmark.prepare()
        await take(benchmark, tmp_path / "trial")
        environment = Path(f"/proc/{server_pid(benchmark)}/environ")
        if environment.exists():
            assert b"hidden" not in environment.read_bytes()
        await benchmark.close()

    in_loop(scenario())
    text = b"".join(contents_below(tmp_path / "trial").values())
    assert b"kept-as-it-is" in text
    assert b"hidden" not in text


@pytest.mark.parametrize(("mode", "code", "line"), [("exit", "5", ""), ("raise", "1", "the traffic broke down")])
def test_a_failed_run_reports_its_exit_code_and_its_log(
    package: FakePackage, benchmark: GenaiBench, tmp_path: Path, mode: str, code: str, line: str
) -> None:
    package.mode(mode)

    async def scenario() -> None:
        await benchmark.prepare()
        with pytest.raises(MeasurementError, match=f"code {code}") as caught:
            await take(benchmark, tmp_path / "trial")
        assert any(line in told for told in caught.value.failure.log_lines)
        # The fork server continues.
        package.mode("levels")
        assert await take(benchmark, tmp_path / "next") == 2
        await benchmark.close()

    in_loop(scenario())


def test_a_fork_server_killed_between_two_trials_is_started_again(
    package: FakePackage, benchmark: GenaiBench, tmp_path: Path
) -> None:
    async def scenario() -> None:
        await benchmark.prepare()
        assert await take(benchmark, tmp_path / "one") == 2
        killed = server_pid(benchmark)
        os.kill(killed, signal.SIGKILL)
        await until_async(lambda: benchmark._client is not None and not benchmark._client.alive)
        assert await take(benchmark, tmp_path / "two") == 2
        assert server_pid(benchmark) != killed
        await benchmark.close()

    in_loop(scenario())


def test_a_fork_server_killed_while_measuring_fails_that_trial_at_once_and_ends_the_load(
    package: FakePackage, benchmark: GenaiBench, tmp_path: Path
) -> None:
    package.mode("slow")

    async def scenario() -> None:
        await benchmark.prepare()
        taking = asyncio.ensure_future(take(benchmark, tmp_path / "trial"))
        await until_async(lambda: package.runs)
        os.kill(server_pid(benchmark), signal.SIGKILL)
        with pytest.raises(MeasurementError) as caught:
            await taking
        # An infrastructure failure, which the runner retries.
        assert caught.value.failure.kind is FailureKind.INFRASTRUCTURE
        await until_async(lambda: not group_alive(package.runs[0][0]))
        await benchmark.close()

    in_loop(scenario())


def test_a_run_cancelled_while_it_is_forked_is_killed(
    package: FakePackage, benchmark: GenaiBench, tmp_path: Path
) -> None:
    package.mode("slow")

    async def scenario() -> None:
        await benchmark.prepare()
        client = benchmark._client
        assert client is not None
        # Stopped, so that the response with the child's pid is received after the cancellation.
        os.kill(server_pid(benchmark), signal.SIGSTOP)
        taking = asyncio.ensure_future(take(benchmark, tmp_path / "trial"))
        await until_async(lambda: client._started)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        os.kill(server_pid(benchmark), signal.SIGCONT)
        await until_async(lambda: not client._ended)
        await until_async(lambda: not any(group_alive(pid) for pid, _, _ in package.runs))
        # The fork server still works.
        package.mode("levels")
        assert await take(benchmark, tmp_path / "next") == 2
        assert benchmark._client is client
        await benchmark.close()

    in_loop(scenario())


def test_two_concurrent_runs_end_independently(package: FakePackage, benchmark: GenaiBench, tmp_path: Path) -> None:
    async def scenario() -> None:
        await benchmark.prepare()
        assert benchmark._client is not None
        package.mode("slow")
        slow = await _start(benchmark._client, tmp_path / "slow.log")
        await until_async(lambda: package.runs)
        package.mode("exit")
        quick = await _start(benchmark._client, tmp_path / "quick.log")
        assert await quick.wait() == 5
        assert slow.exit_code is None
        await slow.terminate()
        assert slow.exit_code == -signal.SIGKILL
        await benchmark.close()

    in_loop(scenario())


async def _start(client: ForkClient, log: Path) -> BenchProcess:
    return await client.run(["benchmark"], log=log, env={}, seed=0, plan={})


def test_a_failed_import_reports_the_reason(package: FakePackage, benchmark: GenaiBench) -> None:
    package.break_import()
    with pytest.raises(SetupError, match=r"libgevent\.so is missing") as caught:
        in_loop(benchmark.prepare())
    assert caught.value.field == "benchmark.executable"


def test_an_import_that_hangs_ends_at_its_deadline(
    package: FakePackage, benchmark: GenaiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.bench._fork_client._START_S", 0.3)
    cli = Path(os.environ["PYTHONPATH"]) / "genai_bench" / "cli" / "cli.py"
    cli.write_text("import time; time.sleep(600)\n")
    with pytest.raises(SetupError, match="did not start within"):
        in_loop(benchmark.prepare())


def test_the_fork_server_does_not_outlive_its_parent(package: FakePackage, tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\nfrom autotune_nb.bench._fork_client import ForkClient\nfrom pathlib import Path\n"
        "async def main():\n"
        "    h = await ForkClient.start(sys.executable, '', labels={})\n"
        "    p = await h.run(['benchmark'], log=Path(sys.argv[1]), env={}, seed=0, plan={})\n"
        "    print(h._process.pid, p.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    package.mode("slow")
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        pids = [int(word) for word in holder.stdout.readline().split()]
        assert len(pids) == 2
        holder.kill()
    until(lambda: not any(map(running, pids)))


# The measurement lock


def test_the_exclusive_lock_excludes_measurements_and_other_exclusive_holders() -> None:
    async def scenario() -> None:
        lock = MeasurementLock()
        measuring, alone = 0, 0
        together = 0

        async def measure(pause: float) -> None:
            nonlocal measuring, together
            async with lock.measuring():
                measuring += 1
                together = max(together, measuring)
                assert not alone
                await asyncio.sleep(pause)
                assert not alone
                measuring -= 1

        async def be_alone() -> None:
            nonlocal alone
            async with lock.exclusive():
                alone += 1
                assert alone == 1
                assert not measuring
                await asyncio.sleep(0.005)
                assert not measuring
                alone -= 1

        await asyncio.gather(*(measure(0.01) for _ in range(5)), *(be_alone() for _ in range(3)), measure(0.02))
        assert together > 1

    in_loop(scenario())


def test_the_lock_is_released_when_a_waiter_is_cancelled_or_a_holder_fails() -> None:
    async def scenario() -> None:
        lock = MeasurementLock()

        async def be_alone() -> None:
            async with lock.exclusive():
                raise ValueError("the import failed")

        async with lock.measuring():
            waiting = asyncio.ensure_future(be_alone())
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert waiting.cancelled()
        with contextlib.suppress(ValueError):
            await be_alone()
        async with lock.measuring(), lock.measuring():
            pass
        async with lock.exclusive():
            pass

    in_loop(scenario())


@pytest.fixture
def own_tokenizer(small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tokenizer that comes with code of its own."""
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes((small_model.parent / "tokenizer" / "tokenizer.json").read_bytes())
    code = "from transformers import PreTrainedTokenizerFast\nclass OwnTokenizer(PreTrainedTokenizerFast): ...\n"
    (folder / "own_tokenizer.py").write_text(code)
    names = ["own_tokenizer.OwnTokenizer", "own_tokenizer.OwnTokenizer"]
    config = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": names}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return str(folder)


def test_a_tokenizer_with_code_of_its_own_is_refused_until_the_task_allows_it(
    package: FakePackage, make_task: Any, own_tokenizer: str
) -> None:
    executable = {"executable": str(package.script)}
    with pytest.raises(SetupError, match=r"code of its own.*model\.trust_remote_code: true$"):
        in_loop(bench_for(make_task(benchmark=executable)).check(own_tokenizer))
    model = {"id_or_path": "m", "trust_remote_code": True}
    in_loop(bench_for(make_task(benchmark=executable, model=model)).check(own_tokenizer))


@pytest.mark.parametrize(
    ("engine", "trusted"),
    [
        ({"kind": "vllm"}, False),
        ({"kind": "vllm", "args": {"trust_remote_code": True}}, True),
        ({"kind": "vllm", "args": {"trust_remote_code": False}}, False),
        ({"kind": "vllm", "raw_args": ["--trust-remote-code"]}, True),
    ],
)
def test_the_engines_flag_allows_the_tokenizers_code_too(make_task: Any, engine: dict[str, Any], trusted: bool) -> None:
    assert trusts_tokenizer(make_task(engine=engine, parameters={"max_num_seqs": [1, 2]})) is trusted


def test_a_command_whose_start_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    script, child = tmp_path / "genai-bench", tmp_path / "child"
    script.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {child}.new; mv {child}.new {child}; wait\n")
    script.chmod(0o755)

    def processes() -> list[int]:
        return [one.pid for one in psutil.Process().children() if str(script) in one.cmdline()]

    async def scenario() -> int:
        starting = asyncio.ensure_future(start_command([str(script)], log=tmp_path / "log", env={}))
        while not (found := processes()):  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0)
        # Blocks the loop, so that the start is still waiting when it is cancelled.
        until(child.exists)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        return found[0]

    group = in_loop(scenario())
    until(lambda: not group_alive(group))
    assert not running(int(child.read_text()))
