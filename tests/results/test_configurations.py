"""The table of configurations: repeats folded, parameters as columns, defaults marked, limits in words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from autotune_nb.engines.registry import engine_named
from autotune_nb.errors import Failure, FailureKind
from autotune_nb.reports.configuration_page import plain_table_html, script_json, table_message, to_json
from autotune_nb.results.configurations import Configurations, ConfigurationTable, Row, configuration_table
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Direction, Limit, Objective, Score
from autotune_nb.trial.trial import Trial, TrialState

RATE = "output_tokens_per_s"
LIMIT = Limit("ttft_p99_s", "<=", 0.5)
LEVEL = Level("D(1,2)", 4)
VLLM = engine_named("vllm")


def goal(direction: Direction = "maximize", figure: str = RATE) -> Objective:
    return Objective(figure, direction, None, (LIMIT,))


def complete(number: int, value: float, ttft_s: float = 0.25, **params: Any) -> Trial:
    measured = Measurement(LEVEL, 2.0, 9, 9, 0, {RATE: value, "ttft_p99_s": ttft_s, "tpot_mean_s": 0.02})
    score = Score({RATE: value}, {str(LIMIT): ttft_s - 0.5}, LEVEL)
    return Trial(number, params, TrialState.COMPLETE, (measured,), score, baseline=not params, seconds={"deploy": 60.0})


FAILED = Trial(
    3, {"max_num_seqs": 4, "block_size": 16}, TrialState.FAILED, failure=Failure(FailureKind.CRASH, "deploy", "it died")
)
TRIALS = (
    complete(0, 100.0),
    complete(1, 120.0, max_num_seqs=8, block_size=16),
    complete(2, 150.0, 0.9, max_num_seqs=64, block_size=16),
    FAILED,
    complete(4, 130.0, max_num_seqs=8, block_size=16),
)


def table_of(trials: tuple[Trial, ...] = TRIALS, **more: Any) -> ConfigurationTable:
    return configuration_table(trials, goal(), engine=VLLM, **more)


def row_of(table: ConfigurationTable, trial: int) -> dict[str, Any]:
    row = next(row for row in table.rows if trial in row.trials)
    return {column.key: table.cell(row, column.key) for column in table.columns}


def test_repeats_are_one_row_with_the_mean_of_all_starts() -> None:
    table = table_of()
    assert [(row.number, row.trials) for row in table.rows] == [(0, (0,)), (1, (1, 4)), (2, (2,)), (3, (3,))]
    best = row_of(table, 4)
    assert best["trial"] == 1
    assert best["starts"] == 2
    assert best[RATE] == pytest.approx(math.sqrt(120 * 130), rel=1e-4)
    assert best["gain"] == pytest.approx(math.sqrt(1.2 * 1.3) - 1, rel=1e-3)
    assert best["spread"] == pytest.approx(0.0566, rel=1e-2)
    # Two starts say too little about the noise.
    assert best["interval"] is None


def test_states_and_limits_are_words() -> None:
    table = table_of()
    assert [row_of(table, n)["state"] for n in range(4)] == [
        "default, complete",
        "best, complete",
        "breaks a limit",
        "failed",
    ]
    assert [row_of(table, n)[str(LIMIT)] for n in range(4)] == ["kept", "kept", "broken", None]
    assert row_of(table, 3)["failure"] == "crash in deploy: it died"
    heads = {column.key: column.title for column in table.columns if column.shown}
    assert heads[RATE] == "output, tokens/s"
    assert heads["ttft_p99_s"] == "TTFT p99, ms"
    assert heads["limits"] == "limits"
    assert next(one.head for one in table.columns if one.key == str(LIMIT)) == "TTFT p99 ≤ 500 ms"
    assert row_of(table, 2)["limits"] == "broken"
    assert row_of(table, 2)["level"] == "concurrency 4"
    assert heads["gain"] == "vs default, %"


def test_a_constant_parameter_is_hidden_and_values_other_than_the_default_are_marked() -> None:
    trials = (*TRIALS, complete(5, 90.0, max_num_seqs=VLLM.flag_named("max_num_seqs").default or 256, block_size=16))  # type: ignore[union-attr]
    table = table_of(trials)
    columns = {column.key: column for column in table.columns}
    assert columns["max_num_seqs"].shown
    assert not columns["block_size"].shown
    assert columns["max_num_seqs"].kind == "number"
    marked = {row.number: table.changed(row, columns["max_num_seqs"]) for row in table.rows}
    assert (marked[0], marked[1]) == (False, True)
    if columns["max_num_seqs"].default is not None:
        assert not marked[5]
    # One configuration alone has nothing that varies, and everything is shown.
    assert all(column.shown for column in table_of(TRIALS[:2]).columns if column.group == "parameter")


def test_the_searched_parameters_come_before_the_details() -> None:
    shown = [column.key for column in table_of(TRIALS).columns if column.shown]
    assert shown == [
        *("trial", "state", RATE, "spread", "gain", "max_num_seqs"),
        *("ttft_p99_s", "limits", "level", "starts", "tpot_mean_s", "failure"),
    ]


def test_an_interval_where_both_are_repeated_and_the_noise_is_known() -> None:
    trials = (
        *(complete(n, 100.0 + n) for n in range(3)),
        *(complete(10 + n, 200.0 + 2 * n, max_num_seqs=8) for n in range(3)),
        complete(20, 150.0, max_num_seqs=9),
    )
    table = table_of(trials)
    low, high = (float(part) for part in row_of(table, 10)["interval"].split(" to "))
    assert low < 100 < high
    assert high - low < 10
    assert row_of(table, 20)["interval"] is None


def test_less_of_a_minimized_figure_is_better() -> None:
    trials = tuple(
        one.with_(score=Score({"ttft_p99_s": ttft_s}, {}, LEVEL), measurements=one.measurements)
        for one, ttft_s in zip(TRIALS[:2], (0.4, 0.3), strict=True)
    )
    table = configuration_table(trials, goal("minimize", "ttft_p99_s"))
    assert row_of(table, 1)["gain"] == pytest.approx(0.25)


def test_the_frame_has_units_in_its_heads_and_words_in_its_cells() -> None:
    frame = table_of(tags={4: ["prod"], 1: ["prod", "try"]}, notes={1: "warm"}).frame()
    assert frame.index.tolist() == [0, 1, 2, 3]
    row = frame.loc[1]
    assert (row["state"], row["TTFT p99, ms"], row["tags"], row["note"]) == (
        "best, complete",
        250.0,
        "prod, try",
        "warm",
    )


def test_a_parameter_may_have_the_name_of_another_column() -> None:
    table = configuration_table((complete(0, 1.0), complete(1, 2.0, state="x")), goal())
    assert row_of(table, 1)["param:state"] == "x"
    assert row_of(table, 1)["state"] == "best, complete"


def test_what_did_not_change_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Configurations(goal(), engine=VLLM)
    first = made.table(TRIALS)
    monkeypatch.setattr("autotune_nb.results.configurations._figure_cells", lambda *_args: pytest.fail("again"))
    assert made.table(TRIALS).rows == first.rows


def test_the_page_cannot_be_broken_by_a_value() -> None:
    nasty = "</script><img src=x onerror=alert(1)>"
    trials = (complete(0, 1.0), complete(1, 2.0, name=nasty), complete(2, math.inf, name="b"))
    data = script_json(table_message(configuration_table(trials, goal())))
    assert "onerror=alert(1)" in data
    assert "<" not in data
    assert "Infinity" not in data


def test_the_plain_table_has_the_best_first() -> None:
    page = plain_table_html(table_of(), most=2)
    assert page.index("best, complete") < page.index("default, complete")
    assert "<b>8</b>" in page
    assert "The best 2 of 4 configurations." in page
    assert "it died" not in page
    # The word is not broken on paper.
    assert "<td class=w>concurrency 4</td>" in page


def test_a_notebook_has_the_table_by_column_and_a_repeated_text_once() -> None:
    cells = ((1.5, "complete", None, "a"), (2.5, "failed", None, "b"), (1, "complete", None, True))
    rows = (Row(4, (4, 7), cells[0]), Row(5, (5,), cells[1], baseline=True), *(Row(n, (n,), cells[2]) for n in (8, 9)))
    assert table_message(ConfigurationTable((), rows))["packed"] == {
        "numbers": [4, 5, 8, 9],
        "trials": {"4": [4, 7]},
        "baseline": [5],
        "cells": [
            [1.5, 2.5, 1, 1],
            {"words": ["complete", "failed"], "places": [0, 1, 0, 0]},
            {"words": [None]},
            ["a", "b", True, True],
        ],
    }


def test_a_sentence_in_the_plain_table_is_marked_so_that_paper_breaks_it() -> None:
    cut = complete(1, 2.0).with_(cut_reason="the first level breaks ttft_p99_s <= 0.5")
    page = plain_table_html(configuration_table((complete(0, 1.0), cut), goal()))
    assert "<td class=long>the first level breaks" in page


def test_five_thousand_rows_stay_small() -> None:
    cells = (1234, "complete", 1234.5, 0.25, *([12.345] * 12))
    rows = tuple(Row(n, (n,), cells) for n in range(5000))
    size = len(to_json(table_message(ConfigurationTable((), rows))))
    assert size < 5000 * 110
