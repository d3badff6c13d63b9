"""genai-bench as a local process: its command line, its files and its failures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.bench import BenchRequest, GenaiBench
from autotune_nb.bench._arguments import backend_of, level_plan, minutes_text
from autotune_nb.bench._expected_levels import ExpectedLevels
from autotune_nb.bench._fork_client import bench_environment, find_genai_bench, python_of
from autotune_nb.bench._launcher import Minutes
from autotune_nb.errors import Failure, FailureKind, MeasurementError, SetupError
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Measurement
from tests.contracts.benchmark import BenchmarkContract
from tests.stubs import (
    FakeBench,
    contents_below,
    deploy_request,
    deployer_for,
    group_alive,
    in_loop,
    level_data,
    level_file,
    until,
)

SECRETS = {
    "MODEL_API_KEY": "sk-hidden-model",
    "AWS_SECRET_ACCESS_KEY": "aws-hidden",
    "GITHUB_TOKEN": "ghp-hidden",
    "FOO_PASSWORD": "foo-hidden",
    "PGPASS": "pg-hidden",
}


def bench_for(task: Task, **changes: Any) -> GenaiBench:
    options: dict[str, Any] = {"backend": "vllm", "engine": None, "labels": {}, **changes}
    return GenaiBench(task, **options)


def request_in(folder: Path, **changes: Any) -> BenchRequest:
    folder.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "url": "http://127.0.0.1:9",
        "model": "m",
        "tokenizer": "tok",
        "folder": folder,
        **changes,
    }
    return BenchRequest(**values)


async def measured(benchmark: GenaiBench, request: BenchRequest) -> list[Measurement]:
    await benchmark.prepare()
    seen = []
    try:
        async with aclosing(benchmark.measure(request)) as levels:
            async for one in levels:
                seen.append(one)
    finally:
        await benchmark.close()
    return seen


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeBench]:
    bench = FakeBench(tmp_path / "fake")
    yield bench
    # Killed processes take a moment to end.
    until(lambda: not any(map(group_alive, bench.pids)))


@pytest.fixture
def faked(fake: FakeBench, make_task: Any) -> Any:
    """Return a function that creates a GenaiBench with the fake executable."""

    def make(levels: dict[str, Any], *, before: str = "", after: str = "", **changes: Any) -> GenaiBench:
        executable = fake.write(levels, before=before, after=after)
        return bench_for(make_task(benchmark={"executable": executable}, **changes))

    return make


def failure_of(benchmark: GenaiBench, folder: Path) -> Failure:
    with pytest.raises(MeasurementError) as caught:
        in_loop(measured(benchmark, request_in(folder)))
    return caught.value.failure


class FakeSubject:
    """GenaiBench with scripts instead of genai-bench."""

    stepwise = True

    def __init__(self, folder: Path, make_task: Any) -> None:
        self._folder = folder
        self._gate = folder / "gate"
        scripts = [FakeBench(folder / name) for name in ("gated", "missing", "failing")]
        self._gated = scripts[0]
        first = level_file(1)
        executables = [
            scripts[0].write(
                scripts[0].both_levels(),
                before=f'cp "$levels/{first}" "$out/"; while [ ! -e "{self._gate}" ]; do sleep 0.02; done',
                after="sleep 600",
            ),
            scripts[1].write({first: level_data()}),
            scripts[2].write(scripts[2].both_levels(completed=5, failed=5)),
        ]
        self.gated, self.missing, self.failing = (
            bench_for(make_task(benchmark={"executable": executable})) for executable in executables
        )

    def request(self) -> BenchRequest:
        return request_in(self._folder / "trial")

    def release(self) -> None:
        self._gate.touch()

    def loading(self) -> bool:
        return any(map(group_alive, self._gated.pids))


class TestGenaiBench(BenchmarkContract):
    @pytest.fixture
    def subject(self, tmp_path: Path, make_task: Any) -> FakeSubject:
        return FakeSubject(tmp_path, make_task)


# The command line


def test_the_command_line_is_exactly_this(make_task: Any, fake: FakeBench, tmp_path: Path) -> None:
    task = make_task(
        workload={
            "scenarios": ["D(16,8)", "N(64,8)/(32,4)"],
            "concurrency": [1, 8],
            "seconds_per_level": 70,
            "requests_per_level": 40,
            "warmup_ratio": 0.1,
            "request_params": {"temperature": 0.5, "ignore_eos": True},
        },
        benchmark={"executable": fake.write({})},
    )
    benchmark = bench_for(task, engine="LlamaCPP")
    in_loop(benchmark.prepare())
    request = request_in(tmp_path / "t", url="http://127.0.0.1:8080", model="served", tokenizer="/tok", gpu_count=2)
    assert benchmark.argv(request) == [
        *("benchmark", "--api-backend", "vllm", "--api-base", "http://127.0.0.1:8080", "--api-key", "no-key"),
        *("--api-model-name", "served", "--model-tokenizer", "/tok", "--task", "text-to-text"),
        # A plain executable accepts whole minutes only.
        *("--max-time-per-run", "2", "--max-requests-per-run", "40"),
        *("--traffic-scenario", "D(16,8)", "--traffic-scenario", "N(64,8)/(32,4)"),
        *("--num-concurrency", "1", "--num-concurrency", "8", "--warmup-ratio", "0.1"),
        *("--additional-request-params", '{"ignore_eos": true, "temperature": 0.5}'),
        *("--server-engine", "LlamaCPP", "--server-gpu-count", "2"),
        *("--experiment-base-dir", str(tmp_path / "t"), "--experiment-folder-name", "genai-bench"),
        *("--log-dir", str(tmp_path / "t")),
    ]


def test_the_limits_of_a_scenario_decide_when_its_levels_end_and_count_their_requests(make_task: Any) -> None:
    limits = ["ttft_p90_s <= 0.5 of D(16,8)", "tpot_p90_s <= 1"]
    task = make_task(workload={"scenarios": ["D(16,8)", "D(32,8)"]}, limits=limits)
    assert level_plan(task)["limits_of"] == ["D(16,8)", ""]
    found = {}
    for scenario in task.workload.scenarios:
        data = level_data(scenario, completed=10)
        data["individual_request_metrics"] = [{"ttft": 0.1, "tpot": 0.01}] * 10
        one = ExpectedLevels(task).receive(data)
        assert one is not None
        found[scenario] = list(one.beyond)
    assert found == {"D(16,8)": ["ttft_p90_s <= 0.5 of D(16,8)", "tpot_p90_s <= 1"], "D(32,8)": ["tpot_p90_s <= 1"]}


def test_the_tasks_backend_overrides_the_engines(make_task: Any, tmp_path: Path) -> None:
    argv = bench_for(make_task(benchmark={"backend": "sglang"})).argv(request_in(tmp_path))
    assert argv[argv.index("--api-backend") + 1] == "sglang"


def test_tasks_without_text_are_loaded_by_batch_sizes(make_task: Any, tmp_path: Path) -> None:
    workload = {"task": "text-to-embeddings", "scenarios": ["E(64)"], "batch_sizes": [1, 8]}
    argv = bench_for(make_task(workload=workload, objective="maximize requests_per_s")).argv(request_in(tmp_path))
    assert "--num-concurrency" not in argv
    assert [argv[i + 1] for i, word in enumerate(argv) if word == "--batch-size"] == ["1", "8"]


@given(st.integers(min_value=1, max_value=10_000_000))
def test_minutes_convert_back_to_the_same_seconds(seconds: int) -> None:
    text = minutes_text(seconds)
    assert Minutes(text) * 60 == seconds
    assert isinstance(Minutes(text) * 60, int)


def test_whole_minutes_are_written_without_a_fraction() -> None:
    assert [minutes_text(seconds) for seconds in (60, 120, 90)] == ["1", "2", "1.5"]


def test_the_command_line_is_saved_beside_the_files(faked: Any, fake: FakeBench, tmp_path: Path) -> None:
    benchmark = faked(fake.both_levels())
    request = request_in(tmp_path / "trial")
    assert len(in_loop(measured(benchmark, request))) == 2
    assert json.loads((tmp_path / "trial" / "genai-bench.argv.json").read_text()) == benchmark.argv(request)


def test_the_python_of_a_script_is_read_only_if_it_runs_genai_bench(tmp_path: Path) -> None:
    script = tmp_path / "s"
    script.write_text("#!/opt/py/bin/python3.12\nfrom genai_bench.cli.cli import cli\n")
    assert python_of(str(script)) == "/opt/py/bin/python3.12"
    script.write_text("#!/bin/sh\n'''exec' \"/a/very/long/bin/python\" \"$0\" \"$@\"\n' '''\nimport genai_bench\n")
    assert python_of(str(script)) == "/a/very/long/bin/python"
    script.write_text("#!/opt/py/bin/python3.12\nprint('another program')\n")
    assert python_of(str(script)) is None
    script.write_bytes(b"\x7fELF genai_bench")
    assert python_of(str(script)) is None
    assert python_of(str(tmp_path / "missing")) is None


def test_an_executable_in_this_folder_is_found_by_its_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeBench(tmp_path / "x").write({})
    monkeypatch.chdir(tmp_path / "x")
    assert find_genai_bench("./fake-bench") == "./fake-bench"
    with pytest.raises(SetupError):
        find_genai_bench("fake-bench")


# Its files


def test_times_in_milliseconds_are_read_as_seconds(faked: Any, tmp_path: Path) -> None:
    levels = {level_file(1): level_data(unit="ms"), level_file(2): level_data(concurrency=2)}
    first, second = sorted(
        in_loop(measured(faked(levels), request_in(tmp_path / "trial"))), key=lambda one: one.level.concurrency
    )
    assert first.figures["ttft_p99_s"] == pytest.approx(second.figures["ttft_p99_s"]) == pytest.approx(0.05)
    assert first.figures["output_tokens_per_s"] == second.figures["output_tokens_per_s"] == 100


def test_a_file_is_read_once_it_is_complete(faked: Any, fake: FakeBench, tmp_path: Path) -> None:
    whole = json.dumps(level_data(concurrency=2))
    half = whole[: len(whole) // 2]
    levels = {level_file(1): level_data(), "half": half, "rest": whole[len(half) :]}
    name = level_file(2)
    after = f'cp "$levels/half" "$out/{name}"; sleep 0.4; cat "$levels/rest" >> "$out/{name}"; sleep 600'
    got = in_loop(measured(faked(levels, after=after), request_in(tmp_path / "trial")))
    assert [one.level.concurrency for one in got] == [1, 2]


def test_the_benchmark_ends_after_the_last_level(faked: Any, fake: FakeBench, tmp_path: Path) -> None:
    # One that waited for its end would take ten minutes.
    in_loop(
        measured(faked(fake.both_levels(), after='sleep 600; touch "$out/plots.xlsx"'), request_in(tmp_path / "trial"))
    )
    assert not (tmp_path / "trial" / "genai-bench" / "plots.xlsx").exists()


@pytest.mark.parametrize("value", ["NaN", "Infinity", "null", '"fast"', "true"])
def test_a_figure_that_is_no_number_makes_the_level_invalid(faked: Any, tmp_path: Path, value: str) -> None:
    text = json.dumps(level_data(tokens_per_s=123.5)).replace("123.5", value)
    got = in_loop(
        measured(faked({level_file(1): text, level_file(2): level_data(concurrency=2)}), request_in(tmp_path))
    )
    assert [one.valid for one in sorted(got, key=lambda one: one.level.concurrency)] == [False, True]


def test_a_level_of_too_few_requests_names_the_load_of_the_machine_that_the_engine_is_on(
    make_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.getloadavg", lambda: (8.7, 1.0, 1.0))
    monkeypatch.setattr("psutil.cpu_count", lambda: 2)
    few, enough = level_data(completed=2), level_data(concurrency=2)
    few["aggregated_metrics"]["run_duration"] = 0.4
    levels = ExpectedLevels(make_task())
    taken = levels.receive(few)
    assert taken is not None
    assert taken.problems == (
        "only 2 requests completed, at least 3 are needed",
        "this machine's load was 9 on 2 CPUs",
    )
    other = levels.receive(enough)
    assert other is not None
    assert other.problems == ()
    away = ExpectedLevels(make_task(deploy={"kind": "ome"})).receive(few)
    assert away is not None
    assert len(away.problems) == 1


@pytest.mark.parametrize(
    ("own", "accepts", "given", "backend"),
    [
        ("openai", True, None, "vllm"),
        ("openai", False, None, "openai"),
        ("openai", None, None, "openai"),
        ("sglang", True, None, "sglang"),
        ("vllm", False, None, "openai"),
        ("openai", True, "openai", "openai"),
    ],
)
def test_the_backend_sends_ignore_eos_if_the_server_accepts_it(
    make_task: Any, own: str, accepts: bool | None, given: str | None, backend: str
) -> None:
    assert backend_of(make_task(benchmark={"backend": given}), own, accepts) == backend


def test_a_level_that_is_not_expected_is_ignored(faked: Any, fake: FakeBench, tmp_path: Path) -> None:
    levels = {**fake.both_levels(), "stale.json": level_data(concurrency=64), "list.json": "[]", "empty.json": "{}"}
    got = in_loop(measured(faked(levels), request_in(tmp_path / "trial")))
    assert [one.level.concurrency for one in got] == [1, 2]


# Failures


def test_a_missing_executable_names_the_field(make_task: Any) -> None:
    with pytest.raises(SetupError, match="no-such-bench") as caught:
        in_loop(bench_for(make_task(benchmark={"executable": "no-such-bench"})).prepare())
    assert caught.value.field == "benchmark.executable"


def test_an_executable_that_the_system_cannot_execute_names_the_field(make_task: Any, tmp_path: Path) -> None:
    script = tmp_path / "bench"
    script.write_bytes(b"\x00\x01 neither a program nor a script")
    script.chmod(0o755)
    with pytest.raises(SetupError, match="cannot be started") as caught:
        in_loop(measured(bench_for(make_task(benchmark={"executable": str(script)})), request_in(tmp_path / "trial")))
    assert caught.value.field == "benchmark.executable"


def test_an_exit_with_1_reports_the_code_and_the_last_lines(faked: Any, tmp_path: Path) -> None:
    failure = failure_of(
        faked({}, before='echo "ValueError: the tokenizer is no tokenizer" >&2; exit 1'), tmp_path / "t"
    )
    assert failure.kind is FailureKind.MEASUREMENT
    assert "code 1" in failure.message
    assert "D(16,8) at concurrency 1, D(16,8) at concurrency 2" in failure.message
    assert failure.log_lines == ("ValueError: the tokenizer is no tokenizer",)
    assert "check what else loads the machine" in failure.hint


def test_a_benchmark_that_the_system_kills_is_no_fault_of_the_configuration(faked: Any, tmp_path: Path) -> None:
    failure = failure_of(faked({level_file(1): level_data()}, after="kill -9 $$"), tmp_path / "trial")
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert failure.message == "genai-bench was ended by SIGKILL before it had figures for D(16,8) at concurrency 2"
    assert "memory ran out" in failure.hint


def test_a_truncated_file_is_named(faked: Any, tmp_path: Path) -> None:
    levels = {level_file(1): level_data(), level_file(2): json.dumps(level_data(concurrency=2))[:-200]}
    failure = failure_of(faked(levels), tmp_path / "trial")
    assert f"{level_file(2)} is truncated" in failure.message
    assert "concurrency 1" not in failure.message


def test_the_errors_of_failed_requests_are_reported(faked: Any, tmp_path: Path) -> None:
    failed = [{"error_code": 503, "error_message": "no\n slot"}, {"error_code": None}]
    # It has the form of a level's file.
    level = {**level_data(concurrency=2), "individual_request_metrics": failed}
    level["aggregated_metrics"] |= {"num_completed_requests": 0, "error_codes_frequency": {"503": 1}}
    levels = {level_file(1): level_data(), "debug_for_run_2.json": json.dumps(level)}
    failure = failure_of(faked(levels, after="exit 1"), tmp_path / "trial")
    assert "its requests failed: 1 of 2, such as 503: no slot" in failure.message


def test_a_benchmark_that_hangs_is_ended_at_its_deadline(faked: Any, tmp_path: Path) -> None:
    benchmark = faked({level_file(1): level_data()}, after="sleep 600", deadlines={"benchmark_s": 0.6})
    began = time.monotonic()
    failure = failure_of(benchmark, tmp_path / "trial")
    assert time.monotonic() - began >= 0.6
    assert failure.kind is FailureKind.TIMEOUT
    assert "concurrency 2 within 0.6 s" in failure.message
    assert "deadlines.benchmark_s" in failure.hint


def test_the_deadline_includes_the_consumers_time_but_never_cancels_the_consumer(
    faked: Any, fake: FakeBench, tmp_path: Path
) -> None:
    benchmark = faked(fake.both_levels(), after="sleep 600", deadlines={"benchmark_s": 3})

    async def scenario() -> int:
        await benchmark.prepare()
        count = 0
        async with aclosing(benchmark.measure(request_in(tmp_path / "trial"))) as levels:
            async for _ in levels:
                count += 1
                await asyncio.sleep(3.1)
        return count

    # Both were written in time; a slow consumer loses none.
    assert in_loop(scenario()) == 2


# Secrets


def test_secrets_of_the_environment_do_not_reach_the_benchmark(
    faked: Any, fake: FakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HARMLESS", "kept-as-it-is")
    in_loop(measured(faked(fake.both_levels(), before="env; env > $base/env.txt"), request_in(tmp_path / "trial")))
    text = b"".join(contents_below(tmp_path / "trial").values())
    assert b"kept-as-it-is" in text
    assert b"hidden" not in text


def test_a_local_server_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "intranet")
    assert bench_environment()["no_proxy"].split(",") == ["intranet", "127.0.0.1", "localhost", "::1"]


# The real genai-bench


class Recorder:
    """A server that streams chat completions and stores every prompt."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.url = ""

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{port}"
        return runner

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.prompts.append(json.dumps(body["messages"]))
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        for word in ("some ", "noise ", "here"):
            chunk = {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
            await reply.write(f"data: {json.dumps(chunk)}\n\n".encode())
            await asyncio.sleep(0.02)
        usage = {"prompt_tokens": 16, "completion_tokens": 3, "total_tokens": 19}
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}
        await reply.write(f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n".encode())
        return reply


def real_bench_installed() -> bool:
    with contextlib.suppress(SetupError):
        return python_of(find_genai_bench("genai-bench")) is not None
    return False


# The real genai-bench measures a real engine in tests/e2e/test_run.py, and a known one in test_known_engine.py.
@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.skipif(not real_bench_installed(), reason="genai-bench is not installed beside this Python")
def test_the_real_genai_bench_measures_a_real_llama_cpp_server(
    make_task: Any, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test for everything that needs the real genai-bench, which takes seconds to start."""
    pytest.importorskip("xllamacpp")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    task = make_task(model=str(small_model))
    tokenizer = str(small_model.parent / "tokenizer")
    benchmark = bench_for(task)
    deployer = deployer_for(task, tmp_path)

    async def against_llama() -> None:
        await deployer.prepare()
        async with deployer.deploy(deploy_request(tmp_path / "trial", params={"threads": 1})) as deployment:
            endpoint = deployment.endpoint
            request = request_in(
                tmp_path / "trial", url=endpoint.url, model=endpoint.model, tokenizer=endpoint.tokenizer
            )
            seen: list[Measurement] = []
            async with aclosing(benchmark.measure(request)) as levels:
                async for one in levels:
                    # Read while it runs: the second level's file does not exist when the first one is read.
                    assert len(list((tmp_path / "trial" / "genai-bench").glob("*_time_*.json"))) == len(seen) + 1
                    seen.append(one)
        assert [one.level for one in seen] == list(task.workload.levels)
        for one in seen:
            assert one.problems == ()
            assert one.num_completed_requests >= 3
            assert one.figures["output_tokens_per_s"] > 0
            assert 0 < one.figures["ttft_p50_s"] <= one.figures["e2e_latency_p50_s"] < 5
            # The backend passes ignore_eos, so that every response has the requested length.
            assert one.figures["output_tokens_min"] == pytest.approx(8, abs=1)
        # genai-bench was ended after the last level.
        assert not list((tmp_path / "trial").rglob("*.xlsx"))

    async def prompts_of(seed: int, name: str) -> list[str]:
        one_level = make_task(
            workload={"scenarios": ["N(16,4)/(3,1)"], "seconds_per_level": 20, "requests_per_level": 4},
            strategy={"sampler": "tpe", "seed": seed},
        )
        recorder = Recorder()
        server = await recorder.start()
        other = bench_for(one_level)
        other._executable, other._python, other._client = benchmark._executable, benchmark._python, benchmark._client
        request = request_in(tmp_path / name, url=recorder.url, tokenizer=tokenizer)
        try:
            async with aclosing(other.measure(request)) as levels:
                assert [one.num_failed_requests async for one in levels] == [0]
        finally:
            await server.cleanup()
        return recorder.prompts

    async def scenario() -> None:
        await benchmark.prepare()
        try:
            assert (await benchmark.fingerprint())["benchmark_version"]
            await against_llama()
            first, second, other = [await prompts_of(seed, f"p{i}") for i, seed in enumerate((3, 3, 4))]
            shared = min(len(first), len(second))
            assert shared >= 4
            assert first[:shared] == second[:shared]
            assert first[:4] != other[:4]
            assert len(set(first)) > 1
        finally:
            await benchmark.close()

    in_loop(scenario())
    everything = b"".join(contents_below(tmp_path).values())
    assert b"no-key" in everything
    assert b"hidden" not in everything


def test_a_skipped_level_ends_the_run_at_once(fake: FakeBench, faked: Any, tmp_path: Path) -> None:
    second = level_file(2)
    benchmark = faked({second: level_data(concurrency=2)}, after="sleep 600")
    failure = failure_of(benchmark, tmp_path / "t")
    assert "continued without figures for" in failure.message
    assert "concurrency 1" in failure.message
