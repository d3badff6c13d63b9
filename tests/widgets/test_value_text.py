"""Codecs of values: what is shown is read back as the same value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.widgets._value_text import (
    COMMAND,
    ITEMS,
    LEVEL,
    LIST,
    MAPPING,
    MISSING,
    NUMBER,
    SCENARIOS,
    WORD_LIST,
    WORD_MAPPING,
    WORDS,
    Codec,
)

_LETTERS = st.characters(codec="utf-8")
_TEXTS = st.one_of(
    st.text(_LETTERS, max_size=12),
    st.sampled_from(
        ["on", "off", "true", "null", "~", "1", "1e-5", "0x1", "1:30", "2024-01-01", "<<", "=", "-", "--x"]
    ),
    st.sampled_from(
        ['"', '"a"', "a: b", "a, b", "[a]", "{a}", "# a", "*a", "&a", "!a", " a ", "a\nb", "\x85", "\u2028"]
    ),
)
_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), _TEXTS)
_VALUES = st.recursive(
    _SCALARS, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(_TEXTS, v, max_size=3)), max_leaves=6
)


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and json.dumps(a) == json.dumps(b)


@given(value=st.lists(_VALUES, min_size=1, max_size=4))
def test_a_list_is_read_as_it_is_shown(value: list[Any]) -> None:
    assert same(LIST.read(LIST.show(value)), value)


@given(value=st.dictionaries(_TEXTS, _VALUES, min_size=1, max_size=3))
def test_a_mapping_is_read_as_it_is_shown(value: dict[str, Any]) -> None:
    assert same(MAPPING.read(MAPPING.show(value)), value)


@given(words=st.lists(_TEXTS, min_size=1, max_size=3))
def test_lists_and_mappings_of_words_are_read_as_they_are_shown(words: list[str]) -> None:
    assert WORD_LIST.read(WORD_LIST.show(words)) == words
    assert WORD_MAPPING.read(WORD_MAPPING.show({w: w for w in words})) == {w: w for w in words}
    assert COMMAND.read(COMMAND.show(words)) == words


@given(word=_TEXTS)
def test_words_are_read_as_they_are_shown(word: str) -> None:
    assert WORDS.read(WORDS.show(word)) == word
    assert COMMAND.read(COMMAND.show(word)) == word


@given(number=st.one_of(st.integers(), st.floats(allow_nan=False)))
def test_numbers_are_read_as_they_are_shown(number: float) -> None:
    assert NUMBER.read(NUMBER.show(number)) == number


@pytest.mark.parametrize(
    ("codec", "text", "value"),
    [
        (LIST, "1, 2, on, null, 1e-5, 'x y'", [1, 2, "on", None, 1e-5, "x y"]),
        (LIST, "1, 2, ", [1, 2]),
        (LIST, "  ", MISSING),
        (ITEMS, "[]", []),
        (ITEMS, "[1, 2]", [1, 2]),
        (ITEMS, "1, 2", [1, 2]),
        (ITEMS, "", MISSING),
        (WORD_LIST, "--a, 1, on", ["--a", "1", "on"]),
        (MAPPING, "ctx_size: 8192, fit: off", {"ctx_size": 8192, "fit": "off"}),
        (MAPPING, "{a: 1}", {"a": 1}),
        (MAPPING, "a: null", {"a": None}),
        (MAPPING, "", MISSING),
        (WORD_MAPPING, "A: 1, B: true", {"A": "1", "B": "true"}),
        (NUMBER, " 5 ", 5),
        (NUMBER, "1e-5", 1e-5),
        (NUMBER, "five", "five"),
        (NUMBER, "", MISSING),
        (WORDS, " a b ", "a b"),
        (WORDS, '"', '"'),
        (WORDS, '""', ""),
        (COMMAND, "a --port {port}", "a --port {port}"),
        (COMMAND, "[a, 1]", ["a", "1"]),
        (SCENARIOS, "D(1,2), N(3,1)/(4,1) ,dataset,", ["D(1,2)", "N(3,1)/(4,1)", "dataset"]),
        (SCENARIOS, "mix(3*D(1,2),1*D(3,4)), D(1,2)", ["mix(3*D(1,2),1*D(3,4))", "D(1,2)"]),
        (SCENARIOS, "", MISSING),
        (LEVEL, "best", "best"),
        (LEVEL, "8", 8),
        (LEVEL, "concurrency: 8", {"concurrency": 8}),
        (LEVEL, "{}", {}),
    ],
)
def test_what_people_type_is_read(codec: Codec, text: str, value: Any) -> None:
    assert codec.read(text) == value


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        (LIST, "[1"),
        (LIST, "1, 'a"),
        (LIST, "&a [*a]"),
        (LIST, "!!python/name:os.abort x"),
        (LIST, "2024-13-45"),
        (LIST, "1], [2"),
        (MAPPING, "a"),
        (MAPPING, "a:1"),
        (MAPPING, "a:"),
        (MAPPING, "[1]: 2"),
    ],
)
def test_an_invalid_text_is_reported_in_one_line(codec: Codec, text: str) -> None:
    with pytest.raises(ValueError, match=r"^cannot be read: [^\n]*$"):
        codec.read(text)


@pytest.mark.parametrize(
    ("codec", "value", "text"),
    [
        (LIST, [1, "on", "f16", None, 0.5, True], "1, on, f16, null, 0.5, true"),
        (LIST, [[1, 2], {"a": "b c"}], "[1, 2], {a: b c}"),
        (MAPPING, {"ctx_size": 8192, "x": "1"}, 'ctx_size: 8192, x: "1"'),
        (WORD_LIST, ["--no-x", "a:b"], '--no-x, "a:b"'),
        (ITEMS, [], "[]"),
        (NUMBER, 600.0, "600"),
        (NUMBER, 0.25, "0.25"),
        (LEVEL, {"concurrency": 8, "scenario": "D(1,2)"}, 'concurrency: 8, scenario: "D(1,2)"'),
    ],
)
def test_values_are_shown_as_people_write_them(codec: Codec, value: Any, text: str) -> None:
    assert codec.show(value) == text
