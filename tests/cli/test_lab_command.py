"""``autotune-nb lab`` and ``at.lab``: tables by path, options, JSON, charts and errors of one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.errors import TaskError

HEAD = "config_id,status,reason,param:a,param:b,level,gpus,startup_s,duration_s,output_tokens_per_s,ttft_p99_s"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [
        f"{10 * a + b},complete,,{a},{b},{level},{1 + b // 3},60,{30 + a},{level * (10 * a + b + 1)},0.{a}"
        for a in range(5)
        for b in range(5)
        for level in (1, 2)
    ]
    file = tmp_path / "table.csv"
    file.write_text("\n".join((HEAD, *rows)) + "\n")
    return file


def run_lab(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["lab", *map(str, arguments)])


def test_json_is_the_last_line_and_everything_else_says_replayed(table: Path) -> None:
    options = ["--strategies", "random,tpe", "--objective", "maximize output_tokens_per_s", "--at", 2, "--seeds", 2]
    done = run_lab(table, *options, "--limit", "ttft_p99_s <= 0.35", "--per-gpu", "--noise", 0.01, "--json")
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    data = json.loads(line)
    assert data["tables"][0]["table"] == str(table)
    # a of 3 keeps the limit, and b of 2 has one GPU.
    assert data["tables"][0]["best"] == 2 * 33
    assert data["time_ratio"]["random"] == 1
    assert all(line.startswith("REPLAYED ") for line in done.stderr.splitlines())
    text = run_lab(table, *options).stdout.splitlines()
    assert text[0].startswith("REPLAYED, nothing was measured: 2 simulated studies")
    assert any("exact expectation" in line for line in text)


def test_a_study_brings_its_own_objective_and_limits(table: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    told = CliRunner().invoke(
        cli,
        ["import", str(table), "--study", str(study), "--objective", "minimize ttft_p99_s",
         "--limit", "output_tokens_per_s >= 40"],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    found = at.lab(study, seeds=3, strategies="random,tpe", trials=15)
    # Level 2 doubles the rate: a of 1 with b of 4 has 30, a of 2 has 42 and more.
    assert found.to_dict()["tables"][0]["best"] == 0.2
    assert "minimize ttft_p99_s" in found.text()
    assert list(found.frame()["strategy"]) == ["random", "tpe"]
    other = at.lab(study, seeds=2, objective="maximize output_tokens_per_s", at=1, strategies=["random"])
    assert other.to_dict()["tables"][0]["best"] == 45


def test_the_chart_has_a_band_per_strategy_and_its_data(table: Path) -> None:
    found = at.lab(table, seeds=2, trials=8)
    chart = found.chart()
    assert "REPLAYED" in chart.title
    assert set(chart.frame()["strategy"]) == {"random", "tpe", "auto"}
    assert len(chart.figure().data) == 9
    assert "simulated time (h)" in chart.svg()
    assert "<img" in found._repr_html_()
    assert "REPLAYED" in found._repr_html_()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--strategies", "random,magic"], "strategies: unknown strategy 'magic'"),
        (["--objective", "maximize speed"], "objective: unknown figure 'speed'"),
        (["--objective", "speed"], "unknown objective 'speed'"),
        (["--objective", "maximize tpot_mean_s"], "objective: no configuration of"),
        (["--at", "7"], "has no level '7'; its levels are dataset at concurrency 1"),
        (["--limit", "ttft_p99_s"], "limits: 'ttft_p99_s' is not a limit"),
        (["missing.csv"], "there is no study"),
    ],
)
def test_errors_are_one_line(table: Path, options: list[str], error: str) -> None:
    done = run_lab(table, *options)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert error in line


def test_arguments_out_of_range_are_named(table: Path) -> None:
    for arguments, error in (({"seeds": 0}, "seeds"), ({"trials": 0}, "trials"), ({"noise": 2.0}, "noise")):
        with pytest.raises(TaskError, match=f"^{error}: expected"):
            at.lab(table, **arguments)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="tables: give at least one table"):
        at.lab()


def test_the_notebook_compares_and_replays(table: Path, tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "notebooks" / "05_lab.ipynb"
    out = tmp_path / "lab.ipynb"
    parameters = ["-p", "tables", json.dumps([str(table)]), "-p", "seeds", "3", "-p", "trials", "5"]
    done = CliRunner().invoke(cli, ["notebook", str(source), "-o", str(out), *parameters])
    assert done.exit_code == 0, done.output
    outputs = [cell["outputs"] for cell in json.loads(out.read_text())["cells"] if cell["cell_type"] == "code"]
    printed = next("".join(one["text"]) for cell in outputs for one in cell if one["output_type"] == "stream")
    assert printed.startswith("REPLAYED, nothing was measured: 3 simulated studies")
    assert any("application/vnd.plotly.v1+json" in one.get("data", {}) for cell in outputs for one in cell)
