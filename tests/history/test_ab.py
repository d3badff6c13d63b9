"""A/B: A takes the place of the engine's default, B is the only other configuration, and both are confirmed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import StudyError, TaskError, UnknownNameError
from autotune_nb.history.ab import ab_task, configuration_of
from autotune_nb.runner.assembly import deployer_for
from autotune_nb.task.parameters import Value, parameter_name
from autotune_nb.task.task import Task
from tests.history.samples import repeated, sample_task
from tests.history.test_studies import call, keep
from tests.stubs import World

TASK = sample_task(engine={"kind": "vllm", "args": {"block_size": 16}}, rules=["max_num_seqs <= 4"])


def commands(task: Task, tmp_path: Path) -> list[list[str]]:
    """Return the flags of the default's command line and of the only other configuration's."""
    deployer = deployer_for(task, engine_for(task), study_label="", folder=tmp_path)
    points: list[dict[str, Value]] = [{}, *task.space.grid()]
    return [deployer.command(point) for point in points]


def test_each_has_its_own_flags_once_beside_those_of_the_task(tmp_path: Path) -> None:
    task = ab_task(TASK, {"max_num_seqs": 64, "max_model_len": 512}, {"max_num_seqs": 8, "max_model_len": 512})
    a, b = commands(task, tmp_path)
    for command, seqs in ((a, "64"), (b, "8")):
        assert command[command.index("--max-num-seqs") + 1] == seqs
        assert command.count("--max-num-seqs") == command.count("--max-model-len") == command.count("--block-size") == 1
    assert (task.budget.trials, task.confirm.rounds, task.rules) == (2, 5, [])


def test_what_one_of_them_leaves_out_is_as_the_task_or_the_engine_has_it(tmp_path: Path) -> None:
    a, b = commands(ab_task(TASK, {"block_size": 32}, {"max_num_seqs": 8}), tmp_path)
    assert ("32" in a, "--max-num-seqs" in a) == (True, False)
    assert b[b.index("--block-size") + 1] == "16"
    assert b[b.index("--max-num-seqs") + 1] == "8"
    # A is the default itself.
    a, b = commands(ab_task(TASK, {}, {"max_num_seqs": None, "block_size": 64}), tmp_path)
    assert (a[a.index("--block-size") + 1], b[b.index("--block-size") + 1]) == ("16", "64")
    # B is the default itself, whatever the engine's value is.
    a, b = commands(ab_task(TASK, {"max_num_seqs": 64, "x_unknown": 1}, {}), tmp_path)
    assert ("--max-num-seqs" in a, "--x-unknown" in a) == (True, True)
    assert ("--max-num-seqs" in b, "--x-unknown" in b, b[b.index("--block-size") + 1]) == (False, False, "16")
    with pytest.raises(TaskError, match="A and B are the same configuration"):
        ab_task(TASK, {"max_num_seqs": 8}, {"max_num_seqs": 8, "block_size": 16})


@pytest.mark.parametrize(
    ("name", "near"),
    [("max_num_seq", "max_num_seqs"), ("block_sise", "block_size"), ("max-num-seqz", "max_num_seqs")],
)
def test_a_misspelled_flag_is_refused_with_the_nearest(name: str, near: str) -> None:
    for a, b in (({"max_num_seqs": 4}, {name: 8}), ({name: 8}, {"max_num_seqs": 4})):
        with pytest.raises(
            UnknownNameError,
            match=f"configuration: unknown flag of vllm '{parameter_name(name)}'; did you mean '{near}'",
        ):
            ab_task(TASK, a, b)


def test_configurations_come_from_values_files_and_trials(tmp_path: Path) -> None:
    assert configuration_of("max_num_seqs=8,enforce_eager=true,dtype=half") == {
        "max_num_seqs": 8,
        "enforce_eager": True,
        "dtype": "half",
    }
    assert configuration_of("default") == {}
    for name, text in (("b.yaml", "max_num_seqs: 8"), ("b.json", '{"max_num_seqs": 8}')):
        (tmp_path / name).write_text(text)
        assert configuration_of(str(tmp_path / name)) == {"max_num_seqs": 8}
    folder = keep(tmp_path / "study", repeated(sample_task(), {None: 100.0, 2: 200.0}, starts=1))
    assert configuration_of(f"{folder}:1") == configuration_of(f"{folder}:best") == {"max_num_seqs": 2}
    assert configuration_of(f"{folder}:0") == {}
    (tmp_path / "list.yaml").write_text("[1]")
    for source, error in (("fast", "is no configuration"), (str(tmp_path / "list.yaml"), "has list, not names")):
        with pytest.raises(TaskError, match=error):
            configuration_of(source)
    with pytest.raises(StudyError, match="has no trial 7"):
        configuration_of(f"{folder}:7")


@pytest.mark.parametrize("values", [[1, 2], {"type": "int", "low": 1, "high": 4}])
def test_a_fixed_flag_with_several_values_to_search_is_still_refused(values: Any) -> None:
    data = TASK.model_dump()
    data = {**data, "engine": {**data["engine"], "args": {"max_num_seqs": 4}}, "rules": []}
    with pytest.raises(TaskError, match="'max_num_seqs' is fixed here and searched in parameters"):
        Task.parse({**data, "parameters": {"max_num_seqs": values}})


@pytest.mark.slow
def test_the_command_starts_both_in_turn_until_the_answer_is_clear(world: World, tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    file.write_text(yaml.safe_dump(world.task(trials=9).model_dump(mode="json")))
    done = call("ab", "threads=1,batch_size=64", "threads=2,batch_size=64", "--task", file, "--study", world.folder,
                "--rounds", 3)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "A, in the place of the engine's default: threads=1 batch_size=64" in done.stderr
    trials = world.results()["trials"]
    # A, A again and B, and then in rounds: A B, B A, A B.
    assert [one["confirmation"] for one in trials[3:7]] == [[1, 0], [1, 1], [2, 1], [2, 0]]
    assert ["--threads 1" in one["command"] for one in trials[:3]] == [True, True, False]
    assert world.results()["verdict"]["outcome"] == "no_difference"


def test_without_a_task_a_names_the_study_of_one(tmp_path: Path) -> None:
    done = call("ab", "default", "threads=2", "--study", tmp_path / "new")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: task: give the task with --task, or A as a trial of a study (STUDY:TRIAL)\n",
    )
