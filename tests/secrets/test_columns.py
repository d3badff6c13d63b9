"""A table's column of secrets, in every form that a table takes in a notebook."""

from __future__ import annotations

import csv
import pprint
from collections.abc import Callable

import pandas as pd
import pytest

from autotune_nb.secrets.redaction import Redactor, redact_data

REDACTOR = Redactor({})


def frame(column: str, secrets: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame({"user": ["ada", "bob"], column: list(secrets), "n": [1, 2]})


def markdown(table: pd.DataFrame) -> str:
    head, *rows = [" | ".join(map(str, row)) for row in (table.columns, *table.to_numpy())]
    return "\n".join(f"| {row} |" for row in (head, ":--|:--|--:", *rows))


ORIENTS = ("split", "records", "index", "columns", "table")
FORMS: dict[str, Callable[[pd.DataFrame], str]] = {
    **{f"json {one}": lambda t, one=one: str(t.to_json(orient=one)) for one in ORIENTS},  # type: ignore[misc]
    **{f"json {one} indented": lambda t, one=one: str(t.to_json(orient=one, indent=2)) for one in ORIENTS},  # type: ignore[misc]
    **{
        f"dict {one}": lambda t, one=one: repr(t.to_dict(orient=one))  # type: ignore[misc]
        for one in ("dict", "list", "series", "split", "tight", "records", "index")
    },
    "pprint": lambda t: pprint.pformat(t.to_dict(orient="split"), width=30),
    **{f"csv {sign!r}": lambda t, sign=sign: str(t.to_csv(sep=sign)) for sign in ",;\t|"},  # type: ignore[misc]
    "csv without index": lambda t: str(t.to_csv(index=False)),
    "csv quoted": lambda t: str(t.to_csv(index=False, quoting=csv.QUOTE_ALL)),
    "markdown": markdown,
    "repr": repr,
    "by user": lambda t: repr(t.set_index("user")),
    "by the secret": lambda t: repr(t.set_index(t.columns[1])),
    "series": lambda t: repr(t.iloc[:, 1]),
    "row": lambda t: repr(t.iloc[0]) + "\n\n" + repr(t.iloc[1]),
    "html": lambda t: str(t.to_html()),
    "html without index": lambda t: str(t.to_html(index=False)),
    "html in rows": lambda t: str(t.T.to_html()),
    "html with levels": lambda t: str(pd.concat({"a": t}, axis=1).to_html()),
    "tuples": lambda t: repr(list(t.itertuples())),
    "latex": lambda t: (
        "\\begin{tabular}{lll}\n" + "".join(" & ".join(map(str, row)) + " \\\\\n" for row in (t.columns, *t.to_numpy()))
    ),
}


@pytest.mark.parametrize("secrets", [("hunter2", "s3cr3t-Va1ue9"), ("correcthorse", "batterystaple")])
@pytest.mark.parametrize("column", ["password", "api_key", "HF_TOKEN", "pw"])
@pytest.mark.parametrize("form", FORMS)
def test_the_column_goes_and_the_others_stay(form: str, column: str, secrets: tuple[str, str]) -> None:
    written = FORMS[form](frame(column, secrets))
    told = REDACTOR.redact(written).text
    assert not any(secret in told for secret in secrets), told
    for word in ("ada", "bob"):
        assert written.count(word) == told.count(word)


@pytest.mark.parametrize("form", FORMS)
def test_a_table_of_a_tokenizers_tokens_stays(form: str) -> None:
    for column, values in (
        ("token", ("hello", "World2")),
        ("max_tokens", ("x1y2z3w4v5", "b")),
        ("key", ("a1b2c3", "d")),
    ):
        written = FORMS[form](frame(column, (values[0], values[1])))
        assert REDACTOR.redact(written).text == written


def test_as_data_too() -> None:
    table = frame("password", ("hunter2", "correcthorse"))
    for orient in ("split", "tight", "records", "list", "index"):
        told = str(redact_data(table.to_dict(orient=orient)).data)
        assert "hunter2" not in told and "correcthorse" not in told and "ada" in told
    resource = {"schema": {"fields": [{"name": "password"}]}, "data": [{"index": 0, "password": "hunter2"}]}
    assert "hunter2" not in str(redact_data(resource).data)


@pytest.mark.parametrize(
    "code",
    [
        "def connect(\n    user,\n    password,\n    host,\n    port,\n): ...",
        "from a import (\n    user, password,\n    host, port,\n)",
        "try:\n    x()\nexcept KeyError:\n    pass\nexcept OSError as error:\n    pass",
        "$ pwd\n/srv/x1\npwd\nauth2=None",
        "names: user, password\nothers: a1, b2",
        "   token  logprob\n0  hello     -0.1\n%env CUDA_VISIBLE_DEVICES=0",
    ],
)
def test_code_is_no_table(code: str) -> None:
    assert REDACTOR.redact(code).text == code
