"""The stub engine of deployers on this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stubs import StubEngine


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[StubEngine]:
    engine = StubEngine(tmp_path / "stub")
    yield engine
    left = engine.alive
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "the test left engines behind"
