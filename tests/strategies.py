"""Hypothesis strategies for tasks."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from autotune_nb.secrets.names import says_secret
from autotune_nb.task.sections import SAMPLERS
from autotune_nb.task.task import Task

#: Tasks reject null bytes, since no program accepts them as arguments.
_LETTERS = st.characters(codec="utf-8", exclude_characters="\x00")
#: Names of secrets are excluded, since tasks reject a literal value under such a name.
_WORDS = st.text(_LETTERS, min_size=1, max_size=12).filter(lambda name: not says_secret(name))
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["on", "off", "no", "null", "1", "1.0", "1e3", "2024-01-01", "=", "~", "", "a: b", "- x", "0x1"]),
    st.text(_LETTERS, max_size=8),
    st.dictionaries(_WORDS, st.one_of(st.integers(-(2**63), 2**63 - 1), st.booleans(), _WORDS), max_size=2),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=2),
)
_OPTIONAL_FLAG = st.fixed_dictionaries(
    {}, optional={"flag": st.just("--x-y"), "style": st.sampled_from(["switch", "json"])}
)
_PARAMETERS = st.one_of(
    st.lists(_VALUES, min_size=1, max_size=4, unique_by=lambda v: json.dumps(v, sort_keys=True)),
    _OPTIONAL_FLAG.map(lambda extra: {"type": "bool", **extra}),
    st.tuples(st.integers(1, 9), st.integers(0, 99), st.booleans()).map(
        lambda t: {"low": t[0], "high": t[0] + t[1], "log": t[2]}
    ),
    st.tuples(st.integers(-9, 9), st.integers(0, 99)).map(
        lambda t: {"type": "float", "low": t[0], "high": t[0] + t[1], "step": 0.25}
    ),
    st.tuples(st.floats(0.001, 9), st.floats(0, 9)).map(
        lambda t: {"type": "float", "low": t[0], "high": t[0] + t[1], "log": True}
    ),
)
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True).filter(lambda name: not says_secret(name))


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    parameters = draw(st.dictionaries(_NAMES, _PARAMETERS, min_size=1, max_size=3))
    fixed = draw(st.dictionaries(_NAMES.filter(lambda name: name not in parameters), _VALUES, max_size=2))
    data: dict[str, Any] = {
        "name": draw(st.from_regex(r"[^\s/\\\x00-\x1f][^/\\\x00-\x1f]{0,20}", fullmatch=True)),
        "description": draw(st.text(_LETTERS, max_size=40)),
        "model": draw(st.one_of(_WORDS, st.just({"random_weights": {"layers": 2, "seed": 3}}))),
        "engine": draw(
            st.sampled_from(["llama_cpp", "vllm", "sglang", "command"]).map(
                lambda kind: {"kind": kind, "args": fixed} | ({"command": "x {port}"} if kind == "command" else {})
            )
        ),
        "parameters": parameters,
        "workload": {
            "scenarios": draw(
                st.lists(
                    st.sampled_from(["D(1,2)", "N(3,1)/(4,1)", "U(1,9)/(1,5)", "mix(3*D(1,2),1*prefix(4)+D(1,2))"]),
                    min_size=1,
                    unique=True,
                )
            ),
            "dataset": draw(st.sampled_from([{}, {"path": "my, own.csv", "prompt": "Say: {q}, {r}"}])),
            "concurrency": draw(st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True)),
            "request_params": draw(st.dictionaries(_WORDS, _VALUES, max_size=2)),
            "warmup_ratio": draw(st.floats(0, 0.99)),
        },
        "objective": draw(st.sampled_from(["minimize_latency", "maximize requests_per_s", "minimize ttft_p99"])),
        "limits": draw(
            st.lists(st.sampled_from(["ttft <= 0.5", "tpot_p99 < 1e-3", "requests_per_s >= 2"]), unique=True)
        ),
        "strategy": {
            "sampler": draw(st.sampled_from([s for s in SAMPLERS if s != "grid"])),
            "seed": draw(st.integers(-(2**63), 2**63 - 1)),
        },
        "budget": {"trials": draw(st.one_of(st.none(), st.integers(1, 99))), "baseline": draw(st.booleans())},
        "deploy": {"gpus": draw(st.one_of(st.none(), st.lists(st.integers(0, 7), max_size=2, unique=True)))},
    }
    return Task.parse(data)


#: A space with every kind of parameter, and rules that keep some of its points.
MIXED_SPACE: dict[str, Any] = {
    "parameters": {
        "a": {"type": "int", "low": 1, "high": 64, "log": True},
        "b": {"type": "int", "low": 2, "high": 19, "step": 3},
        "f": {"type": "float", "low": 0.1, "high": 0.9, "step": 0.2},
        "g": {"type": "float", "low": 0.001, "high": 10.0, "log": True},
        "c": ["x", "y", None, {"k": 1}],
        "d": {"type": "bool"},
    },
    "rules": ["a <= b", "not d or f < 0.6"],
}
