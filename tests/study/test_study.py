"""Ask and tell over one task, and what survives of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState as OptunaState

from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.errors import (
    Failure,
    FailureKind,
    SetupError,
    StudyError,
    StudyMismatchError,
    StudyNotFoundError,
    TaskError,
)
from autotune_nb.measurement import Level, Measurement
from autotune_nb.score import Score
from autotune_nb.space import point_key
from autotune_nb.steering import enqueue_edit
from autotune_nb.study import Study, StudyFolder
from autotune_nb.study.study import MAX_ATTEMPTS
from autotune_nb.task import Task
from autotune_nb.trial import Trial, TrialState
from tests.stubs import open_study

FIGURE = "output_tokens_per_s"


def completed(trial: Trial, value: float, *, violation: float | None = None) -> Trial:
    """The trial as the runner tells it after a good measurement."""
    level = Level("D(16,8)", 2)
    limits = {} if violation is None else {"ttft_p99_s <= 0.5": violation}
    measured = Measurement(level, 2.0, 10, 10, 0, {FIGURE: value, "ttft_p99_s": 0.25}, ())
    return trial.with_(
        state=TrialState.COMPLETE,
        score=Score({FIGURE: value}, limits, level),
        measurements=(measured,),
        seconds={"deploy": 1.25, "benchmark": 2.5},
        command=("server", "--name", "two words"),
        fingerprint={"host": "here", "seed": 0},
    )


def failed(trial: Trial) -> Trial:
    failure = Failure(FailureKind.OUT_OF_MEMORY, "deploy", "it ended", ("line one", "line two"), "less memory")
    return trial.with_(state=TrialState.FAILED, failure=failure)


def asked(study: Study) -> Trial:
    trial = study.ask()
    assert trial is not None
    return trial


@pytest.fixture
def small_grid(make_task: Any) -> Callable[..., Task]:
    def make(**changes: Any) -> Task:
        values: dict[str, Any] = {
            "parameters": {"threads": [1, 2], "parallel": [1, 2, 4]},
            "rules": ["threads <= parallel"],
            "strategy": "grid",
            "budget": {"baseline": False},
            **changes,
        }
        task: Task = make_task(**values)
        return task

    return make


# Asking and telling


def test_the_baseline_comes_first_and_sets_no_parameter(make_task: Any, tmp_path: Path) -> None:
    study = open_study(make_task(), tmp_path)
    first, second = asked(study), asked(study)
    assert (first.number, first.baseline, dict(first.params)) == (0, True, {})
    assert (second.number, second.baseline) == (1, False)
    assert set(second.params) == {"threads", "batch_size"}
    study.tell(completed(first, 10))
    assert study.baseline is not None
    assert study.baseline.number == 0


def test_a_reopened_study_has_equal_trials_and_goes_on_after_them(make_task: Any, tmp_path: Path) -> None:
    task = make_task(budget={"baseline": True, "trials": 9})
    study = open_study(task, tmp_path)
    told = [
        study.tell(completed(asked(study), 10)),
        study.tell(failed(asked(study))),
        study.tell(completed(asked(study), 30, violation=-0.25)),
        study.tell(asked(study).with_(state=TrialState.STOPPED)),
    ]
    study.keep_elapsed(12.5)
    again = open_study(task, tmp_path)
    assert list(again.trials) == told
    assert again.settle() == []
    assert list(again.trials) == told
    assert again.best == told[2]
    assert again.num_finished == 3
    assert again.num_since_best == 0
    assert again.elapsed_s == 12.5
    assert asked(again).number == 4


def test_a_view_sees_the_same_and_changes_nothing(make_task: Any, tmp_path: Path) -> None:
    task = make_task()
    study = open_study(task, tmp_path)
    study.tell(completed(asked(study), 10))
    running = asked(study)
    before = (tmp_path / "study.json").read_bytes()
    view = Study.view(task, space_for(task, engine_for(task)), StudyFolder(tmp_path))
    assert view.trials[0] == study.trials[0]
    assert view.trials[1].number == running.number
    assert view.trials[1].state is TrialState.INTERRUPTED
    assert (tmp_path / "study.json").read_bytes() == before


def test_a_study_that_never_began_is_not_found(make_task: Any, tmp_path: Path) -> None:
    task = make_task()
    with pytest.raises(StudyNotFoundError):
        Study.view(task, task.space, StudyFolder(tmp_path))
    StudyFolder(tmp_path).identity(None)
    with pytest.raises(StudyNotFoundError):
        Study.view(task, task.space, StudyFolder(tmp_path))


def test_what_is_enqueued_comes_next_and_only_where_the_space_allows_it(make_task: Any, tmp_path: Path) -> None:
    study = open_study(make_task(rules=["threads <= 1 or batch_size >= 64"], budget={"baseline": False}), tmp_path)
    study.steer(enqueue_edit({"threads": 2, "batch_size": 77}))
    with pytest.raises(TaskError, match="threads <= 1"):
        study.steer(enqueue_edit({"threads": 2, "batch_size": 33}))
    with pytest.raises(TaskError, match="batch_size"):
        study.steer(enqueue_edit({"threads": 2}))
    assert asked(study).params == {"threads": 2, "batch_size": 77}


# The grid


def test_a_grid_is_exactly_the_allowed_product_in_order_none_twice(small_grid: Any, tmp_path: Path) -> None:
    study = open_study(small_grid(), tmp_path)
    seen = []
    while (trial := study.ask()) is not None:
        seen.append((trial.params["threads"], trial.params["parallel"]))
        study.tell(completed(trial, 1.0))
    assert seen == [(t, p) for t, p in itertools.product([1, 2], [1, 2, 4]) if t <= p]


def test_a_grid_resumed_in_the_middle_tries_only_the_rest(small_grid: Any, tmp_path: Path) -> None:
    task = small_grid()
    study = open_study(task, tmp_path)
    for tell in (lambda t: completed(t, 1.0), failed):
        study.tell(tell(asked(study)))
    again = open_study(task, tmp_path)
    again.settle()
    rest = []
    while (trial := again.ask()) is not None:
        rest.append(point_key(again.tell(completed(trial, 1.0)).params))
    tried = {point_key(t.params) for t in study.trials}
    assert len(rest) == len(set(rest)) == 3
    assert not tried & set(rest)


def test_values_that_only_look_alike_are_points_of_their_own(small_grid: Any, tmp_path: Path) -> None:
    # Optuna takes 1, 1.0 and True for one and the same.
    values = [1, True, 1.0, "1", "true", None, {"a": 1}, '{"a": 1}', False, 0, [1, 2]]
    engine = {"kind": "command", "command": "server {port}"}
    task = small_grid(engine=engine, model="m", parameters={"x": values}, rules=[])
    study = open_study(task, tmp_path)
    seen = []
    while (trial := study.ask()) is not None:
        seen.append(trial.params["x"])
        study.tell(completed(trial, 1.0))
    assert [(type(v), v) for v in seen] == [(type(v), v) for v in values]
    again = open_study(task, tmp_path)
    assert [(type(t.params["x"]), t.params["x"]) for t in again.trials] == [(type(v), v) for v in values]


def test_floats_come_out_on_their_steps(small_grid: Any, tmp_path: Path) -> None:
    engine = {"kind": "command", "command": "server {port}"}
    parameters = {"x": {"type": "float", "low": 0.1, "high": 0.95, "step": 0.1}}
    study = open_study(small_grid(engine=engine, model="m", parameters=parameters, rules=[]), tmp_path)
    seen = []
    while (trial := study.ask()) is not None:
        seen.append(study.tell(completed(trial, 1.0)).params["x"])
    assert seen == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


# Interruptions


def test_a_trial_whose_record_was_kept_before_the_crash_is_kept_whole(
    make_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(limits=["ttft_p99_s <= 0.5"])
    study = open_study(task, tmp_path)
    asked(study)
    trial = completed(asked(study), 42.0, violation=-0.1)

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(study, "_close", crash)
        study.tell(trial)
    again = open_study(task, tmp_path)
    assert "trial 1 had ended and is kept" in again.settle()
    assert again.trials[1] == trial
    assert again.best == trial
    frozen = again._study.get_trials()[1]
    assert frozen.state is OptunaState.COMPLETE
    assert frozen.constraints == {"ttft_p99_s <= 0.5": -0.1}


def test_a_crash_between_the_constraints_and_the_value_is_settled_too(
    make_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(limits=["ttft_p99_s <= 0.5"], budget={"baseline": False})
    study = open_study(task, tmp_path)
    trial = completed(asked(study), 42.0, violation=0.1)

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(study._study, "tell", crash)
        study.tell(trial)
    again = open_study(task, tmp_path)
    again.settle()
    assert again.trials == (trial,)
    assert again.best is None
    assert again._study.get_trials()[0].constraints == {"ttft_p99_s <= 0.5": 0.1}


def test_interrupted_trials_are_taken_up_under_their_own_number_and_given_up_after_three(
    make_task: Any, tmp_path: Path
) -> None:
    task = make_task(budget={"baseline": False})
    first = asked(open_study(task, tmp_path))
    for attempt in range(2, MAX_ATTEMPTS + 1):
        study = open_study(task, tmp_path)
        assert study.settle() == ["trial 0 was interrupted and is tried again"]
        again = asked(study)
        assert (again.number, again.params, again.attempts) == (0, first.params, attempt)
    study = open_study(task, tmp_path)
    assert "trial 0 is given up" in study.settle()[0]
    [given_up] = study.trials
    assert given_up.state is TrialState.FAILED
    assert given_up.failure is not None
    assert given_up.failure.kind is FailureKind.INTERRUPTED
    assert asked(study).number == 1
    assert open_study(task, tmp_path).trials[0] == given_up


def test_an_interrupted_baseline_is_still_the_baseline(make_task: Any, tmp_path: Path) -> None:
    task = make_task()
    assert asked(open_study(task, tmp_path)).baseline
    study = open_study(task, tmp_path)
    study.settle()
    again = asked(study)
    assert (again.number, again.baseline, again.attempts) == (0, True, 2)
    assert not asked(study).baseline


def test_a_configuration_enqueued_before_the_crash_is_not_lost(small_grid: Any, tmp_path: Path) -> None:
    task = small_grid()
    study = open_study(task, tmp_path)
    # The crash comes between enqueueing a point and asking for it.
    study._study.enqueue_trial({"threads": 1, "parallel": 1})
    again = open_study(task, tmp_path)
    again.settle()
    seen = []
    while (trial := again.ask()) is not None:
        assert trial.attempts == 1
        seen.append(point_key(again.tell(completed(trial, 1.0)).params))
    assert len(seen) == len(set(seen)) == 5


def test_a_trial_interrupted_before_it_had_parameters_is_put_aside(make_task: Any, tmp_path: Path) -> None:
    task = make_task(budget={"baseline": False})
    study = open_study(task, tmp_path)
    study._study.ask()
    again = open_study(task, tmp_path)
    again.settle()
    assert again.trials[0].state is TrialState.STOPPED
    assert asked(again).number == 1
    assert again._study.get_trials()[0].state is OptunaState.FAIL


def test_stopped_configurations_may_come_again(small_grid: Any, tmp_path: Path) -> None:
    task = small_grid()
    study = open_study(task, tmp_path)
    stopped = study.tell(asked(study).with_(state=TrialState.STOPPED))
    again = open_study(task, tmp_path)
    again.settle()
    assert again.num_finished == 0
    trial = asked(again)
    assert trial.params == stopped.params
    assert trial.number == 1


# What is best


def test_limits_are_constraints_and_what_breaks_one_is_never_best(make_task: Any, tmp_path: Path) -> None:
    task = make_task(limits=["ttft_p99_s <= 0.5"], budget={"baseline": False})
    study = open_study(task, tmp_path)
    study.tell(completed(asked(study), 100, violation=0.25))
    assert study.best is None
    keeps = study.tell(completed(asked(study), 10, violation=0.0))
    assert study.best == keeps
    frozen = study._study.get_trials()
    assert [t.constraints for t in frozen] == [{"ttft_p99_s <= 0.5": 0.25}, {"ttft_p99_s <= 0.5": 0.0}]
    assert study._study.best_trial.number == keeps.number
    assert study._study.direction is optuna.study.StudyDirection.MAXIMIZE


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["value", "limit"])
def test_what_is_no_finite_number_is_kept_as_a_failure(
    make_task: Any, tmp_path: Path, value: float, where: str
) -> None:
    task = make_task(limits=["ttft_p99_s <= 0.5"], budget={"baseline": False})
    study = open_study(task, tmp_path)
    trial = asked(study)
    told = completed(trial, value, violation=0.0) if where == "value" else completed(trial, 1.0, violation=value)
    kept = study.tell(told)
    assert kept.state is TrialState.FAILED
    assert kept.failure is not None
    assert kept.failure.kind is FailureKind.MEASUREMENT
    assert study.best is None
    assert study.trials == (kept,)
    assert open_study(task, tmp_path).trials[0].state is TrialState.FAILED


def test_the_results_have_the_shape_that_scripts_read(make_task: Any, tmp_path: Path) -> None:
    task = make_task(limits=["ttft_p99_s <= 0.5"])
    study = open_study(task, tmp_path)
    empty = study.results(state="starting", elapsed_s=0.0, command=None)
    assert (empty["trials"], empty["best"]) == ([], None)
    study.tell(completed(asked(study), 10, violation=-0.1))
    study.tell(failed(asked(study)))
    results = study.results(state="finished", elapsed_s=1.23456, command="server --port 1")
    assert set(results) == {"study", "task", "state", "trials", "best", "elapsed_s", "fingerprints", "edits"}
    assert results["elapsed_s"] == 1.235
    assert results["fingerprints"][results["trials"][0]["fingerprint"]] == {"host": "here", "seed": 0}
    assert Task.parse(results["task"]) == task
    wanted = {"number", "state", "params", "values", "limits", "measurements", "failure", "seconds"}
    assert all(wanted <= set(trial) for trial in results["trials"])
    assert results["trials"][1]["failure"]["log_lines"] == ["line one", "line two"]
    assert results["best"] == {"number": 0, "params": {}, "values": {FIGURE: 10}, "command": "server --port 1"}


# Storages


def test_a_storage_by_url_keeps_the_trials_and_the_folder_knows_it(make_task: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'team.db'}"
    task = make_task()
    study = open_study(task, tmp_path / "study", storage=url)
    study.tell(completed(asked(study), 1.0))
    assert not (tmp_path / "study" / "study.db").exists()
    assert open_study(task, tmp_path / "study").trials == study.trials
    with pytest.raises(StudyMismatchError, match=r"team\.db"):
        open_study(task, tmp_path / "study", storage=f"sqlite:///{tmp_path / 'other.db'}")


def test_two_studies_of_one_name_share_a_storage_without_mixing(make_task: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'team.db'}"
    one, other = (open_study(make_task(), tmp_path / name, storage=url) for name in ("one", "other"))
    one.tell(completed(asked(one), 1.0))
    assert other.trials == ()
    assert one.id != other.id


@pytest.mark.parametrize(
    "url", ["nonsense", "sqlite:////no/such/folder/x.db", "oracle://u:hidden-word@host/db", "mysql+nodriver://x/y"]
)
def test_a_storage_that_does_not_work_is_one_line_and_may_be_exchanged(
    make_task: Any, tmp_path: Path, url: str
) -> None:
    task = make_task()
    with pytest.raises(StudyError) as caught:
        open_study(task, tmp_path, storage=url)
    assert "\n" not in str(caught.value)
    assert "hidden-word" not in str(caught.value)
    # A slip of the pen does not spoil the folder.
    assert open_study(task, tmp_path).trials == ()


def test_a_database_that_is_none_is_one_line(make_task: Any, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"this is no database, " * 100)
    with pytest.raises(StudyError) as caught:
        open_study(make_task(), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_sampler_option_that_optuna_does_not_take_names_the_field(make_task: Any, tmp_path: Path) -> None:
    task = make_task(strategy={"sampler": "tpe", "options": {"n_startup": 3}})
    with pytest.raises((TaskError, SetupError), match=r"strategy\.options"):
        open_study(task, tmp_path)
    assert not (tmp_path / "study.json").exists()
