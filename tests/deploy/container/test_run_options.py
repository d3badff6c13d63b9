"""The command line of ``run``, and the same configuration as a file for ``docker compose``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune_nb.deploy.container._run_options import Program, RunOptions, model_paths
from autotune_nb.deploy.container.compose import compose_file
from autotune_nb.engines.registry import engine_for
from autotune_nb.task.task import Task

MODEL = "/models/llama"


@pytest.fixture
def task_with(make_task: Any) -> Any:
    def make(engine: Any = "vllm", **deploy: Any) -> Task:
        found: Task = make_task(
            engine=engine,
            model={"id_or_path": MODEL, "tokenizer": "org/tokenizer"},
            parameters={"max_num_seqs": [8, 16]} if engine == "vllm" else {"x": [1, 2]},
            deploy={"kind": "container", "image": "img:1", **deploy},
        )
        return found

    return make


@pytest.mark.parametrize(
    ("engine", "entrypoint", "program", "in_image"),
    [
        # The image starts the engine itself.
        ("vllm", ["vllm", "serve"], ["vllm", "serve"], ["img:1", "--port"]),
        ("llama_cpp", ["/app/llama-server"], ["/app/llama-server"], ["img:1", "--port"]),
        ("vllm", ["python3", "-m", "vllm.entrypoints.openai.api_server"], None, ["img:1", "--port"]),
        # Its entrypoint runs what follows.
        ("sglang", ["/opt/nvidia/nvidia_entrypoint.sh"], None, ["img:1", "python3", "-m", "sglang.launch_server"]),
        ("vllm", ["tini", "--"], None, ["img:1", "vllm", "serve", "--port"]),
        ("vllm", [], None, ["img:1", "vllm", "serve", "--port"]),
        # Not known, since the image is on another machine.
        ("vllm", None, None, ["img:1", "--port"]),
        ("sglang", None, None, ["img:1", "python3", "-m", "sglang.launch_server"]),
        # The task names the program.
        (
            {"kind": "vllm", "executable": "/opt/bin/vllm serve"},
            ["vllm", "serve"],
            None,
            ["--entrypoint", "/opt/bin/vllm", "img:1", "serve", "--port"],
        ),
    ],
)
def test_the_engine_is_started_by_the_images_entrypoint_or_by_its_usual_program(
    make_task: Any, engine: Any, entrypoint: list[str] | None, program: list[str] | None, in_image: list[str]
) -> None:
    parameters = {"threads": [1, 2]} if engine == "llama_cpp" else {"stream_interval": [1, 2]}
    task = make_task(
        engine=engine,
        model={"id_or_path": MODEL, "tokenizer": "org/tokenizer"},
        parameters=parameters,
        deploy={"kind": "container", "image": "img:1"},
    )
    found = Program.of(task, engine_for(task), entrypoint)
    if program is not None:
        assert list(found.words) == program
    assert found.in_image("img:1", [*found.words, "--port", "1"])[: len(in_image)] == in_image


def test_a_port_is_published_unless_the_network_is_this_machines(task_with: Any) -> None:
    options = RunOptions(task_with(), "docker", MODEL, 8000)
    assert options.words(shown=True) == ["--publish", "127.0.0.1:8000:8000"]
    options = RunOptions(task_with(network="host"), "docker", MODEL, 8000)
    assert options.words(shown=True) == ["--network", "host"]
    options = RunOptions(task_with(host="::1", network="backend"), "docker", MODEL, 8000)
    assert options.words(shown=True) == ["--network", "backend", "--publish", "[::1]:8000:8000"]


def test_a_model_is_mounted_with_what_its_links_lead_to(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "0a1b").write_text("weights")
    (snapshot / "model.safetensors").symlink_to("../../blobs/0a1b")
    (snapshot / "config.json").write_text("{}")
    assert model_paths(str(snapshot)) == [str(snapshot), str(blobs)]
    gguf = tmp_path / "model.gguf"
    gguf.write_text("weights")
    assert model_paths(str(gguf)) == [str(gguf)]
    part = tmp_path / "model-00001-of-00002.gguf"
    part.write_text("weights")
    assert model_paths(str(part)) == [str(tmp_path)]
    # A hub name, and a path in the image.
    assert model_paths("org/model") == model_paths("/no/such/model") == []


def test_a_hub_name_is_downloaded_once_to_this_machines_cache(task_with: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", "/cache/hf")
    options = RunOptions(task_with(), "docker", "org/model", 8000)
    assert options.volumes == ["/cache/hf:/cache/hf"]
    assert options.environment == {"HF_HOME": "/cache/hf"}
    # A volume of the task at the same place wins.
    own = RunOptions(task_with(volumes=["hub:/cache/hf"]), "docker", "org/model", 8000)
    assert own.volumes == ["hub:/cache/hf"]


def test_a_choice_among_this_machines_gpus_is_not_passed_on(task_with: Any) -> None:
    engine = {"kind": "command", "command": "serve {port}", "env": {"CUDA_VISIBLE_DEVICES": "2,3", "MODE": "1"}}
    task = task_with(engine, gpus=2)
    assert RunOptions(task, "docker", MODEL, 8000, ["2", "3"]).environment == {"MODE": "1"}


def test_a_compose_file_has_what_the_command_line_has(task_with: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = {"kind": "command", "command": "serve {model} {port}", "env": {"KEY": "${KEY}", "PRICE": "5$"}}
    task = task_with(
        engine,
        volumes=["kernels:/var/cache/engine", "/data:/data:ro"],
        shm_size="8g",
        user="1000",
        network="backend",
        run_args=["--ulimit", "memlock=-1"],
    )
    options = RunOptions(task, "docker", MODEL, 8000, ["0", "1"])
    text = compose_file(task, options, ["--entrypoint", "sh", "img:1", "-c", "exec serve $KEY"])
    whole = yaml.safe_load(text)
    service = whole["services"]["test"]
    assert service == {
        "image": "img:1",
        "entrypoint": ["sh"],
        # compose would fill in $KEY itself.
        "command": ["-c", "exec serve $$KEY"],
        "environment": ["KEY", "PRICE=5$$"],
        "volumes": ["kernels:/var/cache/engine", "/data:/data:ro"],
        "ports": ["127.0.0.1:8000:8000"],
        "networks": ["backend"],
        "shm_size": "8g",
        "user": "1000",
        "deploy": {
            "resources": {
                "reservations": {"devices": [{"driver": "nvidia", "device_ids": ["0", "1"], "capabilities": ["gpu"]}]}
            }
        },
    }
    assert whole["networks"] == {"backend": {"external": True}}
    assert whole["volumes"] == {"kernels": {}}
    assert "--ulimit memlock=-1" in text.splitlines()[1]
