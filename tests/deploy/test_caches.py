"""Compile caches between trials: where they are, which starts find them filled, and what is the user's own choice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.deploy.caches import CompileCaches, Start
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import SetupError, TaskError
from autotune_nb.task.task import Task

MakeTask = Callable[..., Task]


def caches_of(make_task: MakeTask, study: Path, environment: tuple[str, ...] = (), **sections: Any) -> CompileCaches:
    parameters = {"max_num_seqs": [8, 16], "tensor_parallel_size": [1, 2]}
    task = make_task(**{"engine": "vllm", "parameters": parameters, **sections})
    found = CompileCaches(task, engine_for(task), study, environment=environment)
    found.prepare()
    return found


def started(caches: CompileCaches, **params: Any) -> str:
    start = caches.start(params)
    assert isinstance(start, Start)
    # What the engine compiles.
    (caches.folder / "vllm" / "kernel").write_text("x")
    assert caches.ready(start) == {"start_caches": start.state}
    return start.state


def test_a_start_is_cold_partly_warm_or_warm(make_task: MakeTask, tmp_path: Path) -> None:
    caches = caches_of(make_task, tmp_path)
    assert started(caches, tensor_parallel_size=1, max_num_seqs=8) == "cold"
    assert started(caches, tensor_parallel_size=2) == "partly"
    # max_num_seqs does not change what is compiled, nor does the default of tensor_parallel_size.
    assert started(caches, max_num_seqs=16) == "warm"
    # Another run of the study finds them too; another version of the engine compiles again.
    later = caches_of(make_task, tmp_path)
    assert started(later, tensor_parallel_size=2) == "warm"
    later.identify({"engine_version": "2"})
    assert started(later, tensor_parallel_size=2) == "partly"
    shutil.rmtree(later.folder / "vllm")
    later.prepare()
    assert started(later, tensor_parallel_size=2) == "cold"


def test_a_start_that_does_not_become_ready_leaves_no_kernels_to_count_on(make_task: MakeTask, tmp_path: Path) -> None:
    caches = caches_of(make_task, tmp_path)
    assert caches.start({}) == caches.start({})
    assert started(caches) == "cold"


def test_the_variables_name_folders_in_the_study(make_task: MakeTask, tmp_path: Path) -> None:
    caches = caches_of(make_task, tmp_path)
    assert caches.variables()["VLLM_CACHE_ROOT"] == str(tmp_path / "caches" / "vllm")
    assert all(Path(folder).is_dir() for folder in caches.variables().values())
    assert caches.variables("/mnt/c")["TRITON_CACHE_DIR"] == "/mnt/c/triton"
    shared = caches_of(make_task, tmp_path, deploy={"caches": str(tmp_path / "shared")})
    assert shared.variables()["VLLM_CACHE_ROOT"] == str(tmp_path / "shared" / "vllm")


def test_a_folder_that_the_user_chose_stays(make_task: MakeTask, tmp_path: Path) -> None:
    engine = {"kind": "vllm", "env": {"VLLM_CACHE_ROOT": "/mine"}}
    caches = caches_of(make_task, tmp_path, ("TRITON_CACHE_DIR",), engine=engine)
    assert caches.variables().keys() == {"FLASHINFER_WORKSPACE_BASE", "TORCHINDUCTOR_CACHE_DIR"}


@pytest.mark.parametrize(
    "sections",
    [
        {"deploy": {"caches": False}},
        {"engine": "llama_cpp", "parameters": {"threads": [1]}},
        {"deploy": {"kind": "ome"}},
    ],
)
def test_without_caches_nothing_is_set_or_recorded(
    make_task: MakeTask, tmp_path: Path, sections: dict[str, Any]
) -> None:
    caches = caches_of(make_task, tmp_path, **sections)
    assert (caches.variables(), caches.start({}), caches.ready(None)) == ({}, None, {})
    assert not caches.folder.exists()


def test_a_container_of_another_user_has_no_caches_in_the_study(make_task: MakeTask, tmp_path: Path) -> None:
    deploy = {"kind": "container", "image": "i", "user": "4242:1"}
    assert not caches_of(make_task, tmp_path, deploy=deploy).kept
    assert caches_of(make_task, tmp_path, deploy={**deploy, "caches": str(tmp_path)}).kept
    assert caches_of(make_task, tmp_path, deploy={"kind": "container", "image": "i"}).kept


def test_in_a_cluster_only_the_starts_are_kept_here(make_task: MakeTask, tmp_path: Path) -> None:
    caches = caches_of(make_task, tmp_path, deploy={"kind": "ome", "caches": "pvc://scratch/tuning"})
    assert (caches.claim, caches.sub_path) == ("scratch", "tuning/vllm")
    first = caches.start({})
    assert first is not None and first.state == "cold"
    caches.ready(first)
    assert caches.start({}) == Start("warm", first.key)
    assert [file.name for file in caches.folder.iterdir()] == ["started.json"]


@pytest.mark.parametrize(
    ("deploy", "message"),
    [
        ({"kind": "ome", "caches": "runs/caches"}, "caches 'runs/caches' is no claim; write pvc://CLAIM/FOLDER"),
        ({"caches": "pvc://a/b"}, "caches 'pvc://a/b' is for trials in a cluster; give a folder"),
    ],
)
def test_a_place_of_another_kind_is_refused(make_task: MakeTask, deploy: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match="deploy: ") as caught:
        make_task(deploy=deploy)
    assert caught.value.message.startswith(message)


def test_a_folder_that_cannot_be_created_names_the_field(make_task: MakeTask, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be created") as caught:
        caches_of(make_task, tmp_path, deploy={"caches": str(tmp_path / "file" / "x")})
    assert caught.value.field == "deploy.caches"
