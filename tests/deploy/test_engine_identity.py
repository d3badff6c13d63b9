"""What a local engine is: the version that its server reports, the packages of its Python, the files of its model."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from autotune_nb.deploy._engine_identity import engine_packages, model_identity, served_version
from autotune_nb.task.task import Task
from tests.known_engine import KnownEngine
from tests.stubs import deploy_request, deployer_for, in_loop


@pytest.mark.parametrize(("engine", "parameter"), [("vllm", "max_num_seqs"), ("sglang", "max_running_requests")])
def test_the_version_is_asked_of_the_healthy_server_not_of_the_program(
    make_task: Any, tmp_path: Path, engine: str, parameter: str
) -> None:
    # A program that fails with --version; it ignores the engine's flags but the port.
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport sys\nassert '--version' not in sys.argv\n" + _SERVE)
    program.chmod(0o755)
    task = make_task(
        model="org/model", engine={"kind": engine, "executable": str(program)}, parameters={parameter: [8, 16]}
    )
    deployer = deployer_for(task, tmp_path)

    async def scenario() -> tuple[Any, Any]:
        await deployer.prepare()
        before = await deployer.fingerprint()
        async with deployer.deploy(deploy_request(tmp_path / "trial", params={parameter: 8})) as deployment:
            return before, deployment.endpoint.fingerprint

    before, after = in_loop(scenario())
    assert before["engine_version"] is None
    assert after["engine_version"] == "1.2.3"


def test_a_model_that_is_replaced_during_the_run_is_in_the_fingerprint_of_later_trials(
    task_data: dict[str, Any], tmp_path: Path
) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"one")
    command = [sys.executable, "-m", "tests.known_engine", "--port", "{port}"]
    engine = {"kind": "command", "command": command, "env": {"PYTHONPATH": str(Path(__file__).parents[2])}}
    task = Task.parse({**task_data, "model": {"id_or_path": str(model), "tokenizer": "t"}, "engine": engine})
    deployer = deployer_for(task, tmp_path)

    async def scenario() -> tuple[Any, Any, Any]:
        await deployer.prepare()
        of_run = await deployer.fingerprint()
        async with deployer.deploy(deploy_request(tmp_path / "first")) as first:
            model.write_bytes(b"two")
        async with deployer.deploy(deploy_request(tmp_path / "second")) as second:
            return of_run["model"], first.endpoint.fingerprint, second.endpoint.fingerprint

    of_run, first, second = in_loop(scenario())
    assert first == {}
    assert second["model"]["sha256"] != of_run["sha256"]


_SERVE = f"""
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.known_engine import main
sys.argv = ["known", "--port", sys.argv[sys.argv.index("--port") + 1]]
main()
"""


def test_the_first_path_that_reports_a_version_counts() -> None:
    with KnownEngine(version="0.5.9") as engine:
        paths = ("/none", "/health", "/v1/models", "/version")
        assert in_loop(served_version(engine.url, paths, {})) == "0.5.9"
        assert in_loop(served_version(engine.url, ("/none", "/health"), {})) is None
        url = engine.url
    assert in_loop(served_version(url, ("/version",), {})) is None


@pytest.mark.parametrize("text", ["<html>", "[]", '{"version": 5}', '{"version": ""}', "[" * 5000, "null"])
def test_an_answer_that_is_no_version_is_none(text: str) -> None:
    async def scenario() -> str | None:
        app = web.Application()

        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=text)

        app.router.add_get("/version", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return await served_version(f"http://127.0.0.1:{runner.addresses[0][1]}", ("/version",), {})
        finally:
            await runner.cleanup()

    assert in_loop(scenario()) is None


def test_packages_are_those_of_the_engines_python(tmp_path: Path) -> None:
    script = tmp_path / "serve"
    script.write_text(f"#!{sys.executable}\n")
    script.chmod(0o755)
    own = in_loop(engine_packages([sys.executable, "-m", "engine"]))
    assert "transformers" in own
    assert in_loop(engine_packages([str(script)])) == own
    other = tmp_path / "python3"
    other.write_text('#!/bin/sh\necho \'{"vllm": "0.32.0"}\'\n')
    other.chmod(0o755)
    assert in_loop(engine_packages([str(other), "-m", "vllm"])) == {"vllm": "0.32.0"}
    other.write_text("#!/bin/sh\necho no packages; exit 1\n")
    assert in_loop(engine_packages([str(other)])) == {}
    assert in_loop(engine_packages([shutil.which("sh") or "sh"])) == {}
    assert in_loop(engine_packages(["no-such-program"])) == {}


def test_a_folder_that_cannot_be_read_is_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert model_identity(str(tmp_path)) == {"id_or_path": str(tmp_path)}


def test_a_model_folder_is_its_files_not_its_path(tmp_path: Path) -> None:
    first = tmp_path / "a" / "model"
    first.mkdir(parents=True)
    (first / "config.json").write_text(json.dumps({"hidden_size": 8}))
    (first / "model.safetensors").write_bytes(b"w" * 100)
    found = model_identity(str(first))
    assert (found["name"], found["files"], found["bytes"]) == ("model", 2, 118)
    copy = shutil.copytree(first, tmp_path / "b" / "model")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "lock").write_text("")
    assert model_identity(str(copy)) == found
    (copy / "config.json").write_text(json.dumps({"hidden_size": 9}))
    assert model_identity(str(copy))["sha256"] != found["sha256"]
    (first / "model-2.safetensors").write_bytes(b"")
    assert model_identity(str(first))["sha256"] != found["sha256"]
    assert model_identity("org/name") == {"id_or_path": "org/name"}
