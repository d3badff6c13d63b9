"""Fixtures: the stub engine, and the stand-in for the client."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.container.fake_client import FakeClient


@pytest.fixture
def client(tmp_path: Path) -> FakeClient:
    return FakeClient(tmp_path / "client")
