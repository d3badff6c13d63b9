"""The real genai-bench against an engine of known behaviour: levels end on time, and every failed request counts."""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from autotune_nb import events
from autotune_nb.bench import GenaiBench
from autotune_nb.bench.results import failure_kind
from autotune_nb.errors import MeasurementError
from autotune_nb.runner.runner import Runner
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.score import Objective, score
from autotune_nb.trial.trial import Trial, TrialState
from tests.bench.test_genai_bench import bench_for, real_bench_installed, request_in
from tests.known_engine import KnownEngine
from tests.stubs import deployer_for, in_loop, open_study

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.serial,
    pytest.mark.xdist_group("known-engine"),
    pytest.mark.skipif(not real_bench_installed(), reason="genai-bench is not installed beside this Python"),
]

KINDS = {
    "html": "reply that is no completion",
    "json-error": "reply that is no completion",
    "done-only": "reply without a token",
    "no-token": "reply without a token",
    "bad-chunk": "reply that is no completion",
    "stream-error": "500",
    "cut": "stream cut off",
    "dropped": "stream cut off",
    "abort": "aborted by the server",
    "status": "503",
    "overclaim": "more tokens in its usage than in its text",
}


def task_of(*, concurrency: list[int], seconds: int, scenario: str = "D(16,8)", requests: int = 1000) -> Task:
    workload = {
        "scenarios": [scenario],
        "concurrency": concurrency,
        "seconds_per_level": seconds,
        "requests_per_level": requests,
        "precision": None,
    }
    task = {"name": "t", "model": "m", "engine": "vllm", "parameters": {"max_num_seqs": [1, 2]}}
    return Task.parse({**task, "objective": "maximize output_tokens_per_s", "workload": workload})


async def take(benchmark: GenaiBench, engine: KnownEngine, folder: Path, tokenizer: str) -> list[Measurement]:
    request = request_in(folder, url=engine.url, tokenizer=tokenizer)
    async with aclosing(benchmark.measure(request)) as levels:
        return [one async for one in levels]


class Taken:
    """All measurements of this module, taken with one import of genai-bench."""

    def __init__(self, folder: Path, tokenizer: str) -> None:
        self.folder = folder
        self.faulty = KnownEngine(list(KINDS), every=2)
        self.single, self.buffered = KnownEngine(["special"], every=3), KnownEngine(["burst"])
        self.fine, self.stopped = KnownEngine(slow_first=1), KnownEngine(stops_after=12)
        self.on_time, self.failed, self.one_token, self.stalled = in_loop(self._take(tokenizer), within_s=240)

    async def _take(self, tokenizer: str) -> tuple[list[Measurement], Measurement, list[Measurement], Measurement]:
        first = bench_for(task_of(concurrency=[1, 2], seconds=2))
        await first.prepare(tokenizer)
        # Ends by requests, so that every fault is served twice however slow the machine is.
        second = bench_for(task_of(concurrency=[4], seconds=60, requests=2 * 2 * len(KINDS)))
        third = bench_for(task_of(concurrency=[1, 2], seconds=1, scenario="D(16,1)"))
        # Long enough to tell a stop from the pauses of a busy machine.
        fourth = bench_for(task_of(concurrency=[4], seconds=6))
        for other in (second, third, fourth):
            other._executable, other._python, other._client = first._executable, first._python, first._client
        try:
            with self.fine as engine:
                on_time = await take(first, engine, self.folder / "on-time", tokenizer)
            with self.faulty as engine:
                (failed,) = await take(second, engine, self.folder / "failed", tokenizer)
            with self.single as engine:
                one_token = await take(third, engine, self.folder / "one-token", tokenizer)
            with self.buffered as engine:
                (self.burst,) = await take(second, engine, self.folder / "burst", tokenizer)
            with self.stopped as engine:
                (stalled,) = await take(fourth, engine, self.folder / "stalled", tokenizer)
            # Its run closes the benchmark at its end.
            self.trials = await self._cut(first, tokenizer)
        finally:
            await first.close()
        return on_time, failed, one_token, stalled

    async def _cut(self, warm: GenaiBench, tokenizer: str) -> tuple[Trial, ...]:
        """Run a study of a fast and a slow configuration."""
        data = task_of(concurrency=[1, 2], seconds=2).model_dump()
        python = [sys.executable, "-m", "tests.known_engine", "--port", "{port}"]
        task = Task.parse(
            {
                **data,
                "model": {"id_or_path": "m", "tokenizer": tokenizer},
                "engine": {"kind": "command", "command": python, "env": {"PYTHONPATH": str(Path(__file__).parents[2])}},
                "parameters": {"token_s": [0.01, 0.04]},
                "objective": {"direction": "maximize", "figure": "output_tokens_per_s", "at": 2},
                "strategy": "grid",
                "budget": {"baseline": False},
            }
        )
        benchmark = bench_for(task)
        benchmark._executable, benchmark._python, benchmark._client = warm._executable, warm._python, warm._client
        study = open_study(task, self.folder / "cut")
        deployer = deployer_for(task, self.folder / "cut", study_id=study.id)
        await Runner(study, deployer, benchmark, events.EventBus()).run()
        return study.trials

    def requests(self, name: str) -> list[list[dict[str, Any]]]:
        """The single requests of each level, in the order of their ends."""
        files = sorted((self.folder / name / "genai-bench").glob("*_time_*.json"))
        return [json.loads(file.read_text())["individual_request_metrics"] for file in files]


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Taken:
    return Taken(tmp_path_factory.mktemp("known"), str(small_model.parent / "tokenizer"))


def test_every_level_ends_on_time_and_its_last_request_is_like_the_others(taken: Taken) -> None:
    assert [one.problems for one in taken.on_time] == [(), ()]
    for one in taken.on_time:
        # A level that ends late does so by most of a second, and by more on a busy machine.
        assert one.duration_s == pytest.approx(2, abs=0.6)
    for requests in taken.requests("on-time"):
        times = [one["e2e_latency"] for one in requests if one["scored"]]
        assert times[-1] == pytest.approx(statistics.median(times), abs=0.6)


def test_the_first_requests_of_a_level_are_not_scored_but_on_record(taken: Taken) -> None:
    """An engine may need long until it has served its first requests, at this load."""
    for one, requests in zip(taken.on_time, taken.requests("on-time"), strict=True):
        first = [request for request in requests if not request["scored"]]
        assert len(first) == one.level.concurrency == one.steady["unscored_requests"]
        assert len(requests) == one.num_completed_requests == one.steady["scored_requests"] + len(first)
        assert one.figures["ttft_max_s"] < taken.fine.slow_s
        assert one.steady["steady_from_s"] == pytest.approx(max(request["ended_s"] for request in first), abs=1e-5)
    (slow,) = (request for request in taken.requests("on-time")[0] if not request["scored"])
    assert slow["ttft"] > taken.fine.slow_s


def test_the_first_replies_of_users_differ_in_length_so_that_they_do_not_stay_together(taken: Taken) -> None:
    asked = [body["max_tokens"] for body in taken.stopped.bodies]
    assert sorted(asked[:4]) == [2, 4, 6, 8]
    assert set(asked[4:]) == {8}


def test_throughput_is_what_streams_in_the_steady_state(taken: Taken) -> None:
    for one, requests in zip(taken.on_time, taken.requests("on-time"), strict=True):
        begin = one.steady["steady_from_s"]
        end = begin + one.steady["steady_s"]
        inside = sum(8 for request in requests if request["began_s"] >= begin - 0.01 and request["ended_s"] <= end)
        # Besides the requests that lie wholly inside there are parts of one at each end, for each user.
        most = inside + 2 * one.level.concurrency * 8
        assert inside / one.steady["steady_s"] <= one.figures["output_tokens_per_s"] <= most / one.steady["steady_s"]
        assert 0 < one.steady["output_tokens_per_s_error"] < one.figures["output_tokens_per_s"]
        assert 0.5 < one.steady["concurrency_mean"] / one.level.concurrency <= 1


def test_requests_that_fail_at_any_status_are_counted_by_kind(taken: Taken) -> None:
    one, given = taken.failed, Counter[str]()
    for fault, count in taken.faulty.given.items():
        given[KINDS[fault]] += count
    (requests,) = taken.requests("failed")
    counted = Counter(failure_kind(request["error_code"]) for request in requests if request["error_code"])
    assert set(counted) == set(KINDS.values())
    # Up to four requests are in flight at the end.
    assert (given - counted).total() + (counted - given).total() <= 4
    assert one.num_failed_requests == counted.total()
    assert len(taken.faulty.bodies) - 4 <= one.num_requests <= len(taken.faulty.bodies)
    assert one.problems[0].startswith(f"{one.num_failed_requests} of {one.num_requests} requests failed (")
    assert all(f"{count} x {kind}" in one.problems[0] for kind, count in counted.items())
    assert one.figures["output_tokens_min"] == 8


def test_a_slow_configuration_ends_after_the_level_that_decides(taken: Taken) -> None:
    fast, slow = taken.trials
    assert fast.state is TrialState.COMPLETE
    # Each level is a process of its own, with other prompts than the level before.
    assert [one.level.concurrency for one in fast.measurements] == [2, 1]
    assert all(one.valid for one in fast.measurements)
    assert slow.state is TrialState.CUT
    assert [one.level.concurrency for one in slow.measurements] == [2]
    assert "where trial 0 has the best" in slow.cut_reason
    assert len(list((taken.folder / "cut" / "artifacts").rglob("*_time_*.json"))) == 3


def test_responses_of_one_token_are_measured_without_a_time_between_tokens(taken: Taken) -> None:
    """Also where the token has no text, since it is a special one or part of a character."""
    assert [one.problems for one in taken.one_token] == [(), ()]
    assert taken.single.given["special"] > 1
    for one in taken.one_token:
        assert one.num_failed_requests == 0
        assert one.figures["output_tokens_mean"] == 1
        assert one.figures["ttft_mean_s"] == pytest.approx(taken.single.first_token_s, abs=0.6)
        assert one.figures["output_tokens_per_s"] == pytest.approx(one.figures["requests_per_s"])
        assert not {name for name in one.figures if name.startswith(("tpot", "request_output"))}


def test_streams_that_come_all_at_once_have_no_time_between_tokens(taken: Taken) -> None:
    one = taken.burst
    assert one.problems == ()
    assert one.figures["output_tokens_mean"] == 8
    assert one.figures["ttft_mean_s"] == pytest.approx(one.figures["e2e_latency_mean_s"], abs=0.05)
    assert one.figures["output_tokens_per_s"] == pytest.approx(8 * one.figures["requests_per_s"], rel=0.1)
    assert not {name for name in one.figures if name.startswith(("tpot", "request_output"))}
    with pytest.raises(MeasurementError, match=r"came all at once.*neither buffer nor compress"):
        score([one], Objective("tpot_mean_s", "minimize"))


def test_no_request_accepts_a_compressed_stream(taken: Taken) -> None:
    assert set(taken.fine.encodings) == {"identity"}


def test_every_request_asks_the_server_to_ignore_the_end_of_the_text(taken: Taken) -> None:
    assert {body["ignore_eos"] for body in taken.fine.bodies} == {True}


def test_an_engine_that_stops_answering_makes_the_level_invalid(taken: Taken) -> None:
    one = taken.stalled
    # Its health page still responds, and the requests that it answered were fast.
    assert one.num_completed_requests == 12
    assert one.num_failed_requests == 4
    assert "4 requests received nothing for most of the level (6" in one.problems[-1]
    assert "the engine stopped answering" in one.problems[-1]
