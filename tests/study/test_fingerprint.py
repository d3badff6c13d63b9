"""What a figure was measured on."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from autotune_nb.study import machine_fingerprint


def test_it_names_the_machine_and_the_packages_and_is_json() -> None:
    fingerprint = machine_fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    assert fingerprint["host"]
    assert fingerprint["cpu"]
    assert fingerprint["cpu_count"] >= 1
    assert fingerprint["memory_bytes"] > 2**20
    assert fingerprint["packages"].keys() == {"autotune_nb", "optuna"}


def _smi(folder: Path, body: str) -> None:
    script = folder / "nvidia-smi"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


def test_gpus_are_told_as_nvidia_smi_tells_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _smi(tmp_path, 'echo "H200, 143771 MiB, 570.1"; echo; echo "H200, 143771 MiB, 570.1"')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert machine_fingerprint()["gpus"] == ["H200, 143771 MiB, 570.1"] * 2


def test_a_broken_nvidia_smi_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _smi(tmp_path, "echo no devices were found; exit 6")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert machine_fingerprint()["gpus"] == []
