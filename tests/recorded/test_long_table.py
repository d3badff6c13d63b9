"""The long form: every trial as rows of texts and numbers, read back unchanged for any parameters."""

from __future__ import annotations

import io
import json
import math
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.errors import Failure, FailureKind, StudyError
from autotune_nb.recorded.long_table import cell, long_table, read_long_table, unknown_columns, value_of
from autotune_nb.trial.measurement import FIGURES, Level, Measurement
from autotune_nb.trial.score import Score
from autotune_nb.trial.trial import Trial, TrialState

_TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["1", "true", "null", "NaN", "on", "=1+1", "-5", " x ", "a,b", 'say "x"', "größe 🚀", "עברית", "a\nb"]
    ),
).filter(lambda text: not set("\x00\r") & set(text) and all(not 0xD800 <= ord(c) < 0xE000 for c in text))
_NUMBERS = st.one_of(st.integers(-(10**12), 10**12), st.floats(allow_nan=False, allow_infinity=False))
_PLAIN = st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS)
_VALUES = st.one_of(_PLAIN, st.lists(_PLAIN, max_size=3), st.dictionaries(_TEXTS, _PLAIN, max_size=3))
_FIGURE_VALUES = st.floats(0, 1e9, allow_nan=False)
_MEASUREMENTS = st.dictionaries(st.sampled_from(FIGURES[:6]), _FIGURE_VALUES, min_size=1).flatmap(
    lambda figures: st.builds(
        lambda scenario, load, batch, seconds, done: Measurement(
            Level(scenario, 1, load) if batch and load > 1 else Level(scenario, load), seconds, done, done, 0, figures
        ),
        st.sampled_from(["D(16,8)", "N(480,240)/(300,150)", "dataset"]),
        st.integers(1, 512),
        st.booleans(),
        st.floats(0.1, 600),
        st.integers(1, 10**6),
    )
)


@st.composite
def trials(draw: st.DrawFn) -> list[Trial]:
    names = draw(st.lists(st.sampled_from("abcde"), unique=True, min_size=1))
    found = []
    for number in range(draw(st.integers(1, 4))):
        params = draw(st.fixed_dictionaries(dict.fromkeys(names, _VALUES)))
        levels = draw(st.lists(_MEASUREMENTS, min_size=1, max_size=3, unique_by=lambda m: m.level))
        failed = draw(st.booleans())
        failure = Failure(FailureKind.OUT_OF_MEMORY, "deploy", draw(_TEXTS.filter(str.strip))) if failed else None
        state = TrialState.FAILED if failed else TrialState.COMPLETE
        kept = tuple(levels) if not failed or draw(st.booleans()) else ()
        found.append(Trial(number, params, state, kept, failure=failure, seconds={"deploy": 1.5}, baseline=not params))
    return found


def through_csv(frame: pd.DataFrame) -> pd.DataFrame:
    text = frame.to_csv(index=False, lineterminator="\n")
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


@given(trials())
def test_what_is_written_is_read_back(before: list[Trial]) -> None:
    after = read_long_table(through_csv(long_table(before, lambda _trial: 2)), source="x.csv")
    assert len(after) == len(before)
    for one, other in zip(before, after, strict=True):
        assert (other.number, other.state, other.baseline) == (one.number, one.state, one.baseline)
        # 1, 1.0 and True are equal in Python, and different flags.
        assert json.dumps(dict(other.params), sort_keys=True) == json.dumps(dict(one.params), sort_keys=True)
        assert other.measurements == one.measurements
        assert str(other.failure) == str(one.failure)
        assert other.seconds["deploy"] == 1.5


@given(_VALUES)
def test_a_cell_is_unambiguous(value: Any) -> None:
    assert json.dumps(value_of(cell(value)), sort_keys=True) == json.dumps(value, sort_keys=True)
    assert cell(value) != ""


def test_plain_values_are_plain_cells() -> None:
    assert [cell(value) for value in (512, 0.5, True, "f16", "on", "1", None, {"factor": 2})] == [
        *("512", "0.5", "true", "f16", "on", '"1"', "null", '{"factor": 2}')
    ]


def test_the_columns_and_their_order() -> None:
    figures = {"ttft_p99_s": 0.5, "output_tokens_per_s": 9.0}
    level = Measurement(Level("D(1,2)", 4), 6.1, 9, 9, 0, figures)
    done = Trial(0, {"threads": 2, "mode": "on"}, TrialState.COMPLETE, (level,), seconds={"deploy": 3.25})
    failure = Failure(FailureKind.CRASH, "deploy", "it, crashed")
    failed = Trial(1, {"threads": 4, "mode": None}, TrialState.FAILED, failure=failure)
    running = Trial(2, {"threads": 1, "mode": "on"}, TrialState.RUNNING)
    frame = long_table([done, failed, running], lambda trial: int(trial.params["threads"]))  # type: ignore[arg-type]
    lines = frame.to_csv(index=False, lineterminator="\n").splitlines()
    assert lines == [
        "config_id,status,reason,param:threads,param:mode,level,gpus,startup_s,duration_s,ttft_p99_s,output_tokens_per_s,"
        "num_requests,num_completed_requests,num_failed_requests",
        '0,complete,,2,on,"D(1,2) at concurrency 4",2,3.25,6.1,0.5,9.0,9,9,0',
        '1,failed,"crash in deploy: it, crashed",4,null,,4,,,,,,,',
    ]


def test_a_level_has_what_its_steady_state_leaves_out_and_whether_it_counts_and_a_start_its_round() -> None:
    steady = {"scored_requests": 40.0, "unscored_requests": 4.0, "steady_s": 5.5, "output_tokens_per_s_error": 0.25}
    figures = {"output_tokens_per_s": 9.0}
    light, heavy = (Measurement(Level("D(1,2)", n), 6.1, 44, 44, 0, figures, steady=steady) for n in (1, 4))
    score = Score(figures, {}, heavy.level)
    search = Trial(0, {"threads": 2}, TrialState.COMPLETE, (light, heavy), score, answers="answers not compared: x")
    start = search.with_(number=1, confirmation=(2, 1), answers="")
    frame = long_table([search, start], lambda _trial: 1)
    assert frame["reason"].tolist() == ["answers not compared: x"] * 2 + [""] * 2
    assert frame["scored_level"].tolist() == [False, True] * 2
    assert frame["unscored_requests"].tolist() == [4] * 4
    assert frame["output_tokens_per_s_error"].tolist() == [0.25] * 4
    lines = frame[["confirmation_round", "confirmation_finalist"]].to_csv(index=False, lineterminator="\n").splitlines()
    assert lines[1:] == [",", ",", "2,1", "2,1"]
    columns = list(map(str, frame.columns))
    assert unknown_columns(columns) == []
    read, _ = read_long_table(through_csv(frame), source="x.csv")
    assert read.measurements == (light, heavy)


def table(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def test_a_table_of_somebody_else_with_the_least_columns() -> None:
    told = table(
        "config_id,status,level,param:tp,output_tokens_per_s\nA,complete,8,2,100\nA,complete,16,2,150\nB,complete,8,4,90\n"
    )
    first, second = read_long_table(told, source="x.csv", scenario="D(100,10)")
    assert first.params == {"tp": 2}
    assert [m.level for m in first.measurements] == [Level("D(100,10)", 8), Level("D(100,10)", 16)]
    assert (second.number, second.measurements[0].figures) == (1, {"output_tokens_per_s": 90.0})


HEAD = "config_id,status,reason,level,output_tokens_per_s"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", "x.csv has no column config_id, status, level; its columns are a, b"),
        ("config_id,status,level,ttft_p99_ms\n", "column 'ttft_p99_ms' is not in seconds; expected ttft_p99_s"),
        ("config_id,status,level,ttft_ms\n", "expected ttft_mean_s, which is ttft_ms times 0.001"),
        ("config_id,status,level,duration_ms\n", "expected duration_s"),
        (f"{HEAD},output_token_per_s\n", "unknown column 'output_token_per_s'; did you mean"),
        ("config_id,status,level\n1,complete,8\n", "has no column of a figure"),
        (f"{HEAD}\n1,done,,8,5\n", "row 2: status is 'done'; expected complete, cut or failed"),
        (
            f"{HEAD}\n1,complete,,fast,5\n",
            "row 2: level is 'fast'; expected a level such as 'D(512,128)",
        ),
        (f"{HEAD}\n1,complete,,0,5\n", "row 2: level is '0'; expected a load of 1 or more"),
        (f"{HEAD}\n1,complete,,8,5 tok/s\n", "row 2: output_tokens_per_s is '5 tok/s'; expected a number without"),
        (f"{HEAD}\n1,complete,,8,-5\n", "row 2: not finite or negative: output_tokens_per_s"),
        (f"{HEAD}\n1,complete,,8,nan\n", "row 2: not finite or negative: output_tokens_per_s"),
        (f"{HEAD}\n1,complete,,8,5\n1,complete,,8,6\n", "configuration 1 has dataset at concurrency 8 twice"),
        (f"{HEAD}\n1,complete,,,5\n", "configuration 1 is complete and has no level"),
        (f"{HEAD}\n,complete,,8,5\n", "row 2: config_id is empty"),
        (f"{HEAD},param:a\n1,complete,,8,5,1\n1,complete,,9,5,2\n", "has param:a = '2' here and '1' in row 2"),
    ],
)
def test_what_is_wrong_is_said_with_its_row_and_what_was_expected(text: str, told: str) -> None:
    with pytest.raises(StudyError) as error:
        read_long_table(table(text), source="x.csv")
    assert told in str(error.value)
    assert str(error.value).startswith("x.csv")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("duration_s", "-3", "duration_s is '-3'; expected seconds, 0 or more"),
        ("startup_s", "inf", "startup_s is 'inf'; expected seconds, 0 or more"),
        ("num_requests", "2.5", "num_requests is '2.5'; expected an integer, 0 or more"),
        ("num_failed_requests", "-1", "expected an integer, 0 or more"),
    ],
)
def test_durations_and_counts_are_what_they_can_be(name: str, value: str, told: str) -> None:
    with pytest.raises(StudyError) as error:
        read_long_table(table(f"{HEAD},{name}\n1,complete,,8,5,{value}\n"), source="x.csv")
    assert told in str(error.value)


def test_a_column_of_somebody_elses_is_left_out_and_can_be_named() -> None:
    told = table(f"{HEAD},arrival_requests_per_s,num_requests\n1,complete,,8,5,4.5,400\n")
    (trial,) = read_long_table(told, source="x.csv")
    (measured,) = trial.measurements
    assert measured.figures == {"output_tokens_per_s": 5.0}
    assert (measured.num_requests, measured.num_completed_requests, measured.num_failed_requests) == (400, 400, 0)
    assert unknown_columns(list(told.columns)) == ["arrival_requests_per_s"]


_CELLS = st.one_of(st.text(max_size=8), st.sampled_from(["1e999", "nan", "-0", "[" * 3000, "٣", "8\x00", "1_0", "²"]))


@given(st.lists(st.lists(_CELLS, min_size=6, max_size=6), min_size=1, max_size=3))
def test_whatever_the_cells_hold_it_is_trials_or_one_clear_error(rows: list[list[str]]) -> None:
    names = ["reason", "level", "param:a", "duration_s", "num_requests", "output_tokens_per_s"]
    frame = pd.DataFrame(rows, columns=names)
    frame.insert(0, "config_id", "1")
    frame.insert(1, "status", "complete")
    try:
        assert len(read_long_table(frame, source="x.csv")) == 1
    except StudyError as error:
        assert str(error).startswith("x.csv, row ")


def test_typed_columns_give_values_of_their_types(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "config_id": [1, 2],
            "status": "complete",
            "level": [8, 8],
            "output_tokens_per_s": [5.0, 6.0],
            "param:overlap": [True, False],
            "param:threads": [2, None],
            "param:ratio": [0.5, 1.0],
            "param:split": [[1, 2], [3, 4]],
        }
    )
    frame.to_parquet(tmp_path / "x.parquet", index=False)
    first, second = read_long_table(pd.read_parquet(tmp_path / "x.parquet"), source="x.parquet")
    assert repr(first.params) == "{'overlap': True, 'threads': 2, 'ratio': 0.5, 'split': [1, 2]}"
    assert repr(second.params) == "{'overlap': False, 'ratio': 1.0, 'split': [3, 4]}"


TYPED = {"config_id": [1, 1], "status": "complete", "level": [8, 9], "output_tokens_per_s": [5.0, 6.0]}


def test_decimals_are_numbers_and_lists_hold_for_every_level_of_a_configuration(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    params = {"whole": [Decimal(512)] * 2, "part": [Decimal("0.50")] * 2, "split": [[Decimal(1)], [Decimal(1)]]}
    frame = pd.DataFrame({**TYPED, **{f"param:{name}": values for name, values in params.items()}})
    frame.to_parquet(tmp_path / "x.parquet", index=False)
    (trial,) = read_long_table(pd.read_parquet(tmp_path / "x.parquet"), source="x.parquet")
    assert repr(trial.params) == "{'whole': 512, 'part': 0.5, 'split': [1]}"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (pd.Timestamp("2026-01-02"), "Timestamp"),
        (pd.Timedelta("2s"), "Timedelta"),
        (date(2026, 1, 2), "date"),
        (b"on", "bytes"),
        ([b"on"], "bytes"),
        ([datetime(2026, 1, 2)], "datetime64"),
    ],
)
def test_a_parameter_of_a_type_that_no_flag_has_names_column_and_type(value: Any, named: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.DataFrame({**TYPED, "param:a": [value, value]}).to_parquet(tmp_path / "x.parquet", index=False)
    with pytest.raises(StudyError) as error:
        read_long_table(pd.read_parquet(tmp_path / "x.parquet"), source="x.parquet")
    assert str(error.value).startswith(f"x.parquet, row 2: param:a contains a {named}")
    assert "expected a text, a number, true or false, or a list of these" in str(error.value)


@pytest.mark.parametrize("column", ["config_id", "status", "reason", "level", "gpus", "duration_s", "num_requests"])
def test_a_list_where_a_text_or_a_number_is_expected_is_one_clear_error(column: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({**TYPED, "gpus": 1, "reason": "", column: [np.array([1]), np.array([1])]})
    if column in ("config_id", "reason", "gpus"):
        assert len(read_long_table(frame, source="x.parquet")) == 1
        return
    with pytest.raises(StudyError, match=rf"^x\.parquet, row 2: {column} is .*\[1\].*; expected "):
        read_long_table(frame, source="x.parquet")


def test_parquet_keeps_the_same(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    mixed = [
        Trial(
            n,
            {"a": value, "b": "x"},
            TrialState.COMPLETE,
            (Measurement(Level("D(1,2)"), 1.0, 3, 3, 0, {"ttft_p99_s": 1.0}),),
        )
        for n, value in enumerate([1, "one", True, None, [1, 2]])
    ]
    long_table(mixed, lambda _trial: 1).to_parquet(tmp_path / "x.parquet", index=False)
    back = read_long_table(pd.read_parquet(tmp_path / "x.parquet"), source="x.parquet")
    assert [repr(t.params) for t in back] == [repr(dict(t.params)) for t in mixed]
    assert not math.isnan(back[0].measurements[0].figures["ttft_p99_s"])
