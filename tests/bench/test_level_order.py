"""The order in which genai-bench runs the levels of a request, and its prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune_nb.bench._arguments import run_order
from autotune_nb.bench._expected_levels import ExpectedLevels
from autotune_nb.trial.measurement import Level
from tests.bench.test_genai_bench import bench_for, request_in

A, B = "D(8,8)", "D(99,8)"


def test_one_run_starts_with_the_level_that_is_asked_for_first() -> None:
    levels = (Level(B, 4), Level(A, 1), Level(A, 4), Level(B, 1))
    assert run_order(levels) == (Level(B, 4), Level(B, 1), Level(A, 4), Level(A, 1))
    assert run_order(levels[1:3]) == levels[1:3]


def test_the_arguments_name_the_levels_of_a_run(make_task: Any, tmp_path: Path) -> None:
    task = make_task(workload={"scenarios": [A, B], "concurrency": [1, 4]})
    benchmark = bench_for(task)

    def flags(*levels: Level, asked: tuple[Level, ...] = ()) -> list[str]:
        argv = benchmark.argv(request_in(tmp_path, levels=levels), asked)
        start = argv.index("--traffic-scenario")
        return [word for word in argv[start : argv.index("4", start) + 4] if not word.startswith("--")][:4]

    assert flags() == [A, B, "1", "4"]
    assert flags(Level(B, 4), Level(B, 1), Level(A, 4), Level(A, 1)) == [B, A, "4", "1"]
    assert flags(asked=(Level(B, 4),))[:2] == [B, "4"]
    # A later level shows that an earlier one was left out, in the order in which they run.
    expected = ExpectedLevels(task, (Level(A, 4), Level(A, 1)))
    expected.received.add(Level(A, 1))
    assert expected.skipped == [Level(A, 4)]


def test_each_level_has_prompts_of_its_own_that_do_not_depend_on_the_order(make_task: Any) -> None:
    task = make_task(workload={"scenarios": [A], "concurrency": [1, 4, 16]}, strategy={"sampler": "random", "seed": 7})
    benchmark = bench_for(task)
    seeds = [benchmark._seed((level,)) for level in task.workload.levels]
    assert seeds[0] == 7
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert benchmark._seed(task.workload.levels) == 7
