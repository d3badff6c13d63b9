"""Fixtures: the stub engine, and the stand-in for the client."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.container.fake_client import FakeClient
from tests.stubs import StubEngine


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[StubEngine]:
    engine = StubEngine(tmp_path / "stub")
    yield engine
    left = engine.alive
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "the test left engines behind"


@pytest.fixture
def client(tmp_path: Path) -> FakeClient:
    return FakeClient(tmp_path / "client")
