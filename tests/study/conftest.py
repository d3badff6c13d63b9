"""Studies are of a command's flags here: no engine's own rules take part."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def task_data() -> dict[str, Any]:
    return {
        "name": "test",
        "model": "m",
        "engine": {"kind": "command", "command": "server {port}"},
        "parameters": {"threads": [1, 2], "batch_size": {"type": "int", "low": 32, "high": 512, "log": True}},
        "workload": {"scenarios": ["D(16,8)"], "concurrency": [1, 2], "seconds_per_level": 2, "requests_per_level": 4},
        "objective": "maximize output_tokens_per_s",
    }
