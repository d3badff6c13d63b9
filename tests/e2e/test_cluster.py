"""The command line with a cluster, under the Role that it prints, with the real engine and genai-bench."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune_nb.resources import shared_folder
from tests.e2e.conftest import Started, in_this_process
from tests.kubernetes.handle import TestCluster
from tests.stubs import IN_CLUSTER_LOAD, FakeBench, level_file

pytestmark = pytest.mark.e2e
Cli = Callable[..., subprocess.CompletedProcess[str]]
IMAGE = "ghcr.io/sgl-project/genai-bench:test"


class Place:
    """A namespace with a service account that has the printed Role, and a claim."""

    def __init__(self, cluster: TestCluster, namespace: str, folder: Path, small_model: Path) -> None:
        self.cluster, self.namespace, self.folder = cluster, namespace, folder
        self._tokenizer = small_model.parent / "tokenizer"
        printed = in_this_process("manifests", "rbac", "--namespace", namespace)
        assert printed.exit_code == 0, printed.stderr
        self.kubeconfig = cluster.account(namespace, printed.stdout, "autotune-nb", folder / "kubeconfig")
        self.claim = cluster.claim(namespace, "results")
        self.where = ["--deploy", "ome", "--kubeconfig", self.kubeconfig, "--namespace", namespace]

    def task(self, **changes: Any) -> Path:
        task: dict[str, Any] = {
            "name": "cluster",
            "model": {"id_or_path": "tiny", "tokenizer": str(self._tokenizer)},
            "engine": {"kind": "llama_cpp", "args": {"ctx_size": 2048, "threads": 1, "metrics": True}},
            "parameters": {"threads_http": [1, 2], "parallel": [1, 2]},
            "workload": IN_CLUSTER_LOAD,
            "objective": "maximize output_tokens_per_s",
            "strategy": {"sampler": "random", "seed": 3},
            "budget": {"trials": 2},
            "deadlines": {"ready_s": 120, "stop_s": 5, "pending_s": 20},
            "deploy": {"runtime": "llama-cpp", "gpus_per_trial": 1},
            "benchmark": {"image": IMAGE},
        }
        file = self.folder / "task.yaml"
        file.write_text(yaml.safe_dump({**task, **changes}))
        return file

    def quick(self, *, before: str = "", **changes: Any) -> Path:
        """Write a task with a stub engine and a benchmark that runs ``before`` and then writes all levels at once."""
        bench = FakeBench(self.folder / "fake")
        executable = bench.write(bench.both_levels(), before=before)
        deploy = {"kind": "ome", "runtime": "stub", "gpus_per_trial": 1}
        benchmark = {"executable": executable, "executor": "direct"}
        return self.task(**{"deploy": deploy, "benchmark": benchmark, **changes})

    def left(self) -> list[str]:
        """Return the names of all objects of studies in the namespace."""
        found = []
        for plural in (
            "apis/ome.io/v1beta1/inferenceservices",
            "apis/ome.io/v1beta1/benchmarkjobs",
            "apis/batch/v1/jobs",
            "apis/apps/v1/deployments",
            "apis/coordination.k8s.io/v1/leases",
            "pods",
        ):
            found += [f"{plural} {one['metadata']['name']}" for one in self.cluster.list(plural, self.namespace)]
        anchors = self.cluster.list("configmaps", self.namespace, selector="autotune-nb/study")
        return found + [f"configmap {one['metadata']['name']}" for one in anchors]

    def until_empty(self) -> None:
        self.cluster.until(lambda: not self.left() or None)


@pytest.fixture
def place(cluster: TestCluster, namespace: str, tmp_path: Path, small_model: Path) -> Iterator[Place]:
    place = Place(cluster, namespace, tmp_path, small_model)
    yield place
    place.until_empty()


# The contract of executors holds the others, and studies with faults use them.
@pytest.mark.parametrize(
    ("executor", "results"),
    [
        pytest.param("job", [], marks=pytest.mark.slow),
        pytest.param("direct", [], marks=pytest.mark.slow),
        ("benchmark_job", ["--results", "pvc://results/kept"]),
    ],
)
def test_a_study_under_each_executor(place: Place, cli: Cli, tmp_path: Path, executor: str, results: list[str]) -> None:
    study = tmp_path / "study"
    arguments = [*place.where, "--executor", executor, *results, "--parallel", "2", "--gpus", "2", "--json"]
    done = cli("run", place.task(), "--study", study, *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [trial["state"] for trial in found["trials"]] == ["complete", "complete"], done.stderr
    for trial in found["trials"]:
        # The command line of the pod.
        assert "autotune_nb.engines.llama_server" in trial["command"]
        assert len(trial["measurements"]) == 2
        assert trial["values"]["output_tokens_per_s"] > 1
        fingerprint = found["fingerprints"][trial["fingerprint"]]
        assert fingerprint["image"] == "engine/test:1"
        assert fingerprint["runtime"] == "llama-cpp"
        # The engine's node and GPUs, and the machine that ran the study.
        assert fingerprint["node"]
        assert fingerprint["gpus"] == ["1 x nvidia.com/gpu"]
        assert fingerprint["driver"]["cpu"]
        assert "cpu" not in fingerprint
        assert fingerprint["seed"] == 3
        if executor == "benchmark_job":
            assert "delivers all levels at its end" in fingerprint["engine_metrics"]
        else:
            # Read through the port-forward.
            assert all(one["engine_output_tokens"] > 0 for one in trial["measurements"])
        if executor == "direct":
            assert fingerprint["benchmark_version"]
        else:
            # From the benchmark's pod; the tests' node reports no digest.
            assert fingerprint["benchmark_image"] == IMAGE
            assert fingerprint["benchmark_image_id"] == ""
    tuned = found["trials"][1]
    assert f"--threads-http {tuned['params']['threads_http']}" in tuned["command"]
    assert f"benchmarks run as {executor}" in done.stderr
    assert place.left() == []
    if results:
        assert list(place.claim.glob("kept/*/D*.json"))
    shown = in_this_process("show", study)
    assert "Best is trial" in shown.stdout


# tests/task/test_prototype.py reads such files, and a study runs in the cluster above.
@pytest.mark.slow
def test_a_prototypes_task_runs_in_the_cluster_that_it_names(place: Place, cli: Cli, tmp_path: Path) -> None:
    prototype = {
        "task_name": "p" * 60,
        "deployment_mode": "ome",
        "model": {"name": "tiny", "namespace": place.namespace},
        "base_runtime": "llama-cpp",
        "parameters": {"threads": {"type": "choice", "values": [1]}},
        "optimization": {"strategy": "grid_search", "objective": "maximize_throughput", "max_iterations": 1},
        "benchmark": {
            "task": "text-to-text",
            "traffic_scenarios": ["D(16,8)"],
            "num_concurrency": [1],
            "max_time_per_iteration": 1,
            "max_requests_per_iteration": 12,
        },
    }
    file = tmp_path / "prototype.json"
    file.write_text(json.dumps(prototype))
    checked = cli("check", file, "--kubeconfig", place.kubeconfig)
    assert checked.returncode == 0, checked.stdout
    assert "the largest trial takes 1 GPUs" in checked.stdout
    done = cli("run", file, "--study", tmp_path / "study", "--kubeconfig", place.kubeconfig, "--json")
    found = json.loads(done.stdout.splitlines()[-1])
    assert [trial["state"] for trial in found["trials"]] == ["complete"], done.stderr
    assert "--threads 1" in found["best"]["command"]


def test_a_failed_check_and_a_dry_run_create_nothing(place: Place, tmp_path: Path) -> None:
    wrong = in_this_process("check", place.task(model="tinny"), *place.where)
    assert wrong.exit_code == 2
    assert "FAIL  there is no model 'tinny'; did you mean 'tiny'" in wrong.stdout
    refused = in_this_process("run", place.task(model="tinny"), "--study", tmp_path / "study", *place.where)
    assert refused.exit_code == 2
    assert "did you mean 'tiny'" in refused.stderr
    dry = in_this_process("run", place.task(), "--study", tmp_path / "dry", *place.where, "--dry-run")
    assert dry.exit_code == 0, dry.stderr
    manifests = list(yaml.safe_load_all(dry.stdout))
    assert [one["kind"] for one in manifests] == ["InferenceService", "InferenceService", "Job"]
    assert "the server accepts it" in dry.stdout
    assert not (tmp_path / "dry").exists()
    assert place.left() == []


# Each failure: tests/deploy/ome/test_failures.py and test_deployer.py; that the study goes on: tests/runner.
@pytest.mark.slow
def test_a_study_continues_after_every_kind_of_failure(place: Place, cli: Cli, tmp_path: Path) -> None:
    """Crash, out of memory, no free GPU, restart during the benchmark: OME's status reports none of them."""
    ask = "import sys, urllib.request as u; u.urlopen(sys.argv[1] + '/v1/chat/completions', b'{}', 5).read()"
    # One request more than for the readiness probe; then as long as a node takes to restart the engine.
    asks = f'{sys.executable} -c "{ask}" "$url" 2>/dev/null || sleep 2'
    task = place.quick(
        before=asks,
        engine={"kind": "sglang"},
        parameters={
            "fault": {"type": "choice", "values": ["none", "crash", "memory", "restart"], "flag": "--fault"},
            "tp_size": [1, 16],
        },
        rules=["tp_size == 1 or fault == 'none'"],
        strategy={"sampler": "grid"},
        budget={"trials": 6, "baseline": True},
        deadlines={"ready_s": 60, "stop_s": 5, "pending_s": 3},
        deploy={"kind": "ome", "runtime": "stub", "resources": {"memory": "200Mi"}},
    )
    study = tmp_path / "study"
    done = cli("run", task, "--study", study, *place.where, "--parallel", "3", "--json")
    assert done.returncode == 0, done.stderr
    trials = json.loads(done.stdout.splitlines()[-1])["trials"]
    ends = {(t["params"].get("fault", "none"), t["params"].get("tp_size", 1)): t for t in trials if t["params"]}
    failures = {key: t["failure"] for key, t in ends.items()}
    assert failures.pop(("none", 1)) is None
    kinds = {key: failure["kind"] for key, failure in failures.items()}
    assert kinds == {
        ("crash", 1): "crash",
        ("memory", 1): "out_of_memory",
        ("restart", 1): "crash",
        ("none", 16): "infrastructure",
    }
    assert "RuntimeError: the weights are not what the config says" in str(failures["crash", 1])
    assert "Insufficient nvidia.com/gpu" in failures["none", 16]["message"]
    assert {key for key, failure in failures.items() if not failure["hint"]} == set()
    # The measurements of the other trials are stored.
    assert [len(t["measurements"]) for t in trials if t["state"] == "complete"] == [2, 2]
    assert place.left() == []
    shown = json.loads(in_this_process("show", study, "--json").stdout.splitlines()[-1])
    assert [t["state"] for t in shown["trials"]] == [t["state"] for t in trials]


# The sweep at the next start: tests/contracts/deployer.py; that no result is lost: tests/test_run.py.
@pytest.mark.slow
def test_killed_with_a_service_ready_it_goes_on_and_nothing_is_left(
    place: Place, start: Callable[..., Started], cli: Cli, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    slowly = f'cp "$levels/{level_file(1)}" "$out/"; sleep 2'
    arguments = ["run", place.quick(before=slowly), "--study", study, *place.where, "--json"]
    first = start(*arguments)
    first.wait_for("trial 1   level 1/2")
    os.killpg(first.process.pid, signal.SIGKILL)
    first.end()
    assert place.left(), "something is left for the sweep to find"
    kept = json.loads((study / "results.json").read_text())["trials"][0]
    assert kept["state"] == "complete"
    again = cli(*arguments)
    assert again.returncode == 0, again.stderr
    assert "is gone" in again.stderr
    found = json.loads(again.stdout.splitlines()[-1])
    assert [trial["state"] for trial in found["trials"]] == ["complete", "complete"]
    # What had finished is as it was, and was not measured again.
    assert found["trials"][0] == kept
    assert "trial 0   level" not in again.stderr
    assert place.left() == []


def test_killed_and_not_started_again_a_cleanup_removes_it(
    place: Place, start: Callable[..., Started], tmp_path: Path
) -> None:
    study = tmp_path / "study"
    first = start("run", place.quick(before="sleep 60"), "--study", study, *place.where)
    place.cluster.until(lambda: place.cluster.services(place.namespace))
    os.killpg(first.process.pid, signal.SIGKILL)
    first.end()
    where = ["--kubeconfig", place.kubeconfig, "--namespace", place.namespace]
    asked = in_this_process("cleanup", study, *where)
    assert asked.exit_code == 2
    assert "InferenceService" in asked.stdout
    assert place.left()
    done = in_this_process("cleanup", study, *where, "--yes")
    assert done.exit_code == 0, done.output
    assert place.left() == []


@pytest.mark.parametrize("when", ["creation", pytest.param("readiness", marks=pytest.mark.slow)])
def test_two_interrupts_leave_nothing(place: Place, start: Callable[..., Started], tmp_path: Path, when: str) -> None:
    task = place.quick(engine={"kind": "llama_cpp", "raw_args": ["--hang"]})
    run = start("run", task, "--study", tmp_path / "study", *place.where)
    run.wait_for("trial 0 (1 of 2)")
    if when == "readiness":
        place.cluster.until(lambda: place.cluster.services(place.namespace))
    os.kill(run.process.pid, signal.SIGINT)
    time.sleep(0.1)
    os.kill(run.process.pid, signal.SIGINT)
    code, _ = run.finish(timeout_s=60)
    # The second may come when all is over and the program is on its way out.
    assert code in (1, -signal.SIGINT)
    assert place.left() == []


# Their labels differ: tests/cluster/test_names.py; a service of somebody else: tests/deploy/ome/test_deployer.py.
@pytest.mark.slow
def test_two_studies_of_one_name_do_not_touch_each_other(
    place: Place, start: Callable[..., Started], tmp_path: Path
) -> None:
    task = place.quick(budget={"trials": 2})
    arguments = [*place.where, "--parallel", "2", "--json"]
    both = [start("run", task, "--study", tmp_path / name, *arguments) for name in ("one", "two")]
    for run in both:
        code, output = run.finish(timeout_s=150)
        assert code == 0, "\n".join(run.lines)
        found = json.loads(output.splitlines()[-1])
        assert [trial["state"] for trial in found["trials"]] == ["complete", "complete"]


def test_the_notebook_goes_from_the_check_to_a_manifest_that_can_be_applied(place: Place, tmp_path: Path) -> None:
    study, out = tmp_path / "study", tmp_path / "ome.ipynb"
    parameters = {
        "task": place.quick(),
        "study": study,
        "namespace": place.namespace,
        "kubeconfig": place.kubeconfig,
        "trials": 1,
    }
    arguments = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
    done = in_this_process("notebook", shared_folder("notebooks") / "03_ome.ipynb", "-o", out, *arguments)
    assert done.exit_code == 0, done.output
    text = out.read_text()
    assert "all 3" in text and "permissions for executor direct" in text
    manifest = yaml.safe_load((study / "best.yaml").read_text())
    assert "labels" not in manifest["metadata"]
    path = f"/apis/ome.io/v1beta1/namespaces/{place.namespace}/inferenceservices"
    status, reply = place.cluster.call("POST", f"{path}?dryRun=All", manifest)
    assert status == 201, reply
