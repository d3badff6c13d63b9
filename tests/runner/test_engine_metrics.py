"""An engine's own metrics beside its levels: summaries, the file of samples, and pages that cannot be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from autotune_nb.runner.engine_metrics import FILE_NAME, LIVE_FILE_NAME, EngineMetrics, Sample, summary
from autotune_nb.trial.condition_names import CONDITIONS
from autotune_nb.trial.measurement import Level, Measurement
from tests.engines.test_metrics import page
from tests.runs import ran
from tests.stubs import World, in_loop, open_study

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LEVEL = Level("D(16,8)", 2)


def recorded(
    handler: Handler, folder: Path, *, samples: int = 3, headers: dict[str, str] | None = None
) -> tuple[dict[str, float], list[str]]:
    """Return the summary of one level in which ``handler`` was asked so often, and what was reported."""
    problems: list[str] = []

    async def scenario() -> dict[str, float]:
        asked = 0

        async def count(request: web.Request) -> web.StreamResponse:
            nonlocal asked
            asked += 1
            return await handler(request)

        app = web.Application()
        app.router.add_get("/metrics", count)
        server = web.AppRunner(app, shutdown_timeout=0.1)
        await server.setup()
        await web.TCPSite(server, "127.0.0.1", 0).start()
        try:
            url = f"http://127.0.0.1:{server.addresses[0][1]}"
            metrics = EngineMetrics(url, headers or {}, folder, problems.append)
            async with metrics.recording():
                while asked < samples and metrics._wanted:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                return await metrics.take(LEVEL)
        finally:
            await server.cleanup()

    return in_loop(scenario()), problems


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune_nb.runner.engine_metrics._EVERY_S", 0.01)


def test_the_samples_of_the_level_that_runs_can_be_read_until_it_ends(tmp_path: Path) -> None:
    live = tmp_path / LIVE_FILE_NAME
    seen: list[int] = []

    async def metrics(_request: web.Request) -> web.Response:
        seen.append(len(live.read_text().splitlines()) if live.exists() else 0)
        return web.Response(text=page("vllm"))

    recorded(metrics, tmp_path, samples=5)
    assert seen[:4] == [0, 1, 2, 3]
    assert not live.exists()


def test_a_level_has_the_summary_of_its_samples_and_their_file(tmp_path: Path) -> None:
    running = iter((0, 2, 4))

    async def handler(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer key"
        return web.Response(text=page("vllm").replace(" 32.0", f" {next(running, 4)}").replace(" 30.0", " 0"))

    found, problems = recorded(handler, tmp_path, headers={"Authorization": "Bearer key"})
    assert problems == []
    assert found["running_requests_max"] == 4
    assert 2 < found["running_requests_mean"] < 4
    assert found["kv_cache_usage_max"] == 0.97
    assert found["preemptions"] == 0
    assert set(found) <= set(CONDITIONS)
    rows = [json.loads(line) for line in (tmp_path / FILE_NAME).read_text().splitlines()]
    assert [row["running_requests"] for row in rows][:3] == [0, 2, 4]
    assert {row["level"] for row in rows} == {str(LEVEL)}
    assert rows == sorted(rows, key=lambda row: row["time"])


async def _missing(_request: web.Request) -> web.Response:
    raise web.HTTPNotFound


async def _locked(_request: web.Request) -> web.Response:
    raise web.HTTPUnauthorized


async def _huge(_request: web.Request) -> web.Response:
    return web.Response(text=page("vllm") * 10)


async def _slow(_request: web.Request) -> web.Response:
    await asyncio.sleep(3600)
    raise AssertionError


async def _html(_request: web.Request) -> web.Response:
    return web.Response(text="<!DOCTYPE html><title>welcome</title>")


async def _malformed(_request: web.Request) -> web.Response:
    return web.Response(text="vllm:num_requests_running many\n")


async def _elsewhere(_request: web.Request) -> web.Response:
    raise web.HTTPFound("http://127.0.0.1:1/")


async def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (_missing, "/metrics returned HTTP 404: the engine has none, or they are off (llama.cpp has --metrics, "),
        (_locked, "/metrics returned HTTP 401: it needs a key; set benchmark.api_key"),
        (_huge, "/metrics returned more than 0.01 MB"),
        (_slow, "/metrics took longer than 0.05 s"),
        (_html, "/metrics returned no metrics of vLLM, SGLang or llama.cpp; it begins with '<!DOCTYPE html><title>"),
        (_malformed, "/metrics returned malformed metrics: "),
        (_elsewhere, "/metrics returned HTTP 302"),
        (_cut, "/metrics could not be read: ServerDisconnectedError"),
    ],
)
def test_a_page_that_cannot_be_read_is_reported_once_and_not_asked_for_long(
    handler: Handler, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.runner.engine_metrics._WITHIN_S", 0.05 if handler is _slow else 20)
    monkeypatch.setattr("autotune_nb.runner.engine_metrics._MOST_BYTES", 10_000)
    asked = 0

    async def count(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return await handler(request)

    found, problems = recorded(count, tmp_path, samples=30)
    assert found == {}
    assert len(problems) == 1
    assert problems[0].startswith(problem)
    # The client repeats a request whose connection was closed.
    assert asked == (6 if handler is _cut else 3)
    assert not (tmp_path / FILE_NAME).exists()


def test_a_gap_in_the_samples_is_no_problem(tmp_path: Path) -> None:
    answers = iter((_html, _missing, _missing, _missing, _missing, _missing))

    async def handler(request: web.Request) -> web.Response:
        answer = next(answers, None)
        if answer is _html or answer is None:
            return web.Response(text=page("llama_cpp"))
        return await answer(request)

    found, problems = recorded(handler, tmp_path, samples=8)
    assert problems == []
    assert found["running_requests_max"] == 0


def sample(**figures: float) -> Sample:
    return Sample(0.0, figures)


def test_counts_are_those_since_the_last_sample_before_the_level() -> None:
    before = sample(preemptions=40, output_tokens=100, cached_tokens=10, sought_tokens=100)
    found = summary([sample(preemptions=45, output_tokens=900, cached_tokens=60, sought_tokens=300)], before)
    assert found == {"preemptions": 5, "engine_output_tokens": 800, "prefix_cache_hit_rate": 0.25}
    # The page has the count from its first event on.
    assert summary([sample(preemptions=2)], sample(output_tokens=1)) == {"preemptions": 2}


def test_a_hit_rate_is_that_of_cached_and_computed_tokens_where_the_engine_counts_both() -> None:
    found = summary([sample(cached_tokens=30, computed_tokens=90)], sample(cached_tokens=0, computed_tokens=0))
    assert found == {"prefix_cache_hit_rate": 0.25}
    assert summary([sample(cached_tokens=0, computed_tokens=0)], sample()) == {}


def test_an_engine_that_was_restarted_has_no_counts_of_that_level() -> None:
    assert summary([sample(preemptions=1, output_tokens=10)], sample(preemptions=7, output_tokens=900)) == {}


def test_speculative_acceptance_is_counted_or_else_what_the_engine_computes() -> None:
    assert summary([sample(accepted_tokens=30, drafted_tokens=40)], sample()) == {"speculative_acceptance": 0.75}
    assert summary([sample(accepted_tokens=0, drafted_tokens=0)], sample()) == {}
    assert summary([sample(speculative_acceptance=0.5), sample(speculative_acceptance=0.6)], None) == {
        "speculative_acceptance": 0.55
    }


def test_the_time_before_the_first_request_does_not_count() -> None:
    idle, busy = sample(running_requests=0, kv_cache_usage=0), sample(running_requests=4, kv_cache_usage=0.5)
    found = summary([idle, idle, busy], None)
    assert (found["running_requests_mean"], found["kv_cache_usage_mean"]) == (4, 0.5)
    assert summary([], idle) == {}


def test_the_time_between_two_requests_counts() -> None:
    idle, busy = sample(running_requests=0, output_tokens=8), sample(running_requests=2, output_tokens=0)
    assert summary([idle, busy, idle], None)["running_requests_mean"] == 1
    # Requests shorter than the time between two samples.
    assert summary([sample(running_requests=0, output_tokens=9)], idle)["running_requests_mean"] == 0


def test_a_study_has_the_metrics_of_each_level_or_why_they_were_not_read(world: World) -> None:
    task = world.task("metrics", trials=1)
    (trial,) = ran(world, task).trials
    assert [one.conditions["running_requests_max"] for one in trial.measurements] == [2, 2]
    assert "engine_metrics" not in trial.fingerprint
    assert [Measurement.from_dict(one.to_dict()) for one in trial.measurements] == list(trial.measurements)
    (file,) = world.folder.glob(f"artifacts/trial-0000/{FILE_NAME}")
    assert str(trial.measurements[1].level) in file.read_text()
    assert open_study(task, world.folder).trials == (trial,)


def test_a_study_without_metrics_says_why_beside_its_environment(world: World) -> None:
    (trial,) = ran(world, world.task(trials=1)).trials
    assert trial.fingerprint["engine_metrics"].startswith("not read: /metrics returned no metrics of vLLM")


def test_levels_that_arrive_together_have_no_metrics_of_their_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.bench.genai_bench.GenaiBench.yields_at_end", True)
    (trial,) = ran(world, world.task("metrics", trials=1)).trials
    assert "delivers all levels at its end" in trial.fingerprint["engine_metrics"]
    assert not any("running_requests_max" in one.conditions for one in trial.measurements)
