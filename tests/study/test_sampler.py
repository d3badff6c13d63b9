"""Every sampler by name, held to the points that are allowed and not yet tried."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import optuna
import pytest

from autotune_nb.errors import SetupError
from autotune_nb.study import Study
from autotune_nb.study.steering import Edit, ban_edit, enqueue_edit, free_edit, narrow_edit, pin_edit
from autotune_nb.task.optuna_space import decode, distributions, encode
from autotune_nb.task.sections import SAMPLERS
from autotune_nb.task.space import SearchSpace, point_key
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState
from tests.strategies import MIXED_SPACE
from tests.stubs import open_study
from tests.study.test_study import asked, completed, failed

MIXED: dict[str, Any] = {**MIXED_SPACE, "limits": ["ttft_p99_s <= 0.5"]}
_NEEDS = {"gp": "torch", "cmaes": "cmaes", "qmc": "scipy"}
BUILDABLE = [
    # What it does otherwise than nsgaii is Optuna's.
    pytest.param(name, marks=pytest.mark.slow) if name == "nsgaiii" else name
    for name in SAMPLERS
    if name != "grid" and (name not in _NEEDS or importlib.util.find_spec(_NEEDS[name]))
]


def work(study: Study, count: int) -> list[Trial]:
    """Ask and tell; some fail, some break the limit."""
    trials = []
    for number in range(count):
        trial = asked(study)
        value = float(trial.params.get("a", 3)) * 2  # type: ignore[arg-type]
        good = completed(trial, value, violation=0.1 if number % 3 == 1 else -0.1)
        trials.append(study.tell(failed(trial) if number % 5 == 4 else good))
    return trials


def assert_allowed(task: Task, trials: list[Trial]) -> None:
    points = [trial.params for trial in trials if not trial.baseline]
    assert len({point_key(point) for point in points}) == len(points)
    for point in points:
        assert task.space.check(point) == point


@pytest.mark.parametrize("name", BUILDABLE)
def test_a_sampler_breaks_no_rule_and_repeats_nothing_beside_a_baseline(
    make_task: Any, tmp_path: Path, name: str
) -> None:
    task = make_task(**MIXED, strategy={"sampler": name, "seed": 5})
    trials = work(open_study(task, tmp_path), 9)
    trials += work(open_study(task, tmp_path), 6)
    assert trials[0].baseline
    assert len(trials) == 15
    assert_allowed(task, trials)


@pytest.mark.parametrize("name", sorted(_NEEDS))
def test_a_sampler_whose_package_is_missing_is_named(make_task: Any, tmp_path: Path, name: str) -> None:
    if importlib.util.find_spec(_NEEDS[name]):
        pytest.skip(f"{_NEEDS[name]} is installed")
    with pytest.raises(SetupError, match=f"'{name}'") as caught:
        open_study(make_task(**MIXED, strategy=name), tmp_path)
    assert caught.value.field == "strategy.sampler"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["random", "tpe", "nsgaii"])
def test_a_small_space_is_tried_whole_and_then_nothing_is_left(make_task: Any, tmp_path: Path, name: str) -> None:
    task = make_task(
        parameters={"threads": [1, 2], "parallel": [1, 2, 4]}, rules=["threads <= parallel"], strategy=name
    )
    study = open_study(task, tmp_path)
    trials = work(study, 6)
    assert_allowed(task, trials)
    assert study.ask() is None


def test_the_same_seed_asks_for_the_same_and_another_for_others(make_task: Any, tmp_path: Path) -> None:
    def points(seed: int, name: str) -> list[str]:
        task = make_task(**MIXED, strategy={"sampler": "tpe", "seed": seed})
        return [point_key(t.params) for t in work(open_study(task, tmp_path / name), 5)]

    assert points(1, "a") == points(1, "b") != points(2, "c")


def test_what_runs_now_is_not_asked_for_again(make_task: Any, tmp_path: Path) -> None:
    task = make_task(parameters={"threads": [1, 2]}, strategy="tpe", budget={"baseline": False})
    study = open_study(task, tmp_path)
    first, second = asked(study), asked(study)
    assert first.params != second.params
    assert study.ask() is None
    study.tell(first.with_(state=TrialState.STOPPED))
    third = study.ask()
    assert third is not None
    assert third.params == first.params


def test_a_narrow_rule_never_stalls_a_study(make_task: Any, tmp_path: Path) -> None:
    parameters = {name: {"type": "int", "low": 1, "high": 40} for name in ("a", "b")}
    engine = {"kind": "command", "command": "server {port}"}
    task = make_task(engine=engine, model="m", parameters=parameters, rules=["a == b"], budget={"baseline": False})
    study = open_study(task, tmp_path)
    assert_allowed(task, [study.tell(completed(asked(study), 1.0)) for _ in range(6)])


def test_every_value_of_a_space_fits_its_distribution(make_task: Any) -> None:
    space: SearchSpace = make_task(**MIXED).space
    found = distributions(space)
    for name, parameter in space.parameters.items():
        for value in parameter.grid() or [parameter.low, parameter.high]:  # type: ignore[union-attr]
            kept = encode(space, {name: value})[name]
            assert found[name]._contains(found[name].to_internal_repr(kept)), (name, value)
            assert decode(space, {name: kept}) == {name: value}
    with pytest.raises(ValueError, match='"z" is not a value of c'):
        encode(space, {"c": "z"})


# Edits


@pytest.mark.parametrize("name", BUILDABLE)
def test_a_sampler_keeps_to_what_edits_leave_and_goes_on_after_they_are_freed(
    make_task: Any, tmp_path: Path, name: str
) -> None:
    task = make_task(**MIXED, strategy={"sampler": name, "seed": 3}, budget={"baseline": False})
    study = open_study(task, tmp_path)
    work(study, 4)
    for edit in (
        narrow_edit("a", 2, 5),
        narrow_edit("g", 0.5, 2.0),
        ban_edit("b", 5, 8),
        narrow_edit("c", values=[None, {"k": 1}]),
        pin_edit("d", False),
    ):
        study.steer(edit)
    # The same, whoever goes on.
    steered = work(study, 4) + work(open_study(task, tmp_path), 4)
    for trial in steered:
        p = dict(trial.params)
        assert 2 <= p["a"] <= 5
        assert 0.5 <= p["g"] <= 2.0
        assert p["b"] not in (5, 8)
        assert p["c"] in (None, {"k": 1})
        assert p["d"] is False
    study = open_study(task, tmp_path)
    study.steer(enqueue_edit({**dict(steered[0].params), "g": 1.5}))
    study.steer(pin_edit("g", 3))
    pinned = work(study, 3)
    assert {trial.params["g"] for trial in pinned} == {3.0}
    study.steer(free_edit("g"))
    after = work(study, 2)
    assert after[0].params["g"] == 1.5
    assert_allowed(task, list(open_study(task, tmp_path).trials))
    for column in list(study.steering.restrictions):
        study.steer(free_edit(column))
    assert_allowed(task, [*study.trials, *work(study, 2)])


def test_edits_do_not_change_what_was_asked_before_them(make_task: Any, tmp_path: Path) -> None:
    def points(name: str, *edits: Edit) -> list[str]:
        task = make_task(**MIXED, strategy={"sampler": "tpe", "seed": 1}, budget={"baseline": False})
        study = open_study(task, tmp_path / name)
        trials = [point_key(t.params) for t in work(study, 3)]
        for edit in edits:
            study.steer(edit)
        return [*trials, *(point_key(t.params) for t in work(study, 3))]

    plain, again = points("a"), points("b", ban_edit("c", "x"), free_edit("c"))
    assert plain == again


def test_what_is_enqueued_asks_no_strategy(make_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(parameters={"threads": [1, 2, 3]}, strategy="random", budget={"baseline": False})
    study = open_study(task, tmp_path)
    study.steer(enqueue_edit({"threads": 2}))

    def refuse(*_: Any) -> Any:
        raise AssertionError("it was asked")

    monkeypatch.setattr(study, "_propose", refuse)
    assert asked(study).params == {"threads": 2}


def test_a_proposal_writes_its_trial_and_nothing_else(
    make_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(**MIXED, strategy="tpe", budget={"trials": 9, "baseline": False})
    study = open_study(task, tmp_path)
    work(study, 6)
    storage = study._study._storage
    created: list[int] = []
    create = storage.create_new_trial

    def counted(*args: Any) -> int:
        created.append(create(*args))
        return created[-1]

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was written")

    monkeypatch.setattr(storage, "create_new_trial", counted)
    for name in ("set_trial_param", "set_trial_system_attr", "set_trial_user_attr", "set_study_system_attr"):
        monkeypatch.setattr(storage, name, refuse)
    # Rules and tried points make the sampler propose several times.
    trials = [asked(study) for _ in range(3)]
    assert len(created) == 3
    stored = open_study(task, tmp_path)._study.get_trials()[-3:]
    assert [decode(task.space, one.params) for one in stored] == [dict(trial.params) for trial in trials]
    assert [one.system_attrs for one in stored] == [{}, {}, {}]


def test_optuna_and_its_dashboard_name_the_same_best(make_task: Any, tmp_path: Path) -> None:
    task = make_task(**MIXED, strategy="tpe", budget={"trials": 12})
    work(open_study(task, tmp_path), 12)
    study = open_study(task, tmp_path)
    best = study.best
    assert best is not None
    assert best.score is not None
    # As optuna-dashboard reads it: by the storage's URL and the study's name.
    read = optuna.load_study(study_name=study._study.study_name, storage=f"sqlite:///{study.folder.database}")
    assert (read.best_trial.number, read.best_trial.value) == (best.number, best.score.value)
    # And more than one trial that breaks a limit or failed has a better or no value.
    assert {t.state.name for t in read.get_trials()} == {"COMPLETE", "FAIL"}
    assert any(v > 0 for t in read.get_trials() for v in t.constraints.values())
