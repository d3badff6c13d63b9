"""A study whose objective is in dollars: its figures, its budget, and what it has cost, in every view."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.errors import SetupError
from autotune_nb.run import Run
from autotune_nb.widgets._header_text import header_html
from tests.runner.test_replay import HEAD, replay_task
from tests.stubs import World

USD, PER_GPU = "usd_per_million_output_tokens", "output_tokens_per_s_per_gpu"
#: Tokens per second by the number of GPUs, which is the number of threads here: one GPU is the cheapest.
VALUES = {1: 100.0, 2: 180.0, 4: 300.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("costs")
    # Each trial takes 1800 s: 600 s to start and 1200 s for its level.
    rows = [f"{n},complete,,{n},1,{n},600,1200,{value},0.1" for n, value in VALUES.items()]
    (folder / "table.csv").write_text("\n".join([HEAD.replace("param:mode,", ""), *rows]) + "\n")
    data = replay_task(folder / "table.csv", objective=f"minimize {USD}", strategy="grid")
    data |= {
        "parameters": {"threads": [1, 2, 4]},
        "workload": {"scenarios": ["dataset"], "concurrency": [1]},
        "price": {"usd_per_gpu_hour": 3.6},
        "budget": {"baseline": False, "usd": 10},
        "limits": [f"{PER_GPU} >= 50"],
    }
    said: list[str] = []
    run = at.tune(at.Task.parse(data), study=folder / "study")
    run.subscribe(run.progress_lines(said.append))
    run.wait(60)
    run.__dict__["said"] = said
    return run


def test_every_level_has_the_figures_per_gpu_and_in_dollars(run: Run) -> None:
    found = {t.params["threads"]: (t.score.values[USD], t.measurements[0].figures[PER_GPU]) for t in run.history}  # type: ignore[union-attr]
    assert found == {
        n: (pytest.approx(3.6 * n / (value * 3600) * 1e6), value / n) for n, value in VALUES.items() if n in found
    }
    best = run.best
    assert best is not None
    assert best.params == {"threads": 1}
    assert [t.gpus for t in run.history] == [t.params["threads"] for t in run.history]


def test_what_the_study_has_cost_is_in_every_view(run: Run) -> None:
    # 1 + 2 GPUs for half an hour, or with 4 as well; the budget of 10 dollars ends it before the last trial or not.
    hours = sum(t.params["threads"] / 2 for t in run.history)  # type: ignore[operator, misc]
    text = f"{hours:g} GPU-hours, ${3.6 * hours:.2f}"
    assert json.loads((run.folder / "results.json").read_text())["cost"] == {"gpu_hours": hours, "usd": 3.6 * hours}
    assert text in CliRunner().invoke(cli, ["show", str(run.folder)]).output
    assert text in header_html(run)
    assert "$10.00" in header_html(run)
    assert f"and cost {text}" in run.report().to_html()
    assert at.open(run.folder).history == run.history
    assert f"({text} so far)" in "".join(run.__dict__["said"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"budget": {"gpu_hours": 1}},
            "budget.gpu_hours: trials hold no GPU here, so that it would never",
        ),
        (
            {"budget": {"usd": 1}, "price": {"usd_per_gpu_hour": 2}},
            "budget.usd: trials hold no GPU here, and price.usd_per_hour is not set, so that it would never",
        ),
    ],
)
def test_a_budget_that_trials_without_gpus_never_spend_is_refused(
    world: World, changes: dict[str, dict[str, float]], message: str
) -> None:
    data = world.task(trials=1).model_dump()
    data = {**data, **{name: {**data[name], **own} for name, own in changes.items()}}
    task = at.Task.parse({**data, "deploy": {**data["deploy"], "gpus": 0}})
    checked = at.check(task)
    assert not checked.ok
    assert message in str(checked)
    with pytest.raises(SetupError, match=message.partition(":")[0]):
        at.tune(task, study=world.folder).wait(60)
