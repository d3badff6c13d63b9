"""The warm-up requests before the first level, and servers that do not complete them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.bench.probe import completes, probe, require_answer
from autotune_nb.errors import Failure, FailureKind, MeasurementError
from autotune_nb.task.workload import Workload
from autotune_nb.trial.measurement import Level
from tests.known_engine import KnownEngine
from tests.stubs import HANGS_S, StubEngine, in_loop, until_async

WORKLOAD = Workload(scenarios=["D(16,8)"], warmup_requests=2)


def probed(tmp_path: Path, *words: str, timeout_s: float = HANGS_S, workload: Workload = WORKLOAD) -> None:
    """Probe a stub server; ``words`` select its behaviour."""
    stub = StubEngine(tmp_path / "stub")

    async def scenario() -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        process = await asyncio.create_subprocess_exec(*stub.argv(port, *words))
        try:

            def up() -> bool:
                with socket.socket() as asking:
                    return asking.connect_ex(("127.0.0.1", port)) == 0

            await until_async(up)
            await probe(f"http://127.0.0.1:{port}", "stub", workload, timeout_s=timeout_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    in_loop(scenario())


def failure_of(tmp_path: Path, *words: str, **options: Any) -> Failure:
    with pytest.raises(MeasurementError) as caught:
        probed(tmp_path, *words, **options)
    assert caught.value.failure.phase == "probe"
    return caught.value.failure


def test_a_server_that_completes_is_fine(tmp_path: Path) -> None:
    probed(tmp_path)


def test_the_workload_sets_the_number_of_completions(tmp_path: Path) -> None:
    probed(tmp_path, "dies-after:2")
    assert (
        failure_of(tmp_path, "dies-after:2", workload=WORKLOAD.model_copy(update={"warmup_requests": 3})).kind
        is FailureKind.CRASH
    )


def test_status_500_is_reported_with_its_body(tmp_path: Path) -> None:
    failure = failure_of(tmp_path, "probe-500")
    assert failure.kind is FailureKind.MEASUREMENT
    assert "answered 500: the engine is overwhelmed" in failure.message


def test_a_page_of_html_is_not_a_completion(tmp_path: Path) -> None:
    failure = failure_of(tmp_path, "probe-html")
    assert failure.kind is FailureKind.MEASUREMENT
    assert "is not a completion: '<html>welcome to nginx" in failure.message
    assert "OpenAI" in failure.hint


def test_a_hang_ends_at_its_deadline(tmp_path: Path) -> None:
    failure = failure_of(tmp_path, "probe-hang", timeout_s=0.4)
    assert failure.kind is FailureKind.TIMEOUT
    assert "within 0.4 s" in failure.message
    assert "deadlines.probe_s" in failure.hint


def test_a_broken_connection_is_a_crash(tmp_path: Path) -> None:
    failure = failure_of(tmp_path, "probe-broken")
    assert failure.kind is FailureKind.CRASH
    assert "closed the connection" in failure.message


def test_a_closed_port_is_a_crash() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(MeasurementError) as caught:
            in_loop(probe(url, "m", WORKLOAD, timeout_s=5))
    assert caught.value.failure.kind is FailureKind.CRASH


def test_a_task_that_generates_no_text_is_not_probed() -> None:
    workload = Workload(task="text-to-embeddings", scenarios=["E(64)"])
    in_loop(probe("http://127.0.0.1:9", "m", workload, timeout_s=1))


def test_completions_are_repeated_while_the_model_loads() -> None:
    notices: list[str] = []

    async def scenario() -> None:
        ready_by = asyncio.get_running_loop().time() + 30
        await probe(engine.url, "m", WORKLOAD, timeout_s=5, ready_by=ready_by, notify=notices.append)

    with KnownEngine(loading_s=0.3) as engine:
        in_loop(scenario())
    (notice,) = notices
    assert "503" in notice
    assert "Loading model" in notice
    # The repeated one, and the second of the workload.
    assert [body["messages"][0]["content"][:2] for body in engine.bodies][-2:] == ["0:", "1:"]


def test_a_model_that_does_not_load_in_time_is_a_timeout() -> None:
    with KnownEngine(loading_s=600) as engine, pytest.raises(MeasurementError) as caught:
        in_loop(probe(engine.url, "m", WORKLOAD, timeout_s=5))
    assert caught.value.failure.kind is FailureKind.TIMEOUT
    assert "Loading model" in caught.value.failure.message
    assert "deadlines.ready_s" in caught.value.failure.hint


def test_a_server_that_opens_its_port_late_is_waited_for() -> None:
    async def scenario() -> None:
        ready_by = asyncio.get_running_loop().time() + 30
        opened = asyncio.Event()

        def refused(text: str) -> None:
            assert "refused the connection" in text
            opened.set()

        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            engine.port = found.getsockname()[1]
        probing = asyncio.ensure_future(
            probe(engine.url, "m", WORKLOAD, timeout_s=5, ready_by=ready_by, notify=refused)
        )
        await opened.wait()
        runner = await engine.start()
        await probing
        await runner.cleanup()

    engine = KnownEngine()
    in_loop(scenario())
    assert len(engine.bodies) == WORKLOAD.warmup_requests


def test_whether_a_server_completes_one_token(tmp_path: Path) -> None:
    with KnownEngine() as engine:
        assert in_loop(completes(engine.url, "m"))
        assert engine.bodies[0]["max_tokens"] == 1
    assert not in_loop(completes(engine.url, "m"))


def test_ignore_eos_is_sent_unless_the_server_refuses_it() -> None:
    with KnownEngine() as engine:
        assert in_loop(probe(engine.url, "m", WORKLOAD, timeout_s=5)) is True
    assert [body["ignore_eos"] for body in engine.bodies] == [True, True]
    with KnownEngine(refused="ignore_eos") as strict:
        assert in_loop(probe(strict.url, "m", WORKLOAD, timeout_s=5)) is False
    # It is tried once, and the other requests warm the engine up without it.
    assert ["ignore_eos" in body for body in strict.bodies] == [True, False, False]


def test_another_refusal_is_reported_as_it_is() -> None:
    with (
        KnownEngine(refused="temperature") as engine,
        pytest.raises(MeasurementError, match=r"answered 400.*temperature"),
    ):
        in_loop(probe(engine.url, "m", WORKLOAD, timeout_s=5))


def answer_of(engine: KnownEngine, timeout_s: float = 5.0) -> None:
    with engine:
        in_loop(require_answer(engine.url, "m", Level("D(16,8)", 2), timeout_s=timeout_s))


def test_an_engine_that_answers_after_a_level_is_fine_even_if_it_wants_another_request() -> None:
    answer_of(KnownEngine())
    answer_of(KnownEngine(refused="max_tokens"))


def test_an_engine_that_hangs_after_a_level_has_died_whatever_its_health_page_says() -> None:
    with pytest.raises(MeasurementError) as caught:
        answer_of(KnownEngine(stops_after=0), timeout_s=0.3)
    failure = caught.value.failure
    assert (failure.kind, failure.phase) == (FailureKind.CRASH, "benchmark")
    assert failure.message.startswith(
        "the engine was asked for one token after D(16,8) at concurrency 2, and generated"
    )
    assert "within 0.3 s" in failure.message
