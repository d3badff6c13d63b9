"""Ask and tell over one task, and what survives of it."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState as OptunaState

import autotune_nb as at
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
from autotune_nb.runner.proposals import Proposals
from autotune_nb.study import Study, StudyFolder, trial_from_results
from autotune_nb.study._storage import sql_engine
from autotune_nb.study.steering import Edit, ban_edit, budget_edit, enqueue_edit, free_edit, narrow_edit, pin_edit
from autotune_nb.study.study import MAX_ATTEMPTS
from autotune_nb.task.space import Point, point_key
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Score
from autotune_nb.trial.trial import Trial, TrialState
from tests.strategies import MIXED_SPACE
from tests.stubs import open_study
from tests.study.test_steering import GRID, ReferenceSteering, edits, task_of, value_of

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


def queue_of(study: Study) -> list[Point]:
    """The enqueued configurations that were not tried yet, as a handle has them."""
    return [point for _, point in study.steering.pending(study.trial_numbers_by_edit)]


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
    assert [t.number for t in study.trials if t.baseline and t.state is TrialState.COMPLETE] == [0]


def test_a_reopened_study_has_equal_trials_and_goes_on_after_them(make_task: Any, tmp_path: Path) -> None:
    task = make_task(budget={"baseline": True, "trials": 9})
    study = open_study(task, tmp_path)
    told = [
        study.tell(completed(asked(study), 10)),
        study.tell(failed(asked(study))),
        study.tell(completed(asked(study), 30, violation=-0.25)),
        study.tell(asked(study).with_(state=TrialState.STOPPED)),
    ]
    study.save_elapsed(12.5)
    again = open_study(task, tmp_path)
    assert list(again.trials) == told
    assert again.recover() == []
    assert list(again.trials) == told
    assert again.best == told[2]
    assert again.num_finished == 3
    assert [trial.number for trial in again.ended] == [trial.number for trial in study.ended] == [0, 1, 2]
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
    StudyFolder(tmp_path).ensure_metadata(None)
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
    again.recover()
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
        patch.setattr(study._store, "finish", crash)
        study.tell(trial)
    again = open_study(task, tmp_path)
    assert "trial 1 had ended and is stored" in again.recover()
    assert again.trials[1] == trial
    assert again.best == trial
    frozen = again._study.get_trials()[1]
    assert frozen.state is OptunaState.COMPLETE
    assert frozen.constraints == {"ttft_p99_s <= 0.5": -0.2}


def test_a_crash_between_the_constraints_and_the_value_is_settled_too(
    make_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(limits=["ttft_p99_s <= 0.5"], budget={"baseline": False})
    study = open_study(task, tmp_path)
    trial = completed(asked(study), 42.0, violation=0.1)

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(study._study._storage, "set_trial_state_values", crash)
        study.tell(trial)
    again = open_study(task, tmp_path)
    again.recover()
    assert again.trials == (trial,)
    assert again.best is None
    assert again._study.get_trials()[0].constraints == {"ttft_p99_s <= 0.5": 0.2}


def test_interrupted_trials_are_taken_up_under_their_own_number_and_given_up_after_three(
    make_task: Any, tmp_path: Path
) -> None:
    task = make_task(budget={"baseline": False})
    first = asked(open_study(task, tmp_path))
    for attempt in range(2, MAX_ATTEMPTS + 1):
        study = open_study(task, tmp_path)
        assert study.recover() == ["trial 0 was interrupted and is retried"]
        again = asked(study)
        assert (again.number, again.params, again.attempts) == (0, first.params, attempt)
    study = open_study(task, tmp_path)
    assert "trial 0 is not retried" in study.recover()[0]
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
    study.recover()
    again = asked(study)
    assert (again.number, again.baseline, again.attempts) == (0, True, 2)
    assert not asked(study).baseline


def test_a_configuration_enqueued_before_the_crash_is_not_lost(small_grid: Any, tmp_path: Path) -> None:
    task = small_grid()
    study = open_study(task, tmp_path)
    # The crash comes between enqueueing a point and asking for it.
    study._study.enqueue_trial({"threads": 1, "parallel": 1})
    again = open_study(task, tmp_path)
    again.recover()
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
    again.recover()
    assert again.trials[0].state is TrialState.STOPPED
    assert asked(again).number == 1
    assert again._study.get_trials()[0].state is OptunaState.FAIL


def test_stopped_configurations_may_come_again(small_grid: Any, tmp_path: Path) -> None:
    task = small_grid()
    study = open_study(task, tmp_path)
    stopped = study.tell(asked(study).with_(state=TrialState.STOPPED))
    again = open_study(task, tmp_path)
    again.recover()
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
    # As a share of the bound.
    assert [t.constraints for t in frozen] == [{"ttft_p99_s <= 0.5": 0.5}, {"ttft_p99_s <= 0.5": 0.0}]
    assert study._study.best_trial.number == keeps.number
    assert study._study.direction is optuna.study.StudyDirection.MAXIMIZE


def test_a_cut_trial_is_pruned_keeps_what_it_measured_and_is_never_best(make_task: Any, tmp_path: Path) -> None:
    task = make_task(limits=["ttft_p99_s <= 0.5"], budget={"baseline": False})
    study = open_study(task, tmp_path)
    whole = study.tell(completed(asked(study), 10, violation=-0.1))
    cut = completed(asked(study), 99, violation=-0.1).with_(state=TrialState.CUT, cut_reason="slower than trial 0")
    study.tell(cut)
    study.add([cut.with_(number=2)])
    again = open_study(task, tmp_path)
    assert again.trials == study.trials
    assert again.trials[1] == cut
    assert again.best == whole
    assert again.num_finished == 3
    frozen = again._study.get_trials()
    assert [t.state for t in frozen] == [OptunaState.COMPLETE, OptunaState.PRUNED, OptunaState.PRUNED]
    assert [t.value for t in frozen] == [10, 99, 99]
    assert frozen[1].constraints == frozen[2].constraints == {"ttft_p99_s <= 0.5": -0.2}
    assert again._study.best_trial.number == 0
    results = study.results(state="finished", elapsed_s=1.0)
    assert results["trials"][1]["cut_reason"] == "slower than trial 0"
    assert [trial_from_results(one, results["fingerprints"]) for one in results["trials"]] == list(study.trials)


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
    empty = study.results(state="starting", elapsed_s=0.0)
    assert (empty["trials"], empty["best"]) == ([], None)
    study.tell(completed(asked(study), 10, violation=-0.1))
    study.tell(failed(asked(study)))
    results = study.results(state="finished", elapsed_s=1.23456, command=lambda _best: "server --port 1")
    assert set(results) == {
        *("study", "task", "state", "trials", "best", "verdict", "elapsed_s", "end_reason", "fingerprints", "edits"),
    }
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
    "url",
    [
        "nonsense",
        "sqlite://",
        "sqlite:////no/such/folder/x.db",
        "oracle://u:hidden-word@host/db",
        "postgres://u:hidden-word@host/db",
        "mysql+nodriver://x/y",
    ],
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


RECORD = "UPDATE trial_user_attributes SET value_json = CASE key WHEN 'record' THEN {} ELSE value_json END"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE study_user_attributes SET value_json = '[1]' WHERE key = 'elapsed_s'",
        "UPDATE study_user_attributes SET value_json = '-1' WHERE key = 'elapsed_s'",
        "UPDATE study_user_attributes SET value_json = '{' WHERE key = 'elapsed_s'",
        "UPDATE trial_params SET param_value = 1e9",
        "UPDATE trial_params SET distribution_json = '{}'",
        RECORD.format("'5'"),
        RECORD.format("json_set(value_json, '$.seconds', 'long')"),
        RECORD.format("json_set(value_json, '$.seconds.deploy', 'x')"),
        RECORD.format("json_set(value_json, '$.measurements', 5)"),
        RECORD.format("json_set(value_json, '$.score.values', 'x')"),
        "UPDATE trial_user_attributes SET value_json = '[1]' WHERE key = 'attempts'",
    ],
)
def test_a_database_that_was_edited_is_said_to_be_damaged(make_task: Any, tmp_path: Path, damage: str) -> None:
    study = open_study(make_task(parameters={"threads": [1, 2, 4]}, budget={"baseline": False}), tmp_path)
    trial = asked(study)
    study._study._storage.set_trial_user_attr(study._study.trials[0]._trial_id, "attempts", 1)
    study.tell(completed(trial, 10.0))
    study.save_elapsed(3.0)
    study.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as database:
        assert database.execute(damage).rowcount >= 1
        database.commit()
    (tmp_path / "results.json").unlink(missing_ok=True)
    with pytest.raises(StudyError, match=r"study\.db is damaged") as caught:
        at.report(tmp_path).to_html()
    assert "\n" not in str(caught.value)
    with pytest.raises(StudyError, match=r"study\.db is damaged"):
        open_study(study.task, tmp_path)


def test_a_sampler_option_that_optuna_does_not_take_names_the_field(make_task: Any, tmp_path: Path) -> None:
    task = make_task(strategy={"sampler": "tpe", "options": {"n_startup": 3}})
    with pytest.raises((TaskError, SetupError), match=r"strategy\.options"):
        open_study(task, tmp_path)
    assert not (tmp_path / "study.json").exists()


# Steering


class MemoryStudy:
    """A study in memory, reopened as often as a test likes."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._kept = optuna.create_study(direction=task.goal.direction)
        self._kept.set_user_attr("autotune_nb_id", "kept")
        self.study = self.open()

    def open(self) -> Study:
        """As another process sees it."""
        # Nothing is written: the folder stands for its name.
        propose = Proposals.of(self.task, engine_for(self.task))
        study = Study(self.task, self.task.space, StudyFolder("/nowhere"), self._kept, propose=propose)
        self.study = study
        study.recover()
        return study


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
@given(data=st.data())
def test_whatever_edits_are_accepted_hold_for_every_trial_asked_afterwards(sampler: str, data: st.DataObject) -> None:
    mixed = GRID if sampler == "grid" else data.draw(st.sampled_from([GRID, MIXED_SPACE]))
    kept = MemoryStudy(task_of(**mixed, strategy={"sampler": sampler, "seed": data.draw(st.integers(0, 9))}))
    accepted: list[Edit] = []
    enqueued: list[Edit] = []
    space = kept.task.space
    point = st.fixed_dictionaries({name: value_of(p) for name, p in space.parameters.items()})
    for _ in range(data.draw(st.integers(3, 10))):
        study = kept.study
        step = data.draw(st.sampled_from(["ask", "ask", "edit", "edit", "enqueue", "reopen", "killed"]))
        if step == "reopen":
            kept.open()
        elif step in ("edit", "enqueue"):
            edit = data.draw(edits(space)) if step == "edit" else enqueue_edit(data.draw(point))
            before = (study.steering.edits, dict(study._study.user_attrs))
            # Made here, or by another process.
            where = data.draw(st.sampled_from([study, Study(kept.task, space, study.folder, study._study)]))
            try:
                where.steer(edit)
            except TaskError:
                assert (study.steering.edits, dict(study._study.user_attrs)) == before
                continue
            assert [e.id for e in study.apply_new_edits()] == ([] if where is study else [edit.id])
            assert study.steering.edits[-1].id == edit.id
            (accepted if step == "edit" else enqueued).append(edit)
        elif step == "killed":
            killed(study, data.draw(st.integers(0, 6)))
            kept.open()
        else:
            plainly = ReferenceSteering(accepted)
            again = [
                t for t in study.trials if t.state is TrialState.INTERRUPTED and plainly.allows_all(dict(t.params))
            ]
            ready = [e for e in waiting(study, enqueued) if plainly.allows_all(dict(e.params or {}))]
            tried = {point_key(t.params) for t in study.trials if t.state is not TrialState.STOPPED}
            trial = study.ask()
            if trial is None:
                assert not again
                assert not ready
                continue
            params = dict(trial.params)
            assert plainly.allows_all(params), params
            assert space.check(params) == params
            if again:
                assert trial.number == again[0].number
            elif ready:
                assert params == ready[0].params
            else:
                assert point_key(params) not in tried
            how = data.draw(st.sampled_from(["complete", "complete", "failed", "stopped", "killed"]))
            if how == "killed":
                kept.open()
            elif how == "stopped":
                study.tell(trial.with_(state=TrialState.STOPPED))
            else:
                study.tell(completed(trial, 1.0) if how == "complete" else failed(trial))
    # Everything that was enqueued is tried in the end, each once.
    for name in space.parameters:
        # Refused where no edit restricts it.
        with contextlib.suppress(TaskError):
            kept.study.steer(free_edit(name))
    while queue_of(kept.study) or any(t.state is TrialState.INTERRUPTED for t in kept.study.trials):
        kept.study.tell(completed(asked(kept.study), 1.0))
    assert waiting(kept.study, enqueued) == []
    done = [
        kept.study._enqueued[t.number]
        for t in kept.study.trials
        if t.number in kept.study._enqueued and t.state.finished
    ]
    assert sorted(done) == sorted(edit.id for edit in enqueued)
    assert [t.params for t in kept.open().trials] == [t.params for t in kept.study.trials]


def waiting(study: Study, enqueued: list[Edit]) -> list[Edit]:
    """Those whose configuration no trial has or had, unless it was stopped."""
    stopped = {t.number for t in study.trials if t.state is TrialState.STOPPED}
    frozen = study._study.get_trials(deepcopy=False)
    begun = {t.user_attrs.get("enqueued") for t in frozen if t.number not in stopped}
    left = [edit for edit in enqueued if edit.id not in begun]
    assert [dict(edit.params or {}) for edit in left] == queue_of(study)
    return left


def killed(study: Study, after: int) -> None:
    """The process ends in the middle of asking, after so many things were written."""
    storage = study._study._storage
    left = after

    def dying(name: str) -> Callable[..., Any]:
        real = getattr(storage, name)

        def write(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return real(*args, **kwargs)

        return write

    writing = ["create_new_trial", "set_trial_param", "set_trial_state_values", "set_trial_user_attr"]
    with pytest.MonkeyPatch.context() as patch:
        for name in writing:
            patch.setattr(storage, name, dying(name))
        try:
            study.ask()
        except Killed:
            return


def rest(study: Study) -> list[dict[str, Any]]:
    """What it still asks for, until it has nothing left."""
    points = []
    while (trial := study.ask()) is not None:
        points.append(dict(study.tell(completed(trial, 1.0)).params))
        assert len(points) < 200, "it never ends"
    assert study.exhausted
    return points


def test_what_is_enqueued_comes_first_each_once_in_its_order_also_after_a_kill(make_task: Any, tmp_path: Path) -> None:
    task = make_task(budget={"baseline": False})
    study = open_study(task, tmp_path)
    points = [{"threads": 1 + n % 2, "batch_size": 64 + n} for n in range(4)]
    for point in points:
        study.steer(enqueue_edit(point))
    assert queue_of(study) == points
    first = study.tell(completed(asked(study), 1.0))
    asked(study)
    # Killed while it tried the second one.
    again = open_study(task, tmp_path)
    again.recover()
    assert queue_of(again) == points[2:]
    seen = [dict(again.tell(completed(asked(again), 1.0)).params) for _ in range(3)]
    assert [dict(first.params), *seen] == points
    assert queue_of(again) == []
    assert dict(asked(again).params) not in points


@pytest.mark.parametrize("written", range(6))
def test_what_is_enqueued_is_not_lost_where_the_process_ends_in_the_middle_of_asking(
    written: int, make_task: Any
) -> None:
    kept = MemoryStudy(make_task(budget={"baseline": False}))
    points = [{"threads": 1, "batch_size": 77}, {"threads": 2, "batch_size": 78}]
    for point in points:
        kept.study.steer(enqueue_edit(point))
    killed(kept.study, written)
    study = kept.open()
    seen = [dict(study.tell(completed(asked(study), 1.0)).params) for _ in range(3)]
    assert seen[:2] == points
    assert seen[2] not in points


def test_what_is_enqueued_comes_again_where_its_trial_was_stopped(make_task: Any, tmp_path: Path) -> None:
    task = make_task(budget={"baseline": False})
    study = open_study(task, tmp_path)
    study.steer(enqueue_edit({"threads": 2, "batch_size": 77}))
    study.tell(asked(study).with_(state=TrialState.STOPPED))
    again = open_study(task, tmp_path)
    again.recover()
    assert queue_of(again) == [{"threads": 2, "batch_size": 77}]
    trial = again.tell(completed(asked(again), 1.0))
    assert (trial.number, dict(trial.params)) == (1, {"threads": 2, "batch_size": 77})
    assert queue_of(again) == queue_of(open_study(task, tmp_path)) == []


def test_what_is_enqueued_is_skipped_while_a_later_edit_forbids_it(make_task: Any, tmp_path: Path) -> None:
    study = open_study(make_task(budget={"baseline": False}), tmp_path)
    study.steer(enqueue_edit({"threads": 1, "batch_size": 77}))
    study.steer(enqueue_edit({"threads": 2, "batch_size": 78}))
    study.steer(ban_edit("threads", 1))
    assert dict(asked(study).params) == {"threads": 2, "batch_size": 78}
    assert asked(study).params["threads"] == 2
    assert queue_of(study) == [{"threads": 1, "batch_size": 77}]
    study.steer(free_edit("threads"))
    assert dict(asked(study).params) == {"threads": 1, "batch_size": 77}
    assert queue_of(study) == []


def test_a_trial_that_was_interrupted_waits_while_an_edit_forbids_it(make_task: Any, tmp_path: Path) -> None:
    task = make_task(budget={"baseline": False})
    study = open_study(task, tmp_path)
    study.steer(enqueue_edit({"threads": 1, "batch_size": 77}))
    asked(study)
    again = open_study(task, tmp_path)
    again.steer(ban_edit("threads", 1))
    assert again.recover() == ["trial 0 was interrupted and waits: an edit excludes it"]
    other = asked(again)
    assert (other.number, other.params["threads"]) == (1, 2)
    again.steer(free_edit("threads"))
    back = asked(again)
    assert (back.number, dict(back.params), back.attempts) == (0, {"threads": 1, "batch_size": 77}, 2)


def test_a_baseline_is_measured_whatever_is_pinned(make_task: Any, tmp_path: Path) -> None:
    task = make_task()
    study = open_study(task, tmp_path)
    study.steer(pin_edit("threads", 2))
    assert asked(study).baseline
    again = open_study(task, tmp_path)
    again.recover()
    assert asked(again).baseline
    assert asked(again).params["threads"] == 2


@pytest.mark.parametrize("sampler", ["grid", "tpe", "random"])
def test_a_small_space_with_edits_is_tried_exactly_as_far_as_it_is_left(
    sampler: str, make_task: Any, tmp_path: Path
) -> None:
    parameters = {"threads": [1, 2, 3], "parallel": [1, 2, 4], "on": {"type": "bool"}}
    task = make_task(parameters=parameters, rules=["threads <= parallel"], strategy=sampler, budget={"baseline": False})
    study = open_study(task, tmp_path)
    # Two that are tried before an edit takes them out, and one that stays.
    for point in ({"threads": 1, "parallel": 1, "on": True}, {"threads": 1, "parallel": 4, "on": False}):
        study.steer(enqueue_edit(point))
        study.tell(completed(asked(study), 1.0))
    study.steer(ban_edit("parallel", 1))
    study.steer(pin_edit("on", True))
    wanted = [{"threads": t, "parallel": p, "on": True} for t, p in ((1, 2), (1, 4), (2, 2), (2, 4), (3, 4))]
    points = rest(study)
    assert sorted(map(point_key, points)) == sorted(map(point_key, wanted))
    # Freed, the rest of the space is tried too.
    study.steer(free_edit("on"))
    study.steer(free_edit("parallel"))
    more = rest(study)
    assert len(more) == 12 - 5 - 2
    assert len({point_key(t.params) for t in study.trials}) == 12


def test_a_grid_with_edits_goes_on_in_its_order(small_grid: Any, tmp_path: Path) -> None:
    study = open_study(small_grid(), tmp_path)
    study.tell(completed(asked(study), 1.0))
    study.steer(enqueue_edit({"threads": 2, "parallel": 4}))
    study.steer(ban_edit("parallel", 2))
    assert rest(study) == [{"threads": 2, "parallel": 4}, {"threads": 1, "parallel": 4}]
    study.steer(free_edit("parallel"))
    assert rest(study) == [{"threads": 1, "parallel": 2}, {"threads": 2, "parallel": 2}]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_an_endless_space_that_is_pinned_to_a_few_points_ends(sampler: str, make_task: Any, tmp_path: Path) -> None:
    parameters = {"threads": [1, 2], "x": {"type": "float", "low": 0, "high": 1}, "n": {"low": 1, "high": 2**40}}
    study = open_study(make_task(parameters=parameters, strategy=sampler, budget={"baseline": False}), tmp_path)
    study.tell(completed(asked(study), 1.0))
    assert not study.exhausted
    # A whole number, as a person writes it.
    study.steer(pin_edit("x", 1))
    study.steer(narrow_edit("n", 5, 6.5))
    points = rest(study)
    assert sorted((p["threads"], p["n"]) for p in points) == [(1, 5), (1, 6), (2, 5), (2, 6)]
    assert {type(p["x"]) for p in points} == {float}


@pytest.mark.parametrize("parameters", [{"threads": [1, 2]}, {"threads": [1, 2], "x": {"low": 0.0, "high": 1.0}}])
@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_edits_of_two_processes_that_leave_nothing_together_end_the_study_in_good_order(
    parameters: dict[str, Any], sampler: str, make_task: Any, tmp_path: Path
) -> None:
    if sampler == "grid" and len(parameters) > 1:
        parameters = {**parameters, "x": {"low": 0.0, "high": 1.0, "step": 0.5}}
    task = make_task(parameters=parameters, strategy=sampler, budget={"baseline": False})
    one, other = open_study(task, tmp_path), open_study(task, tmp_path)
    one.steer(ban_edit("threads", 1))
    other.steer(ban_edit("threads", 2))
    assert len(one.apply_new_edits()) == len(other.apply_new_edits()) == 1
    assert one.ask() is None
    assert one.exhausted
    one.steer(free_edit("threads"))
    assert not one.exhausted
    assert one.ask() is not None


def test_edits_that_break_a_rule_together_end_an_endless_study(make_task: Any, tmp_path: Path) -> None:
    parameters = {"a": {"low": 0.0, "high": 1.0}, "b": {"low": 0.0, "high": 1.0}}
    task = make_task(parameters=parameters, rules=["a <= b"], budget={"baseline": False})
    one, other = open_study(task, tmp_path), open_study(task, tmp_path)
    one.steer(narrow_edit("a", 0.8))
    other.steer(narrow_edit("b", high=0.2))
    one.apply_new_edits()
    assert one.ask() is None


def test_an_edit_that_is_refused_changes_nothing(make_task: Any, tmp_path: Path) -> None:
    task = make_task()
    study = open_study(task, tmp_path)
    study.steer(ban_edit("threads", 1))
    before = dict(study._study.user_attrs)
    for edit in (ban_edit("threads", 2), ban_edit("thread", 1), enqueue_edit({"threads": 1, "batch_size": 64})):
        with pytest.raises(TaskError):
            study.steer(edit)
    assert dict(study._study.user_attrs) == before
    assert [e.text for e in study.steering.edits] == ["ban threads = 1"]


def test_an_edit_that_cannot_be_kept_does_not_count(
    make_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(make_task(), tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StudyError, match="No space left"):
        patch.setattr(study._study, "set_user_attr", full)
        study.steer(ban_edit("threads", 1))
    assert study.steering.edits == ()


def test_the_edits_of_every_process_are_kept_and_taken_by_the_others(make_task: Any, tmp_path: Path) -> None:
    task = make_task(budget={"baseline": False, "trials": 5})
    one, other = open_study(task, tmp_path), open_study(task, tmp_path)
    one.steer(ban_edit("threads", 1))
    assert other.apply_new_edits() == list(one.steering.edits)
    assert other.apply_new_edits() == []
    other.steer(budget_edit(task, trials=9))
    assert [e.text for e in one.apply_new_edits()] == ["budget: trials 9"]
    assert one.steering.num_trials == 9
    again = open_study(task, tmp_path)
    assert again.steering.edits == one.steering.edits == other.steering.edits
    assert asked(again).params["threads"] == 2


def test_a_fingerprint_is_kept_once_however_many_trials_have_it(make_task: Any, tmp_path: Path) -> None:
    task = make_task(budget={"baseline": False})
    study = open_study(task, tmp_path)
    shared = {"host": "here", "cpu": "x" * 500}
    told = [study.tell(completed(asked(study), 1.0).with_(fingerprint=dict(shared))) for _ in range(3)]
    told.append(study.tell(completed(asked(study), 1.0).with_(fingerprint={"host": "elsewhere"})))
    told.append(study.tell(failed(asked(study))))
    text = json.dumps([dict(study._study.user_attrs), [t.user_attrs for t in study._study.get_trials()]])
    assert text.count("x" * 500) == 1
    assert open_study(task, tmp_path).trials == tuple(told)
    # Another process's is found where its trial is.
    view = Study.view(task, task.space, StudyFolder(tmp_path))
    late = study.tell(completed(asked(study), 1.0).with_(fingerprint={"host": "late"}))
    view.reload()
    assert view.trials[-1] == late


def test_a_record_that_holds_its_fingerprint_itself_is_in_the_results_as_any_other(
    make_task: Any, tmp_path: Path
) -> None:
    task = make_task(budget={"baseline": False})
    study = open_study(task, tmp_path)
    trial = study.tell(completed(asked(study), 1.0))
    # As an earlier version kept it.
    frozen = study._study.get_trials()[0]
    storage = study._study._storage
    record = {**frozen.user_attrs["record"], "fingerprint": {"host": "old"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(storage._backend), "check_trial_is_updatable", lambda *_: None)  # type: ignore[attr-defined]
        storage._backend.set_trial_user_attr(frozen._trial_id, "record", record)  # type: ignore[attr-defined]
    again = open_study(task, tmp_path)
    assert again.trials == (trial.with_(fingerprint={"host": "old"}),)
    results = again.results(state="finished", elapsed_s=1.0)
    assert trial_from_results(results["trials"][0], results["fingerprints"]) == again.trials[0]


@given(data=st.data())
def test_a_trial_out_of_the_results_equals_the_one_that_was_told(data: st.DataObject) -> None:
    kept = MemoryStudy(task_of(**MIXED_SPACE))
    study = kept.study
    number = st.floats(0, 1e6, allow_nan=False)
    for _ in range(data.draw(st.integers(1, 3))):
        trial = asked(study)
        how = data.draw(st.sampled_from(["complete", "failed", "stopped", "running"]))
        if how == "running":
            continue
        levels = [Level("D(16,8)", 1), Level("D(16,8)", 2), Level("D(16,8)", 1, 4)]
        measured = tuple(
            Measurement(level, data.draw(number), 9, 8, 1, {FIGURE: data.draw(number)}, ("because",))
            for level in levels[: data.draw(st.integers(0, 3))]
        )
        level = data.draw(st.sampled_from([None, *(m.level for m in measured)]))
        text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=9)
        trial = trial.with_(
            measurements=measured,
            seconds={"deploy": round(data.draw(number), 3)},
            command=tuple(data.draw(st.lists(text, max_size=3))),
            fingerprint=data.draw(st.dictionaries(text, st.integers() | text | st.none(), max_size=2)),
        )
        if how == "complete":
            score = Score({FIGURE: data.draw(number)}, {"ttft_p99_s <= 0.5": data.draw(number)}, level)
            trial = trial.with_(state=TrialState.COMPLETE, score=score)
        elif how == "failed":
            failure = Failure(FailureKind.CRASH, "deploy", data.draw(text), (data.draw(text),), data.draw(text))
            trial = trial.with_(state=TrialState.FAILED, failure=failure)
        else:
            trial = trial.with_(state=TrialState.STOPPED)
        study.tell(trial)
    study.mark_interrupted()
    results = json.loads(json.dumps(study.results(state="stopped", elapsed_s=1.0)))
    read = tuple(trial_from_results(one, results["fingerprints"]) for one in results["trials"])
    assert read == study.trials
    assert kept.open().trials == read


def test_the_results_say_which_trial_tries_what_was_enqueued(make_task: Any, tmp_path: Path) -> None:
    study = open_study(make_task(budget={"baseline": False}), tmp_path)
    study.steer(enqueue_edit({"threads": 2, "batch_size": 77}))
    study.steer(enqueue_edit({"threads": 2, "batch_size": 77}))
    study.steer(ban_edit("threads", 1))
    study.tell(completed(asked(study), 1.0))
    told = study.results(state="running", elapsed_s=1.0)["edits"]
    assert [edit.get("trial") for edit in told] == [0, None, None]
    assert [edit["text"] for edit in told] == [edit.text for edit in study.steering.edits]
    assert [Edit.from_dict(edit) for edit in told] == list(study.steering.edits)


def test_ending_a_trial_takes_few_statements(make_task: Any, tmp_path: Path) -> None:
    """Optuna's own ``tell`` takes 30: over a network, or beside other workers, each is a wait."""
    study = open_study(make_task(limits=[]), tmp_path)
    study.tell(completed(asked(study), 1.0))
    trial, statements = asked(study), []
    engine = sql_engine(study._study._storage)
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda _, __, text, *___: statements.append(text))
    study.tell(completed(trial, 2.0))
    assert len(statements) <= 9
    assert [one.value for one in study._study.get_trials()] == [1.0, 2.0]
