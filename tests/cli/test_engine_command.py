"""The engine command, and tasks that are then checked against what the installed engine answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from autotune_nb.cli.main import cli
from autotune_nb.engines.given_flags import flag_notes
from autotune_nb.engines.registry import engine_for, engine_problems
from autotune_nb.errors import TaskError
from autotune_nb.task.task import Task


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["engine", *arguments])


def test_tasks_are_checked_against_the_flags_that_the_installed_engine_printed(make_task: Callable[..., Task]) -> None:
    task = make_task(parameters={"threadz": [1, 2]}, engine={"kind": "llama_cpp", "args": {"made_up": 1}})
    assert engine_problems(task) == []
    assert any("autotune-nb engine llama_cpp" in note for note in flag_notes(task, engine_for(task)))

    printed = call("llama_cpp", "--json")
    assert printed.exit_code == 0, printed.output
    schema: dict[str, Any] = json.loads(printed.stdout)
    assert (schema["engine"], schema["lacks"]) == ("llama_cpp", [])
    assert {"--threads", "-t"} <= {spelling for flag in schema["flags"] for spelling in flag["spellings"]}
    text = call("llama_cpp")
    assert "--flash-attn, -fa  on|off|auto" in text.stdout
    assert "kept in" in text.stderr

    problems = [str(problem) for problem in engine_problems(task)]
    assert "no flag --threadz; did you mean 'threads'?" in problems[0]
    assert "no flag --made-up" in problems[1] and "use engine.raw_args" in problems[1]
    with pytest.raises(TaskError, match=r"parameters\.threadz"):
        engine_for(task)
    # Elsewhere another version may be installed.
    cluster = make_task(parameters={"threadz": [1, 2]}, deploy={"kind": "ome", "namespace": "x", "runtime": "r"})
    assert engine_problems(cluster) == []


def test_what_cannot_be_asked_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    absent = call("vllm", "--executable", "/opt/absent/vllm serve")
    assert absent.exit_code == 2 and "'/opt/absent/vllm' does not exist" in absent.stderr
    both = call("vllm", "--executable", "vllm", "--image", "vllm/vllm-openai")
    assert both.exit_code == 2 and "not both" in both.stderr
    monkeypatch.setenv("PATH", str(tmp_path))
    client = call("vllm", "--image", "vllm/vllm-openai")
    assert client.exit_code == 2 and "docker, podman, nerdctl" in client.stderr
