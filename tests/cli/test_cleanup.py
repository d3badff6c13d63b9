"""``autotune-nb cleanup``: it lists, asks, deletes, and refuses a study that a process is still running."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from autotune_nb.cli.cleanup import cleanup
from autotune_nb.cluster.names import trial_labels
from autotune_nb.study import StudyFolder
from tests.deploy.container.fake_client import FakeClient
from tests.kubernetes.study_objects import NamespaceAccess, leave, there
from tests.stubs import in_loop, open_study

RUN = "from autotune_nb.cli.cleanup import cleanup; cleanup(prog_name='cleanup')"


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cleanup, [str(a) for a in arguments])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "give either a STUDY or --all"),
        (["some", "--all", "-n", "x"], "give either a STUDY or --all"),
        (["--all"], "--all needs --namespace"),
        (["--all", "-n", "x", "--expired", "--force"], "--expired and --force exclude each other"),
        (["some", "--kubeconfig", "/no/such/file"], "no kubeconfig file '/no/such/file'"),
    ],
)
def test_wrong_usage_is_reported_before_connecting_to_the_cluster(arguments: list[str], expected: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_a_folder_without_a_study_is_not_a_name_in_the_cluster(tmp_path: Path) -> None:
    result = call(tmp_path, "--kubeconfig", "/no/such/file")
    assert result.exit_code == 2
    assert f"there is no study in {tmp_path}" in result.stderr


@pytest.fixture
def at(access: NamespaceAccess) -> list[str]:
    return ["--kubeconfig", str(access.kubeconfig), "--namespace", access.namespace]


def made(access: NamespaceAccess, *labels: str, **how: Any) -> list[str]:
    async def work() -> list[str]:
        async with access.connected() as cluster:
            return [await leave(cluster, label, **how) for label in labels]

    return in_loop(work())


def left(access: NamespaceAccess, label: str | None = None) -> list[str]:
    async def work() -> list[str]:
        async with access.connected() as cluster:
            return await there(cluster, label)

    return in_loop(work())


def test_without_a_terminal_it_lists_and_deletes_nothing(access: NamespaceAccess, at: list[str]) -> None:
    (name,) = made(access, "one")
    before = left(access)
    result = call("--all", *at)
    assert result.exit_code == 2
    assert f"study {name} (task 'chat', lease of elsewhere/1/abc, expired" in result.stdout
    assert f"  InferenceService {access.namespace}/at-chat-t0000-" in result.stdout
    assert "add --yes" in result.stderr
    assert set(before) <= set(left(access))


@pytest.mark.parametrize(("answer", "exit_code"), [("n", 1), ("y", 0)])
def test_at_a_terminal_it_asks(access: NamespaceAccess, at: list[str], answer: str, exit_code: int) -> None:
    (name,) = made(access, "one")
    terminal, side = pty.openpty()
    try:
        # It waits in the terminal until it is read.
        os.write(terminal, f"{answer}\n".encode())
        ended = subprocess.run(
            [sys.executable, "-c", RUN, name, *at], stdin=side, capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        os.close(terminal)
        os.close(side)
    assert ended.returncode == exit_code, ended.stderr
    assert f"Delete the objects of 1 study in namespace {access.namespace}?" in ended.stdout
    assert (left(access) == []) is (answer == "y")


def test_a_study_that_another_process_runs_is_refused_unless_forced(access: NamespaceAccess, at: list[str]) -> None:
    (name,) = made(access, "one", age_s=3)
    result = call(name, *at, "--yes")
    assert result.exit_code == 2
    assert f"study {name} is held by elsewhere/1/abc, renewed " in result.stderr
    assert "--force" in result.stderr
    assert len(left(access)) >= 4
    result = call("--all", *at, "--yes", "--json")
    assert result.exit_code == 1
    (study,) = json.loads(result.stdout)["studies"]
    assert study["spared"] and study["held"] and study["holder"] == "elsewhere/1/abc"
    result = call("one", *at, "--yes", "--force")
    assert result.exit_code == 0, result.stderr
    assert f"ConfigMap {access.namespace}/{name} is gone" in result.stdout
    assert left(access) == []


def test_a_study_is_found_by_its_folder(
    access: NamespaceAccess, at: list[str], tmp_path: Path, make_task: Callable[..., Any]
) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.create()
    label = folder.label(folder.ensure_metadata(None)["id"])
    deploy = {"kind": "ome", "runtime": "srt", "namespace": access.namespace, "kubeconfig": str(access.kubeconfig)}
    folder.write_task(make_task(model="m", engine="sglang", parameters={"tp_size": [1, 2]}, deploy=deploy))
    made(access, label, "another")
    # The task in the folder has the namespace and the kubeconfig.
    result = call(folder.path, "--yes", "--json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["namespace"] == access.namespace
    (study,) = printed["studies"]
    assert study["study"] == label
    assert not study["left"] and not study["spared"]
    assert any(line.startswith("InferenceService ") for line in study["removed"])
    assert left(access, label) == []
    assert left(access, "another") != []
    again = call(folder.path, "--yes", *at)
    assert again.exit_code == 0
    assert f"nothing to delete in namespace {access.namespace}" in again.stdout


def test_an_unknown_name_is_reported_with_the_known_ones(access: NamespaceAccess, at: list[str]) -> None:
    (name,) = made(access, "one")
    result = call("something", *at, "--yes")
    assert result.exit_code == 2
    assert name in result.stderr


def test_objects_that_are_left_are_listed_and_exit_with_1(access: NamespaceAccess, at: list[str]) -> None:
    made(access, "one", finalizers=["example.com/held"])
    result = call("--all", *at, "--yes", "--within", "2", "--json")
    assert result.exit_code == 1
    assert f"still there: InferenceService {access.namespace}/" in result.stderr
    (study,) = json.loads(result.stdout)["studies"]
    assert "Terminating since" in study["left"][0]


def test_the_containers_of_a_study_are_listed_and_removed_after_confirmation(make_task: Any, tmp_path: Path) -> None:
    client = FakeClient(tmp_path / "client")
    deploy = {"kind": "container", "image": "engine:1", "runtime": str(client.path)}
    study = open_study(make_task(deploy=deploy), tmp_path / "study")
    label = study.folder.label(study.folder.metadata()["id"])
    mine = client.add_container("mine", trial_labels(label, 7))
    client.add_container("foreign", trial_labels("another-study", 7))
    study.folder.acquire()
    busy = call("--yes", tmp_path / "study")
    assert busy.exit_code == 2
    assert "stop that run first" in busy.stderr
    study.folder.release()
    study.close()
    asked = call(tmp_path / "study")
    assert asked.exit_code == 2
    assert "would delete 1 container of" in asked.stderr
    done = call(tmp_path / "study", "--yes", "--json")
    assert done.exit_code == 0
    outcome = json.loads(done.stdout.splitlines()[-1])["studies"][0]
    assert outcome["removed"] == ["removed container mine of trial 7 (exited)"]
    assert outcome["left"] == []
    assert [one["name"] for one in client.containers] == ["foreign"]
    assert mine not in [one["id"] for one in client.containers]
