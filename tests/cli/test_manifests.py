"""``autotune-nb manifests``: the API server accepts what it prints, for any values of the options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from autotune_nb.cli.manifests import manifests
from autotune_nb.task.task import Task
from tests.kubernetes.study_objects import IMAGE, KINDS, NamespaceAccess, as_job, ended
from tests.stubs import in_loop

#: The options of workers, the last four with the storage and its password.
WORKERS = (
    *("--image", "r/i:1", "--study", "chat"),
    *("--storage", "postgresql://team:${PGPASSWORD}@db/tuning", "--env", "PGPASSWORD=secret://database/password"),
)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(manifests, [str(a) for a in arguments])


def printed(*arguments: object) -> dict[str, dict[str, Any]]:
    """Return the printed objects by kind."""
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    objects = list(yaml.safe_load_all(result.stdout))
    found = {obj["kind"]: obj for obj in objects}
    assert len(found) == len(objects)
    return found


@pytest.fixture
def task(task_data: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return {
        **task_data,
        "name": "nightly: 8B",
        "description": 'quotes " and\nlines, {braces} and on: off',
        "model": "qwen3-8b",
        "engine": "sglang",
        "parameters": {"tp_size": [1, 2]},
        "deploy": {"kind": "ome", "runtime": "srt", "kubeconfig": "~/there", "context": "dev", "namespace": "dev"},
    }


@pytest.fixture
def file(task: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(task))
    return path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rbac"], "--namespace"),
        (["rbac", "-n", "Tune_1"], "'Tune_1' is not a valid name in Kubernetes"),
        (["rbac", "-n", "x" * 60], "at most 52"),
        (["reaper", "-n", "tune"], "--image"),
        (["runner", "-n", "tune", "--image", "i", "--task", "/none.yaml"], "there is no task file '/none.yaml'"),
        (["claim", "-n", "tune", "--templates", "/no/folder"], "there is no folder '/no/folder'"),
    ],
)
def test_wrong_usage_is_reported(arguments: list[str], expected: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert "Traceback" not in result.output


def test_the_task_is_included_without_its_kubeconfig(file: Path, tmp_path: Path, task: dict[str, Any]) -> None:
    found = printed("runner", "-n", "tune", "--image", "r/i:1", "--task", file)
    (tmp_path / "pod.yaml").write_text(found["ConfigMap"]["data"]["task.yaml"])
    here, there = Task.load(file), Task.load(tmp_path / "pod.yaml")
    assert there.description == task["description"]
    assert (there.deploy.kubeconfig, there.deploy.context, there.deploy.namespace) == (None, None, "tune")
    named = {"kubeconfig": "~/there", "context": "dev", "namespace": "dev"}
    assert here == there.model_copy(update={"deploy": there.deploy.model_copy(update=named)})
    cronjob = found["CronJob"]
    pod = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert [*container["command"], *container["args"]] == [
        *("autotune-nb", "run", "/task/task.yaml", "--study", "/study/$(JOB_NAME)"),
        *("--deploy", "ome", "--namespace", "tune", "--json"),
    ]
    assert cronjob["metadata"]["name"] == "autotune-nb-nightly-8b"
    assert pod["terminationGracePeriodSeconds"] > here.deadlines.stop_s
    assert pod["restartPolicy"] == "Never"
    assert cronjob["spec"]["concurrencyPolicy"] == "Forbid"


def test_custom_templates_are_included(file: Path, tmp_path: Path, task: dict[str, Any]) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "inference_service.yaml.j2").write_text("spec: {{ '{{' }}\n")
    file.write_text(yaml.safe_dump({**task, "deploy": {**task["deploy"], "templates": str(own)}}))
    data = printed("runner", "-n", "tune", "--image", "i", "--task", file)["ConfigMap"]["data"]
    assert data["inference_service.yaml.j2"] == "spec: {{ '{{' }}\n"
    assert yaml.safe_load(data["task.yaml"])["deploy"]["templates"] == "/task"
    (own / "inference_service.yaml.j2").unlink()
    result = call("runner", "-n", "tune", "--image", "i", "--task", file)
    assert result.exit_code == 2
    assert "there are no templates" in result.stderr


def test_a_task_for_this_machine_becomes_one_for_ome(file: Path, task: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump({k: v for k, v in task.items() if k != "deploy"}))
    data = printed("runner", "-n", "tune", "--image", "i", "--task", file, "--study", "long")["ConfigMap"]["data"]
    assert yaml.safe_load(data["task.yaml"])["deploy"] == {"kind": "ome", "namespace": "tune"}


def test_a_value_does_not_break_out_of_the_manifest() -> None:
    image = 'r/i"\n      hostNetwork: true # {{ x }}'
    cronjob = printed("reaper", "-n", "tune", "--image", image)["CronJob"]
    pod = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == image
    assert "hostNetwork" not in pod


def test_pods_run_without_root_and_without_extra_privileges(file: Path) -> None:
    for arguments in (["reaper"], ["runner", "--task", str(file)]):
        cronjob = printed(*arguments, "-n", "tune", "--image", "i")["CronJob"]
        assert cronjob["apiVersion"] == "batch/v1"
        pod = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= container["resources"].keys()


def test_workers_are_a_job_with_parallelism_and_no_password() -> None:
    job = printed("workers", "-n", "tune", *WORKERS, "--workers", 3)["Job"]
    assert (job["spec"]["parallelism"], job["spec"]["completions"], job["metadata"]["name"]) == (
        3,
        3,
        "autotune-nb-workers-chat",
    )
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert "postgresql://team:${PGPASSWORD}@db/tuning" in container["args"]
    (variable,) = [one for one in container["env"] if one["name"] == "PGPASSWORD"]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "database", "key": "password"}}
    literal = call("workers", "-n", "tune", *WORKERS[:-4], "--storage", "postgresql://team:hidden@db/tuning")
    assert literal.exit_code == 2
    assert "postgresql://team:***@db/tuning has a password" in literal.stderr
    unset = call("workers", "-n", "tune", *WORKERS[:-2])
    assert "would have no variable PGPASSWORD" in unset.stderr


def test_the_api_server_accepts_every_object(access: NamespaceAccess, file: Path) -> None:
    at = ["-n", access.namespace]
    objects = [
        *printed("rbac", *at, "--create-models").values(),
        *printed("reaper", *at, "--image", "r/i:1").values(),
        *printed("runner", *at, "--image", "r/i:1", "--task", file).values(),
        *printed("workers", *at, *WORKERS, "--gpus", 2, "--claim", "studies").values(),
        *printed("claim", *at, "--storage-class", "fast", "--access-mode", "ReadWriteMany").values(),
    ]

    async def work() -> None:
        async with access.connected() as cluster:
            for obj in objects:
                # The tests' API server has no CronJob controller: the Job that it would create is tested instead.
                body = as_job(obj, "due") if obj["kind"] == "CronJob" else obj
                made = await cluster.create(KINDS[body["kind"]], body, dry_run=True)
                assert made["metadata"]["name"] == body["metadata"]["name"]

    in_loop(work())


def test_a_run_in_a_pod_reads_its_task_and_has_a_folder_of_its_own(
    access: NamespaceAccess, file: Path, tmp_path: Path
) -> None:
    at = ["-n", access.namespace]
    found = printed("runner", *at, "--image", IMAGE, "--task", file)
    job = as_job(found["CronJob"], "due-28000000")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    job["spec"]["template"]["spec"].pop("serviceAccountName")
    # A program that prints its arguments replaces autotune-nb. It may be in /tmp, so nothing is mounted over that.
    program = "import sys, pathlib; print(sys.argv[4]); print(pathlib.Path(sys.argv[2]).read_text())"
    container["command"] = [sys.executable, "-c", program]
    container["volumeMounts"] = [m for m in container["volumeMounts"] if m["name"] != "tmp"]

    async def work() -> str:
        await access.apply([found["ConfigMap"], *printed("claim", *at).values(), job])
        async with access.connected() as cluster:
            succeeded, log = await ended(cluster, "due-28000000")
            assert succeeded, log
            return log

    folder, _, text = in_loop(work()).partition("\n")
    assert folder.endswith("/due-28000000")
    (tmp_path / "seen.yaml").write_text(text)
    assert Task.load(tmp_path / "seen.yaml").deploy.namespace == access.namespace


def test_a_runner_gets_its_variables_from_secrets_or_is_refused(task: dict[str, Any], file: Path) -> None:
    task["benchmark"] = {"api_key": "${ENGINE_KEY}", "executor": "direct"}
    file.write_text(yaml.safe_dump(task))
    arguments = ("runner", "-n", "tune", "--image", IMAGE, "--task", file)
    refused = call(*arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "no variable ENGINE_KEY; take it from a Secret with --env ENGINE_KEY=secret://SECRET/KEY" in refused.stderr
    job = printed(*arguments, "--env", "ENGINE_KEY=secret://tune-keys/engine")["CronJob"]
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    wanted = {"name": "ENGINE_KEY", "valueFrom": {"secretKeyRef": {"name": "tune-keys", "key": "engine"}}}
    assert wanted in container["env"]
    wrong = call(*arguments, "--env", "ENGINE_KEY=a-plain-value")
    assert wrong.exit_code == 2
    assert "a-plain-value" not in wrong.stderr
    task["engine"] = {"kind": "sglang", "env": {"HF_TOKEN": "${HF_TOKEN}"}}
    file.write_text(yaml.safe_dump(task))
    assert "engine.env.HF_TOKEN: in a cluster the value of ${HF_TOKEN} would be written" in call(*arguments).stderr
