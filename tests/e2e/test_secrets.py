"""The real engine behind a key, under the real genai-bench: the key is used, and found nowhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import CLI
from tests.stubs import text_below

pytestmark = pytest.mark.e2e
KEY = "canary-3b1f" + "-90d7ac"


def test_a_key_by_its_name_reaches_engine_and_benchmark_and_no_file(
    environment: dict[str, str], real_task: Callable[..., Path], tmp_path: Path
) -> None:
    engine = {"kind": "llama_cpp", "args": {"ctx_size": 2048, "api_key": "${ENGINE_KEY}"}}
    workload: dict[str, Any] = {"scenarios": ["D(16,8)"], "seconds_per_level": 90, "requests_per_level": 4}
    task = real_task(
        engine=engine,
        workload=workload,
        benchmark={"api_key": "${ENGINE_KEY}"},
        budget={"trials": 1, "baseline": False},
    )
    study = tmp_path / "study"
    argv = [*CLI, "run", task, "--study", study, "--json"]
    unset = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
    assert unset.returncode == 2
    assert "engine.args.api_key: the environment variable ENGINE_KEY is not set" in unset.stderr
    assert not study.exists()
    env = {**environment, "ENGINE_KEY": KEY, "MODEL_API_KEY": f"other-{KEY}"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    (trial,) = json.loads(done.stdout.splitlines()[-1])["trials"]
    # Requests without it are refused, and a refused request fails the trial.
    assert trial["measurements"][0]["num_failed_requests"] == 0
    assert '--api-key "${ENGINE_KEY}"' in trial["command"]
    assert KEY not in done.stdout + done.stderr
    assert [file for file, content in text_below(study).items() if KEY.encode() in content] == []
