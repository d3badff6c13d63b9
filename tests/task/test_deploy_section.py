"""The section ``deploy``: the fields of containers, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

import autotune_nb as at
from autotune_nb.errors import TaskError
from autotune_nb.session import with_overrides

IMAGE = "vllm/vllm-openai@sha256:" + "0123456789abcdef" * 4


def container(**fields: Any) -> dict[str, Any]:
    return {"kind": "container", "image": IMAGE, **fields}


def test_options_may_be_a_text_or_a_list(make_task: Any) -> None:
    for given in ("--ipc host --cpus 8", ["--ipc", "host", "--cpus", 8]):
        assert make_task(deploy=container(run_args=given)).deploy.run_args == ["--ipc", "host", "--cpus", "8"]


@pytest.mark.parametrize(
    ("deploy", "said"),
    [
        ({"kind": "container"}, "kind container needs an image"),
        ({"image": IMAGE}, "image is for kind container, not local"),
        ({"kind": "ome", "shm_size": "8g"}, "shm_size is for kind container, not ome"),
        (container(volumes=["/data"]), "'/data' is no volume; write SOURCE:/PATH"),
        (container(volumes=["${HOME}:/data"]), "refers to a variable; write the path"),
        (container(run_args=["--name", "x"]), "--name is set for each trial; remove it"),
        (container(run_args=["--entrypoint=sh"]), "--entrypoint is set for each trial; use engine.executable"),
        (container(run_args=["-e", "TOKEN=${TOKEN}"]), "would be in the command line; use engine.env"),
        (container(network="none"), "the engine could not be reached"),
        (container(shm_size="lots"), "deploy.shm_size"),
        (container(pull="sometimes"), "deploy.pull"),
    ],
)
def test_what_no_container_can_be_started_with_is_refused(make_task: Any, deploy: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError) as caught:
        make_task(deploy=deploy)
    assert said in str(caught.value)


def test_a_place_that_is_chosen_later_drops_the_fields_of_the_other(make_task: Any) -> None:
    task = make_task(deploy=container(runtime="podman", volumes=["/data:/data"], parallel=2))
    assert with_overrides(task, deploy="local") == make_task(deploy={"parallel": 2})
    in_cluster = with_overrides(task, deploy="ome")
    assert (in_cluster.deploy.runtime, in_cluster.deploy.image) == (None, None)
    here = with_overrides(make_task(deploy={"kind": "ome", "runtime": "srt"}), deploy="container", image="a:1")
    assert here == make_task(deploy={"kind": "container", "image": "a:1"})


def test_a_field_of_a_cluster_is_refused_for_containers(make_task: Any) -> None:
    with pytest.raises(TaskError, match=r"deploy\.namespace: .*add deploy\.kind: ome"):
        at.check(make_task(deploy=container(namespace="tune")))
