"""Trials as containers of a real podman, over an image that is made on the spot."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.cluster.names import trial_labels
from autotune_nb.deploy import Deployment, DeployRequest
from autotune_nb.deploy.container.deployer import ContainerDeployer
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import FailureKind
from autotune_nb.task.task import Task
from tests.contracts.deployer import DeployerContract
from tests.stubs import HANGS_S, StubEngine, deploy_request, until

pytestmark = pytest.mark.slow

#: Beside the checkout, as the test cluster's.
PROGRAM = Path(__file__).parents[4] / "shared" / "containers" / "podman"
IMAGE = "localhost/autotune-nb-test:1"
WHY = (
    "no podman: install it (apt-get install podman crun), and name it in AUTOTUNE_NB_TEST_PODMAN if containers need "
    "options on this machine"
)


@pytest.fixture(scope="session")
def podman() -> Iterator[Path]:
    """A podman with an image that has nothing but folders to mount this machine's programs at."""
    given = os.environ.get("AUTOTUNE_NB_TEST_PODMAN") or (str(PROGRAM) if PROGRAM.exists() else None)
    found = shutil.which(given or "podman")
    if found is None or shutil.which("podman") is None:
        pytest.skip(WHY)
    # podman refuses a path of more than 50 characters.
    home = tempfile.mkdtemp(prefix="podman-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODMAN_HOME", home)
        _import_image(found)
        yield Path(found)
    shutil.rmtree(home, ignore_errors=True)


def _import_image(program: str) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name in ("tmp", "proc", "sys", "dev", "etc", "usr"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(folder)
    done = subprocess.run(
        [program, "import", "-", IMAGE], input=content.getvalue(), capture_output=True, check=False, timeout=120
    )
    if done.returncode:
        pytest.skip(f"{WHY}; this one cannot import an image: {done.stderr.decode()[-300:]}")


class PodmanSubject:
    """A ContainerDeployer over podman and the stub engine, which keeps its pids in the container."""

    failing_kind = FailureKind.CONFIGURATION
    failing_line = "error: unknown argument --turbo"
    stop_s = 1.0

    def __init__(self, data: dict[str, Any], podman: Path, folder: Path) -> None:
        self._data, self._podman, self._folder = data, podman, folder
        self._study = uuid.uuid4().hex
        self._script = StubEngine(folder / "stub").script
        roots = {"/usr", "/lib", "/lib64", sys.prefix, sys.base_prefix, str(folder / "stub")}
        self._volumes = [f"{root}:{root}:ro" for root in sorted(roots) if Path(root).exists()]
        self._runs: list[subprocess.Popen[bytes]] = []
        self.deployer = self._of()
        self.failing = self._of("print:error:_unknown_argument_--turbo", "exit:2")
        self.slow_to_stop = self._of("stubborn", stop_s=self.stop_s)
        self.never_stops = self._of("stubborn", stop_s=600)

    def _argv(self, port: str, *behaviours: str) -> list[str]:
        words = ",".join(("up", *behaviours))
        return [sys.executable, "-I", "-S", str(self._script), port, "/tmp/pids", words]

    def _of(self, *behaviours: str, stop_s: float = 2) -> ContainerDeployer:
        data = {
            **self._data,
            "model": "stub",
            "engine": {"kind": "command", "command": self._argv("{port}", *behaviours)},
            "deploy": {
                "kind": "container",
                "image": IMAGE,
                "runtime": str(self._podman),
                "pull": "never",
                "volumes": self._volumes,
            },
            "deadlines": {"ready_s": HANGS_S, "stop_s": stop_s},
        }
        task = Task.parse(data)
        return ContainerDeployer(task, engine_for(task), study_label=self._study, folder=self._folder)

    def request(self) -> DeployRequest:
        return deploy_request(self._folder / uuid.uuid4().hex)

    def _call(self, *args: str) -> str:
        return subprocess.run(
            [str(self._podman), *args], capture_output=True, text=True, check=True, timeout=HANGS_S
        ).stdout

    def deployed(self) -> list[Any]:
        return self._call("ps", "-aq", "--filter", f"label=autotune-nb/study={self._study}").split()

    def kill(self, deployment: Deployment) -> None:
        self._call("kill", *self.deployed())

    def create_leftovers(self) -> None:
        labels = [word for pair in trial_labels(self._study, 7).items() for word in ("--label", "=".join(pair))]
        volumes = [word for volume in self._volumes for word in ("-v", volume)]
        words = ["run", "--name", f"left-{self._study}", *labels, *volumes, IMAGE, *self._argv("0", "stubborn")]
        self._runs.append(subprocess.Popen([str(self._podman), *words]))
        until(lambda: self._call("ps", "-q"))

    def reap(self) -> None:
        for run in self._runs:
            run.wait(HANGS_S)
        for one in self.deployed():
            self._call("rm", "-f", "-t", "0", one)


class TestContainersOfPodman(DeployerContract):
    @pytest.fixture
    def subject(self, task_data: dict[str, Any], podman: Path, tmp_path: Path) -> Iterator[PodmanSubject]:
        subject = PodmanSubject(task_data, podman, tmp_path)
        yield subject
        subject.reap()
