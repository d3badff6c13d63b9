"""The README agrees with the package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from click.testing import CliRunner

import autotune_nb
from autotune_nb.cli.main import cli
from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.reports.charts import ChartKind
from autotune_nb.task.sections import SAMPLERS
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import FIGURES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def test_the_contents_link_every_section_in_order() -> None:
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    sections = re.findall(r"^##+ (.+)$", prose, re.MULTILINE)
    (contents,) = re.findall(r"^Contents: (.*?)\n\n", prose, re.MULTILINE | re.DOTALL)
    assert re.findall(r"\[([^]]+)\]", contents) == sections
    anchors = {re.sub(r"[^\w\- ]", "", section.lower()).replace(" ", "-") for section in sections}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) == anchors


def test_the_tasks_by_example_are_tasks() -> None:
    laptop, task = (Task.parse(yaml.safe_load(text)) for kind, text in BLOCKS if kind == "yaml" and "name:" in text[:5])
    assert space_for(laptop, engine_for(laptop)).grid_size == 24
    assert (space_for(task, engine_for(task)).num_points or 0) > 1000
    assert task.num_trials == 30


def test_the_command_engine_by_example_renders_as_its_comments_say() -> None:
    example = yaml.safe_load(next(text for kind, text in BLOCKS if kind == "yaml" and "my-server" in text))
    rest = {"name": "x", "model": "m", "workload": {"scenarios": ["D(1,2)"]}, "objective": "minimize ttft"}
    task = Task.parse({**rest, **example})
    engine = engine_for(task)
    params = {"max_batch": 8, "fast_attention": False, "rope": {"factor": 2}}
    argv = engine.argv(
        program=engine.program, model="m", served_name=None, host="h", port=1, params=params, space=task.parameters
    )
    assert argv == [
        *["my-server", "--listen", "h:1", "--weights", "m", "--max-batch", "8", "--no-fast-attention", "--rope"],
        '{"factor":2}',
    ]


def test_the_names_in_the_notebook_example_exist() -> None:
    code = next(text for kind, text in BLOCKS if kind == "python")
    for name in set(re.findall(r"\bat\.(\w+)", code)):
        assert hasattr(autotune_nb, name)
    for name in set(re.findall(r"\brun\.(\w+)", README)):
        assert hasattr(autotune_nb.Run, name), name


@pytest.mark.parametrize("name", ["ttft_p99_s", "tpot_mean_s", "e2e_latency_p90_s", "requests_per_s"])
def test_the_figures_it_names_exist(name: str) -> None:
    assert f"`{name}`" in README
    assert name in FIGURES


def test_every_kind_of_chart_is_named() -> None:
    (kinds,) = re.findall(r"`run\.chart\(([^)]*\|[^)]*)\)`", README)
    assert kinds.split(" | ") == [f'"{kind}"' for kind in get_args(ChartKind)]


def test_every_sampler_is_named() -> None:
    assert all(f"`{name}`" in README for name in SAMPLERS)


def test_the_command_lines_options_exist() -> None:
    for command, rest in re.findall(r"^\| `autotune-nb (\w+)([^`]*)`", README, re.MULTILINE):
        kinds = re.findall(r"\b(?:rbac|reaper|runner|claim)\b", rest) if command == "manifests" else []
        for kind in kinds or [None]:
            shown = CliRunner().invoke(cli, [command, *([kind] if kind else []), "--help"]).stdout
            for option in re.findall(r"--[a-z-]+", rest):
                assert option in shown, (command, kind, option)


def test_run_and_check_take_where_it_is_to_happen() -> None:
    (where,) = re.findall(r"^\| `… ([^`]*)`", README, re.MULTILINE)
    for command in ("run", "check"):
        shown = CliRunner().invoke(cli, [command, "--help"]).stdout
        for option in re.findall(r"--[a-z-]+", where):
            assert option in shown, (command, option)


def test_the_cluster_by_example_is_a_task() -> None:
    example = yaml.safe_load(next(text for kind, text in BLOCKS if kind == "yaml" and "kind: ome" in text))
    rest = {
        "name": "x",
        "parameters": {"tp_size": [1, 2], "dp_size": [1, 2]},
        "workload": {"scenarios": ["D(1,2)"]},
        "objective": "minimize ttft",
    }
    task = Task.parse({**rest, **example})
    assert (task.deploy.kind, task.deploy.gpus, task.deploy.parallel) == ("ome", 4, 2)
    # "the product of the engine's parallel sizes (tp_size 2 and dp_size 2: four)"
    assert engine_for(task).gpus({"tp_size": 2, "dp_size": 2}) == 4


def test_the_cluster_commands_are_commands() -> None:
    shown = next(text for _, text in BLOCKS if "manifests rbac" in text)
    for line in shown.splitlines():
        words = line.split("#")[0].split("|")[0].split()
        assert words[0] == "autotune-nb"
        command = words[1:3] if words[1] == "manifests" else words[1:2]
        told = CliRunner().invoke(cli, [*command, "--help"])
        assert told.exit_code == 0
        for option in re.findall(r"--[a-z-]+", " ".join(words)):
            assert option in told.stdout, line


def test_the_make_targets_exist() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make (demo|test|lab|bench|check)\b", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
