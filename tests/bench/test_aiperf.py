"""aiperf as a local process: its command line, the requests that it recorded, and rates that it does not reach."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.bench import AiperfBench, BenchRequest
from autotune_nb.bench._aiperf_records import RECORDS, level_data, rate_problems, read_records
from autotune_nb.errors import MeasurementError, SetupError, TaskError
from autotune_nb.trial.measurement import Level, Measurement
from tests.contracts.benchmark import BenchmarkContract
from tests.known_engine import KnownEngine
from tests.stubs import group_alive, in_loop, until

#: Requests as aiperf 0.13 recorded them on the known engine at the rates 4 and 8, of Poisson arrivals.
RECORDED = {rate: Path(__file__).parent / f"aiperf-rate-{rate}.jsonl" for rate in (4, 8)}
#: A real aiperf, which is not among the packages of the tests.
PROGRAM = os.environ.get("AUTOTUNE_NB_AIPERF") or shutil.which("aiperf")


def changed(change: Callable[[int, dict[str, Any]], None], rate: int = 8) -> list[dict[str, Any]]:
    """Return the recorded requests of a rate, each changed by its number."""
    records = read_records(RECORDED[rate])
    for number, record in enumerate(records):
        change(number, record)
    return records


def later(factor: float) -> Callable[[int, dict[str, Any]], None]:
    """Make the requests arrive at a rate that is lower by a factor."""
    begin = read_records(RECORDED[8])[0]["metadata"]["request_start_ns"]

    def change(_: int, record: dict[str, Any]) -> None:
        metadata = record["metadata"]
        by = round((metadata["request_start_ns"] - begin) * (factor - 1))
        for name in ("credit_issued_ns", "request_start_ns", "request_end_ns"):
            metadata[name] += by

    return change


class FakeAiperf:
    """An executable in place of aiperf that copies recorded requests, by the rate that it is asked for."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.script, self.records, self._pids = folder / "aiperf", folder / "records", folder / "pids"
        self.records.mkdir()

    def write(self, records: dict[int, str], *, before: str = "", after: str = "") -> str:
        for rate, text in records.items():
            (self.records / f"{rate}.jsonl").write_text(text)
        self.script.write_text(
            "#!/bin/sh\n"
            '[ "$1" = --version ] && { echo 0.13.0; exit; }\n'
            f'echo $$ >> "{self._pids}"\n'
            'while [ $# -gt 0 ]; do case "$1" in\n'
            "--request-rate) rate=$2;; --output-artifact-dir) out=$2;;\n"
            "esac; shift; done\n"
            f'{before}\n[ -e "{self.records}/$rate.jsonl" ] || exit 0\n'
            f'cp "{self.records}/$rate.jsonl" "$out/{RECORDS}"; touch "$out/.aiperf_results_ready.json"\n{after}\n'
        )
        self.script.chmod(0o755)
        return str(self.script)

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in self._pids.read_text().split()] if self._pids.exists() else []


def bench_for(make_task: Any, executable: str = "aiperf", **workload: Any) -> AiperfBench:
    given = {"scenarios": ["D(64,16)"], "rate": [4, 8], "seconds_per_level": 3, **workload}
    return AiperfBench(make_task(workload=given, benchmark={"kind": "aiperf", "executable": executable}), labels={})


def request_in(folder: Path, **changes: Any) -> BenchRequest:
    folder.mkdir(parents=True, exist_ok=True)
    return BenchRequest(**{"url": "http://127.0.0.1:9", "model": "m", "tokenizer": "tok", "folder": folder, **changes})


async def measured(benchmark: AiperfBench, request: BenchRequest) -> list[Measurement]:
    await benchmark.prepare()
    async with aclosing(benchmark.measure(request)) as levels:
        return [one async for one in levels]


class FakeSubject:
    """AiperfBench with scripts in place of aiperf."""

    stepwise = True

    def __init__(self, folder: Path, make_task: Any) -> None:
        self._folder, self._gate = folder, folder / "gate"
        scripts = [FakeAiperf(folder / name) for name in ("gated", "missing", "failing")]
        self._gated = scripts[0]
        both = {rate: file.read_text() for rate, file in RECORDED.items()}

        def fail(number: int, record: dict[str, Any]) -> None:
            if number % 2:
                record["error"] = {"code": 503, "type": "Service Unavailable", "message": "no slot is free"}

        failing = {r: "\n".join(map(json.dumps, changed(fail, r))) for r in both}
        waits = f'[ $rate = 4 ] || while [ ! -e "{self._gate}" ]; do sleep 0.02; done'
        executables = [
            scripts[0].write(both, before=waits, after="sleep 600"),
            scripts[1].write({4: both[4]}),
            scripts[2].write(failing),
        ]
        self.gated, self.missing, self.failing = (bench_for(make_task, executable) for executable in executables)

    def request(self) -> BenchRequest:
        return request_in(self._folder / "trial")

    def release(self) -> None:
        self._gate.touch()

    def loading(self) -> bool:
        return any(map(group_alive, self._gated.pids))


class TestAiperfBench(BenchmarkContract):
    loads = ("rate 4", "rate 8")

    @pytest.fixture
    def subject(self, tmp_path: Path, make_task: Any) -> Iterator[FakeSubject]:
        subject = FakeSubject(tmp_path, make_task)
        yield subject
        until(lambda: not subject.loading())


def test_the_command_line_has_the_rate_the_sizes_and_the_end_of_a_level(make_task: Any, tmp_path: Path) -> None:
    benchmark = bench_for(
        make_task,
        scenarios=["N(64,8)/(32,4)"],
        rate=[2.5],
        arrival="constant",
        seconds_per_level=60,
        requests_per_level=100,
        request_params={"temperature": 0},
    )
    level = Level("N(64,8)/(32,4)", rate=2.5)
    argv = benchmark.argv(request_in(tmp_path, accepts_ignore_eos=False), level, tmp_path / "out")
    given = dict(itertools.pairwise(argv))
    assert argv[0] == "profile"
    assert (given["--request-rate"], given["--arrival-pattern"]) == ("2.5", "constant")
    assert [given[name] for name in ("--isl", "--isl-stddev", "--osl", "--osl-stddev")] == ["64", "8", "32", "4"]
    # 100 requests arrive within 40 s.
    assert given["--benchmark-duration"] == "40"
    assert json.loads(given["--extra-inputs"]) == {"temperature": 0}
    accepting = benchmark.argv(request_in(tmp_path), level, tmp_path / "out")
    assert json.loads(accepting[accepting.index("--extra-inputs") + 1]) == {"temperature": 0, "ignore_eos": True}


@pytest.mark.parametrize(
    ("scenario", "options"),
    [
        ("prefix(256)+D(64,16)", {"--shared-system-prompt-length": "256", "--isl": "64", "--osl": "16"}),
        (
            "mix(2*D(64,16),1*N(512,50)/(128,25))",
            {"--sequence-distribution": "64|0,16|0:66.66666667;512|50,128|25:33.33333333"},
        ),
    ],
)
def test_a_shared_prefix_and_a_mix_are_aiperfs_own(
    make_task: Any, tmp_path: Path, scenario: str, options: dict[str, str]
) -> None:
    benchmark = bench_for(make_task, scenarios=[scenario])
    argv = benchmark.argv(request_in(tmp_path), Level(scenario, rate=4), tmp_path / "out")
    assert options.items() <= dict(itertools.pairwise(argv)).items()
    assert ("--isl" in argv) == ("--isl" in options)


def test_recorded_requests_have_the_figures_of_the_known_engine(make_task: Any, tmp_path: Path) -> None:
    fake = FakeAiperf(tmp_path / "fake")
    executable = fake.write({8: RECORDED[8].read_text()})
    (one,) = in_loop(measured(bench_for(make_task, executable, rate=[8]), request_in(tmp_path / "trial")))
    assert one.valid, one.problems
    assert str(one.level) == "D(64,16) at rate 8"
    # The first token after 50 ms, the others 10 ms apart.
    assert one.figures["ttft_p50_s"] == pytest.approx(0.05, rel=0.2)
    assert one.figures["tpot_mean_s"] == pytest.approx(0.01, rel=0.05)
    assert one.figures["e2e_latency_p50_s"] == pytest.approx(0.2, rel=0.1)
    assert one.figures["output_tokens_mean"] == 16
    assert one.figures["output_tokens_per_s"] == pytest.approx(16 * one.figures["requests_per_s"], rel=0.1)
    # As many are in flight as arrive in the time of one.
    expected = one.figures["requests_per_s"] * one.figures["e2e_latency_mean_s"]
    assert one.steady["concurrency_mean"] == pytest.approx(expected, rel=0.1)
    assert Measurement.from_dict(one.to_dict()) == one


def test_a_rate_that_the_client_does_not_reach_is_a_problem() -> None:
    level = Level("D(64,16)", rate=8)
    assert not rate_problems(level, changed(lambda *_: None), poisson=True)
    (problem,) = rate_problems(level, changed(later(8)), poisson=True)
    assert "were 8: the client was the limit" in problem
    (problem,) = rate_problems(level, changed(later(1 / 8)), poisson=True)
    assert "caught up with a delay" in problem
    # Constant arrivals have no chance that would excuse a few requests less.
    assert rate_problems(Level("D(64,16)", rate=16), changed(later(1)), poisson=False)


def test_requests_that_are_sent_late_are_a_problem() -> None:
    def delay(_: int, record: dict[str, Any]) -> None:
        record["metadata"]["credit_issued_ns"] -= 40_000_000

    (problem,) = rate_problems(Level("D(64,16)", rate=8), changed(delay), poisson=True)
    assert "late on average" in problem and "the client's CPU" in problem


def test_requests_without_a_reply_at_the_end_of_a_level_have_failed() -> None:
    def cancel(number: int, record: dict[str, Any]) -> None:
        record["metadata"]["was_cancelled"] = number == 3

    data = level_data(Level("D(64,16)", rate=8), changed(cancel))
    assert data["aggregated_metrics"]["error_codes_frequency"] == {"unanswered at the end of the level": 1}


def test_lines_that_are_cut_short_and_warm_up_requests_are_left_out(tmp_path: Path) -> None:
    lines = RECORDED[8].read_text().splitlines()
    warmup = lines[0].replace('"profiling"', '"warmup"', 1)
    assert warmup != lines[0]
    (tmp_path / RECORDS).write_text("\n".join([warmup, "[1]", lines[1], lines[2][:-20]]))
    assert len(read_records(tmp_path / RECORDS)) == 1


def test_an_aiperf_that_fails_is_reported_with_its_log(make_task: Any, tmp_path: Path) -> None:
    fake = FakeAiperf(tmp_path / "fake")
    executable = fake.write({}, before="echo 'Error: the server has no model m' >&2; exit 3")
    with pytest.raises(MeasurementError) as caught:
        in_loop(measured(bench_for(make_task, executable), request_in(tmp_path / "trial")))
    assert "ended with code 3 and recorded no request for D(64,16) at rate 4" in caught.value.failure.message
    assert any("no model m" in line for line in caught.value.failure.log_lines)


@pytest.mark.parametrize(
    ("workload", "benchmark", "field"),
    [
        ({"rate": [4]}, {}, "workload.rate"),
        ({}, {"kind": "aiperf"}, "workload.rate"),
        ({"rate": [4], "concurrency": [1, 2]}, {"kind": "aiperf"}, "workload.concurrency"),
        ({"rate": [4], "warmup_ratio": 0.1}, {"kind": "aiperf"}, "workload.warmup_ratio"),
        ({"rate": [4]}, {"kind": "aiperf", "api_key": "${KEY}"}, "benchmark.api_key"),
        ({"rate": [0]}, {"kind": "aiperf"}, "workload.rate"),
        ({"rate": [4, 4.0]}, {"kind": "aiperf"}, "workload.rate"),
    ],
)
def test_what_a_kind_of_benchmark_cannot_do_is_an_error_of_the_task(
    make_task: Any, workload: dict[str, Any], benchmark: dict[str, Any], field: str
) -> None:
    with pytest.raises(TaskError) as caught:
        make_task(workload={"scenarios": ["D(64,16)"], **workload}, benchmark=benchmark)
    assert str(caught.value.field).startswith(field)


@pytest.mark.parametrize("executor", ["auto", "job", "benchmark_job"])
def test_in_a_cluster_aiperf_runs_only_beside_autotune_nb(make_task: Any, executor: str) -> None:
    given = {"workload": {"scenarios": ["D(64,16)"], "rate": [4]}, "deploy": {"kind": "ome"}, "model": "some/model"}
    with pytest.raises(TaskError, match="set it to direct"):
        make_task(**given, benchmark={"kind": "aiperf", "executor": executor})


def test_an_objective_may_be_at_a_rate(make_task: Any) -> None:
    objective = {"direction": "minimize", "figure": "ttft_p99_s", "at": {"rate": 8}}
    task = make_task(
        workload={"scenarios": ["D(64,16)"], "rate": [4, 8]}, benchmark={"kind": "aiperf"}, objective=objective
    )
    assert task.goal.level == Level("D(64,16)", rate=8)


def test_without_aiperf_or_with_another_scenario_the_error_says_what_to_do(make_task: Any, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"pip install 'autotune_nb\[rate\]'"):
        bench_for(make_task, str(tmp_path / "none")).look()
    executable = FakeAiperf(tmp_path / "fake").write({})
    with pytest.raises(SetupError, match=r"cannot send the scenario 'U\(1,64\)/\(1,16\)'"):
        bench_for(make_task, executable, scenarios=["U(1,64)/(1,16)"]).look()
    with pytest.raises(SetupError, match=r"cannot send the scenario 'prefix\(8\)\+D\(8,8\)'"):
        bench_for(make_task, executable, scenarios=["mix(1*D(8,8),1*prefix(8)+D(8,8))"]).look()


def test_its_temporary_files_are_in_the_levels_folder(make_task: Any, tmp_path: Path) -> None:
    before = 'mkdir "$AIPERF_DATASET_MMAP_BASE_PATH/aiperf_mmap_1"'
    executable = FakeAiperf(tmp_path / "fake").write({4: RECORDED[4].read_text()}, before=before)
    in_loop(measured(bench_for(make_task, executable, rate=[4]), request_in(tmp_path / "trial")))
    assert (tmp_path / "trial" / "aiperf" / "0" / "aiperf_mmap_1").is_dir()


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no aiperf: install it, or name it in AUTOTUNE_NB_AIPERF")
def test_the_real_aiperf_measures_the_known_engine(make_task: Any, tmp_path: Path, small_model: Path) -> None:
    with KnownEngine() as engine:
        benchmark = bench_for(make_task, str(PROGRAM), rate=[4], arrival="constant", seconds_per_level=10)
        request = request_in(tmp_path / "trial", url=engine.url, tokenizer=str(small_model.parent / "tokenizer"))
        (one,) = in_loop(measured(benchmark, request))
    assert one.num_failed_requests == 0
    assert one.figures["requests_per_s"] == pytest.approx(4, rel=0.15)
    assert one.figures["output_tokens_mean"] == 16
    assert one.figures["e2e_latency_min_s"] >= 0.195
