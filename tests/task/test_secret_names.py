"""What a task refers to has to be where it runs: a variable here, a Secret in a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import SetupError
from autotune_nb.task.secret_names import referred
from autotune_nb.task.task import Task

OME: dict[str, Any] = {"deploy": {"kind": "ome", "namespace": "x", "runtime": "y"}, "model": "m"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"engine": {"kind": "vllm", "env": {"HF_TOKEN": "${HOME}"}}}, "would be written into the InferenceService"),
        ({"engine": {"kind": "vllm", "args": {"api_key": "${HOME}"}}}, r"takes \$\{NAME\} of a NAME in engine.env"),
        ({"benchmark": {"api_key": "${HOME}"}, "engine": "vllm"}, "only the executor direct sends a key"),
    ],
)
def test_in_a_cluster_no_value_is_written_into_an_object(task_data: dict[str, Any], changes: Any, told: str) -> None:
    task = Task.parse({**task_data, **OME, "parameters": {"max_num_seqs": [8]}, **changes})
    with pytest.raises(SetupError, match=told):
        referred(task)


def test_in_a_cluster_the_pod_takes_it_from_the_secret(task_data: dict[str, Any]) -> None:
    from autotune_nb.runner.assembly import deployer_for

    env = {"KEY": "secret://tune-keys/engine", "MODE": "fast"}
    engine = {"kind": "vllm", "env": env, "args": {"api_key": "${KEY}"}}
    task = Task.parse({**task_data, **OME, "parameters": {"max_num_seqs": [8]}, "engine": engine})
    assert referred(task) == []
    text = deployer_for(task, engine_for(task), study_label="", folder=Path()).manifest({"max_num_seqs": 8})
    runner = yaml.safe_load(str(text))["spec"]["engine"]["runner"]
    assert runner["env"] == [
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "tune-keys", "key": "engine"}}},
        {"name": "MODE", "value": "fast"},
    ]
    assert "$(KEY)" in runner["args"]
    command = deployer_for(task, engine_for(task), study_label="", folder=Path()).command({"max_num_seqs": 8})
    assert command[:3] == ["env", "KEY=${KEY}", "MODE=fast"]
