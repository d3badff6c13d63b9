"""DataFrames of trials, and the verdict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from autotune_nb.cli.study_table import study_table
from autotune_nb.errors import Failure, FailureKind
from autotune_nb.results.comparison import compare
from autotune_nb.results.configurations import configuration_table
from autotune_nb.results.table import levels_frame, trials_frame
from autotune_nb.study import best_data
from autotune_nb.trial.formatting import counts, level_text, params_text, value_text
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Direction, Limit, Objective, Score, score
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.verdict import study_verdict

RATE = "output_tokens_per_s"
LIMIT = Limit("ttft_mean_s", "<=", 0.5)
LEVEL = Level("D(1,2)", 4)


def objective(direction: Direction = "maximize", *limits: Limit) -> Objective:
    return Objective(RATE, direction, None, limits)


def complete(number: int, value: float, violation: float = -0.1, **params: Any) -> Trial:
    return Trial(
        number,
        params,
        TrialState.COMPLETE,
        measurements=(Measurement(LEVEL, 2.0, 9, 9, 0, {RATE: value, "ttft_p99_s": 0.25, "tpot_mean_s": 1.5}),),
        score=Score({RATE: value}, {str(LIMIT): violation}, LEVEL),
        seconds={"deploy": 1.0, "benchmark": 2.26},
        baseline=not params,
    )


def verdict(trials: Sequence[Trial], objective: Objective) -> str:
    """Return the verdict of a study without a confirmation."""
    return study_verdict(trials, objective, None).text


FAILED = Trial(2, {"threads": 4}, TrialState.FAILED, failure=Failure(FailureKind.CRASH, "deploy", "it died"))


def test_the_trials_are_one_row_each_by_number() -> None:
    frame = trials_frame([complete(0, 10), complete(1, 20, 0.2, threads=2), FAILED], objective("maximize", LIMIT))
    assert list(frame.index) == [0, 1, 2]
    assert list(frame.columns) == [
        *("state", "role", RATE, "limits", "threads", "level", str(LIMIT), "seconds", "failure", "feasible", "baseline")
    ]
    row = frame.loc[1]
    assert (row["state"], row["threads"], row[RATE], row["level"]) == ("complete", 2, 20.0, str(LEVEL))
    assert (row[str(LIMIT)], bool(row["feasible"]), row["seconds"]) == (0.2, False, 3.3)
    # In the middle of a run, too, the column selects rows.
    assert list(frame[frame["feasible"]].index) == [0]
    assert frame.loc[2, "failure"] == "crash in deploy: it died"
    # Words for people, beside the masks.
    assert frame["role"].tolist() == ["default, best", "", ""]
    assert frame["limits"].tolist() == ["kept", "broken", ""]
    assert frame[RATE].isna().tolist() == [False, False, True]


def test_a_trial_has_what_its_scored_level_left_out_and_its_error() -> None:
    steady = {"scored_requests": 40.0, "unscored_requests": 4.0, "steady_s": 5.5, "output_tokens_per_s_error": 0.25}
    one = complete(0, 10)
    counted = one.with_(
        measurements=tuple(replace(m, steady=steady) for m in one.measurements), confirmation=(1, 0), number=1
    )
    frame = trials_frame([counted, FAILED], objective("maximize"))
    assert frame.loc[1, list(steady)].tolist() == list(steady.values())
    assert frame["unscored_requests"].dtype == "Int64"
    assert frame["round"].fillna(-1).tolist() == [1, -1]
    levels = levels_frame([counted, complete(2, 20)])
    assert set(levels.loc[levels["number"] == 1, "round"]) == {1}
    assert levels.loc[levels["scored_level"], "scenario"].tolist() == [LEVEL.scenario] * 2


def test_whole_numbers_stay_whole_beside_the_baseline() -> None:
    frame = trials_frame([complete(0, 10), complete(1, 20, threads=2, share=0.5)], objective())
    assert str(frame["threads"].dtype) == "Int64"
    assert frame.loc[1, "threads"] == 2
    assert frame["threads"].isna().tolist() == [True, False]
    assert frame.loc[1, "share"] == 0.5


def test_no_trials_make_an_empty_table_with_its_columns() -> None:
    frame = trials_frame([], objective("maximize", LIMIT))
    assert frame.empty
    assert RATE in frame.columns
    assert levels_frame([]).empty


def test_parameters_named_as_other_columns_keep_their_own() -> None:
    names = {"number": 7, "level": 3, "seconds": 9, "state": "x", RATE: 1}
    frame = trials_frame([complete(1, 20, x=0).with_(params=names)], objective())
    assert list(frame.index) == [1]
    assert frame.columns.is_unique
    assert {name: frame.loc[1, f"param:{name}"] for name in names} == names
    assert frame.loc[1, "state"] == "complete"


def test_a_limit_that_stands_twice_is_one_column() -> None:
    frame = trials_frame([complete(1, 20, threads=1)], objective("maximize", LIMIT, LIMIT))
    assert frame.columns.is_unique


def test_the_levels_are_one_row_a_trial_and_level() -> None:
    frame = levels_frame([complete(0, 10), complete(1, 20, threads=2), FAILED])
    assert frame["number"].tolist() == [0, 1]
    assert frame.loc[1, "param:threads"] == 2
    assert frame.loc[1, RATE] == 20
    assert frame.loc[1, "concurrency"] == 4


def test_states_are_counted_and_empty_ones_left_out() -> None:
    assert counts([complete(0, 1), complete(1, 1, a=1), FAILED]) == {"complete": 2, "failed": 1}


@pytest.mark.parametrize(
    ("value", "figure", "text"),
    [
        (0.01234, "ttft_p99_s", "12.34 ms"),
        (1.5, "e2e_latency_mean_s", "1.5 s"),
        (123.456, RATE, "123.5 tokens/s"),
        (12345.6, RATE, "12,346 tokens/s"),
        (99.0, "request_output_tokens_per_s_p50", "99 tokens/s"),
        (0.5, "requests_per_s", "0.5 requests/s"),
        (16.0, "output_tokens_mean", "16"),
    ],
)
def test_a_figure_is_told_with_its_unit(value: float, figure: str, text: str) -> None:
    assert value_text(value, figure) == text


def test_a_configuration_is_one_line_without_what_is_left_to_the_engine() -> None:
    assert params_text(complete(1, 1, threads=2, batch=None, fa="on")) == "threads=2 fa=on"
    assert params_text(complete(0, 1)) == "the engine's default configuration"
    assert params_text(complete(1, 1, batch=None)) == "the engine's default configuration"


def test_a_level_is_told_in_one_line_or_why_it_is_invalid() -> None:
    assert level_text(complete(0, 10).measurements[0]) == (
        "D(1,2) at concurrency 4: 10 tokens/s, TTFT p99 250 ms, TPOT 1.5 s"
    )
    invalid = Measurement(LEVEL, 1.0, 2, 1, 1, {}, ("1 failed", "too few"))
    assert level_text(invalid) == "D(1,2) at concurrency 4: invalid, 1 failed; too few"


def test_the_verdict_sets_the_best_against_the_engines_default() -> None:
    default, best = complete(0, 10), complete(1, 25, threads=2)
    assert verdict([default, best], objective()) == (
        "Best is trial 1 with 25 tokens/s (output_tokens_per_s), under D(1,2) at concurrency 4: threads=2. "
        "The engine's default has 10 tokens/s. Part of the difference may be noise, since both were measured once; "
        "confirm: true in the task measures how much."
    )


def test_the_verdict_says_where_the_default_was_best_under_another_level() -> None:
    other = Level("D(1,2)", 1)
    default, best = complete(0, 10), complete(1, 25, threads=2)
    easy = replace(default.measurements[0], level=other)
    there = replace(default.measurements[0], figures={**default.measurements[0].figures, RATE: 16.0})
    assert default.score is not None
    default = default.with_(measurements=(easy, there), score=replace(default.score, level=other))
    assert (
        "The engine's default has 10 tokens/s, its best, under D(1,2) at concurrency 1; under D(1,2) at concurrency 4 "
        "it has 16 tokens/s. Part of the difference"
    ) in verdict([default, best], objective())


def test_the_verdict_on_the_highest_load_names_no_other_level_of_the_default() -> None:
    light, loads = Level("D(1,2)", 1), Objective("max_concurrency", "maximize", None, ())
    of_loads = tuple(
        Measurement(level, 2.0, 9, 9, 0, {"max_concurrency": float(level.concurrency)}) for level in (light, LEVEL)
    )
    default = complete(0, 1).with_(measurements=of_loads, score=Score({"max_concurrency": 1.0}, {}, light))
    best = complete(1, 4, threads=2).with_(measurements=of_loads, score=Score({"max_concurrency": 4.0}, {}, LEVEL))
    assert "The engine's default has 1 concurrent. Part of the difference" in verdict([default, best], loads)


def test_the_verdict_says_where_the_default_breaks_a_limit_or_is_best_or_unknown() -> None:
    broken, best = complete(0, 50, 0.3), complete(1, 25, threads=2)
    text = verdict([broken, best], objective("maximize", LIMIT))
    assert text.endswith("threads=2. The engine's default (50 tokens/s) breaks ttft_mean_s <= 0.5.")
    assert "has 0 tokens/s." in verdict([complete(0, 0), best], objective())
    assert verdict([best], objective()).endswith("was not measured, so there is nothing to compare it with.")
    failed = FAILED.with_(baseline=True)
    assert verdict([failed, best], objective()).endswith(
        "threads=2. The engine's default failed, so there is nothing to compare it with."
    )
    default = complete(0, 99)
    assert "No other configuration is better" in verdict([default, best], objective())


def test_the_verdict_compares_the_means_of_all_starts() -> None:
    default = [complete(0, 100), complete(4, 121)]
    repeats = [complete(n, value, threads=2) for n, value in ((1, 150), (2, 200), (3, 266.7))]
    lost = FAILED.with_(number=5, params={"threads": 2})
    text = verdict([*default, *repeats, lost], objective())
    assert "Best is trial 2 with 200 tokens/s" in text
    assert "the mean of 3 starts, 150 tokens/s to 266.7 tokens/s; 1 other start of it failed" in text
    assert "The engine's default has 110 tokens/s, the mean of 2 starts" in text
    assert "not confirmed" in text


def test_a_comparison_has_the_means_of_all_starts_and_their_range() -> None:
    repeats = [complete(n, value, threads=2) for n, value in ((1, 150), (2, 200), (3, 266.7))]
    found = compare([complete(0, 100), *repeats], repeats[1], objective())
    assert found is not None
    rate = next(row for row in found.rows if row.figure == "output_tokens_per_s")
    assert rate.change == "2.00 times the throughput: better, measured once"
    assert [column[2] for column in found.columns] == ["measured once", "mean of 3 starts"]
    assert rate.cells[1] == "200 tokens/s (150 to 266.7)"


def test_show_puts_repeats_together_and_names_the_mean() -> None:
    trials = [complete(0, 100), complete(1, 150, threads=2), complete(2, 90, threads=4), complete(3, 250, threads=2)]
    best = best_data(trials, objective(), lambda trial: f"serve --threads {trial.params['threads']}")
    found = study_verdict(trials, objective(), None).to_dict()
    results = {"study": "s", "state": "finished", "elapsed_s": 9.0, "task": {}, "best": best, "verdict": found}
    lines = study_table({**results, "trials": [t.to_dict() for t in trials]}).splitlines()
    assert [line[:5].strip() for line in lines[2:6]] == ["0", "*   1", "*   3", "2"]
    assert lines[4].endswith("same configuration as trial 1")
    assert "Best is trial 1 with 193.6 tokens/s" in lines[7]
    assert "the mean of 2 starts, 150 tokens/s to 250 tokens/s: threads=2. The engine's default has 100" in lines[7]
    assert not re.search(r"\d times", "\n".join(lines)), "a ratio of what was not confirmed"
    assert not any("under" in line for line in lines[2:6]), "all values were read at one level"


def test_show_says_at_which_level_each_value_was_read_if_they_differ() -> None:
    best = complete(1, 150, threads=2)
    assert best.score is not None
    trials = [complete(0, 100), best.with_(score=replace(best.score, level=Level("D(1,2)", 1)))]
    results = {"study": "s", "state": "finished", "elapsed_s": 9.0, "task": {}}
    results["best"] = best_data(trials, objective(), lambda _best: "serve")
    results["verdict"] = study_verdict(trials, objective(), None).to_dict()
    lines = study_table({**results, "trials": [t.to_dict() for t in trials]}).splitlines()
    assert [line.partition("  under ")[2] for line in lines[2:4]] == [str(LEVEL), "D(1,2) at concurrency 1"]


def test_show_names_drift_before_the_best_and_levels_that_were_not_steady() -> None:
    default, last = complete(0, 100), complete(2, 200).with_(baseline=True)
    unsteady = replace(complete(1, 150, threads=2).measurements[0], conditions={"e2e_latency_drift": 1.45})
    trials = [default.with_(baseline=True), complete(1, 150, threads=2).with_(measurements=(unsteady,)), last]
    best = best_data(trials, objective(), lambda trial: "serve")
    found = study_verdict(trials, objective(), None).to_dict()
    results = {"study": "s", "state": "finished", "elapsed_s": 9.0, "task": {}, "best": best, "verdict": found}
    lines = study_table({**results, "trials": [t.to_dict() for t in trials]}).splitlines()
    of_level = f"{unsteady.level}: the second half of its requests took 1.45 times as long as the first half"
    assert [line.strip().startswith(of_level) for line in lines].count(True) == 1
    assert trials_frame(trials, objective()).loc[1, "notes"].startswith(of_level)
    (line,) = (line for line in lines if line.startswith("The engine's default changed by more"))
    assert line.index("Do not compare") < line.index("Best is trial")


def test_the_verdict_without_a_best_says_why() -> None:
    only = "The only measured trial breaks ttft_mean_s <= 0.5 by 500 ms."
    assert verdict([complete(0, 1, 0.5)], objective("maximize", LIMIT)) == only
    closest = (
        "None of the 2 measured trials keeps every limit: trial 1 is the closest, and breaks ttft_mean_s <= 0.5 by "
    )
    assert verdict([complete(0, 1, 0.5), complete(1, 1, 0.02)], objective("maximize", LIMIT)) == f"{closest}20 ms."
    assert verdict([FAILED], objective()) == "No trial completed. Trial 2: crash in deploy: it died."
    assert verdict([], objective()) == "No trial completed."


def test_a_level_shows_the_objectives_figure_and_the_limits_it_breaks() -> None:
    measured = Measurement(LEVEL, 2.0, 9, 9, 0, {RATE: 10, "ttft_p99_s": 0.25, "e2e_latency_p90_s": 0.5})
    wanted = Objective("e2e_latency_p90_s", "minimize", None, (Limit("ttft_p99_s", "<=", 0.2),))
    text = level_text(measured, wanted)
    assert "e2e_latency_p90_s 500 ms" in text
    assert text.endswith("breaks ttft_p99_s <= 0.2")
    assert "breaks" not in level_text(measured)


def test_a_default_that_was_never_challenged_is_not_called_unbeaten() -> None:
    default = complete(0, 99)
    alone = verdict([default], objective())
    assert alone.endswith("No other configuration was tried.")
    assert "1 other failed" in verdict([default, FAILED], objective())


def test_an_undecided_limit_is_named_wherever_limits_are() -> None:
    limit = Limit.parse("ttft_p99_s <= 0.2")
    wanted = Objective(RATE, "maximize", None, (limit,))
    why = "1 of 28 requests beyond it; at least 473 are needed to tell, 34 s at this rate"

    def start(number: int, beyond: int, **params: Any) -> Trial:
        trial = complete(number, 10.0 + number, **params)
        one = replace(trial.measurements[0], beyond={str(limit): (28, beyond)})
        return trial.with_(measurements=(one,), score=score([one], wanted))

    trials = [start(0, 0), start(1, 1, threads=2), start(2, 5, threads=4)]
    assert [trial.feasible for trial in trials] == [True, True, False]
    found = verdict(trials, wanted)
    assert "trial 1" in found
    assert found.endswith(f"Undecided: {limit} ({why}).")
    frame = trials_frame(trials, wanted)
    assert frame.loc[1, "undecided"] == f"{limit}: {why}"
    assert level_text(trials[1].measurements[0], wanted).endswith(f"{limit} undecided ({why})")
    best = best_data(trials, wanted, lambda _trial: "server")
    results = {"trials": [trial.to_dict() for trial in trials], "best": best, "elapsed_s": 1.0, "task": {}}
    results["verdict"] = {"text": found}
    (line,) = (
        row
        for row in study_table({"study": "s", "state": "finished", **results}).splitlines()
        if row.endswith(f"({why})")
    )
    assert "threads=2" in line
    # In the monitor.
    table = configuration_table(trials, wanted)
    assert [table.cell(row, "limits") for row in table.rows] == ["undecided", "undecided", "broken"]
