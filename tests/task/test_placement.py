"""Fields of a task that only trials in a cluster have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import autotune_nb as at
from autotune_nb.errors import TaskError
from autotune_nb.session import with_overrides
from autotune_nb.study import StudyFolder
from tests.stubs import contents_below


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("deploy", {"namespace": "tune"}),
        ("deploy", {"runtime": "srt"}),
        ("deploy", {"resources": {"cpu": 16}}),
        ("benchmark", {"executor": "job"}),
        ("benchmark", {"results": "pvc://claim/x"}),
    ],
)
def test_a_field_of_a_cluster_is_refused_for_trials_on_this_machine(
    section: str, fields: dict[str, Any], make_task: Any, tmp_path: Path
) -> None:
    task = make_task(**{section: fields})
    wanted = rf"^{section}\.{next(iter(fields))}: .*add deploy\.kind: ome \(or --deploy ome\)"
    for attempt in (lambda: at.check(task), lambda: at.tune(task, study=tmp_path)):
        with pytest.raises(TaskError, match=wanted):
            attempt()
    assert contents_below(tmp_path) == {}


def test_the_option_namespace_alone_is_refused(make_task: Any) -> None:
    with pytest.raises(TaskError, match=r"deploy\.namespace: .*--deploy ome"):
        at.check(make_task(), namespace="tune")


def test_a_task_of_a_cluster_runs_here_if_that_is_asked_for(make_task: Any, tmp_path: Path) -> None:
    fields = {"deploy": {"kind": "ome", "namespace": "tune", "runtime": "srt"}, "benchmark": {"executor": "job"}}
    here = with_overrides(make_task(**fields), deploy="local")
    assert here == make_task(deploy={"kind": "local"})
    # A study of before, which stored them, is continued.
    folder = StudyFolder(tmp_path)
    folder.create()
    folder.write_task(make_task(deploy={"namespace": "tune", "runtime": "srt"}, benchmark={"executor": "job"}))
    folder.require_same_task(here)


def test_the_runtime_of_a_task_without_a_kind_stays_in_a_cluster(make_task: Any) -> None:
    task = make_task(deploy={"runtime": "srt"})
    assert with_overrides(task, deploy="ome").deploy.runtime == "srt"
    # For containers it would be a program of this machine.
    assert with_overrides(task, deploy="container", image="x").deploy.runtime is None
