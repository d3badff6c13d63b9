"""The schema of an installed engine, with the flags of eight released versions of vLLM and SGLang."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from autotune_nb.engines.base import Engine
from autotune_nb.engines.installed import with_schema
from autotune_nb.engines.registry import engine_named
from autotune_nb.engines.schema import EngineSchema
from autotune_nb.errors import SetupError, TaskError
from autotune_nb.task.parameters import Bool, Choice, Int
from tests.engines.recorded_flags import VERSIONS, recorded


def installed(engine: str, version: str) -> Engine:
    return with_schema(engine_named(engine), recorded(engine, version))


@pytest.mark.parametrize(
    ("engine", "version", "lacking"),
    [
        ("vllm", "0.30.0", ["max_num_active_seqs"]),
        *(("vllm", version, []) for version in VERSIONS["vllm"][1:]),
        *(("sglang", version, ["attn_dp_size"]) for version in VERSIONS["sglang"][:2]),
        *(("sglang", version, []) for version in VERSIONS["sglang"][2:]),
    ],
)
def test_the_catalog_agrees_with_the_releases(engine: str, version: str, lacking: list[str]) -> None:
    schema, catalog = recorded(engine, version), engine_named(engine)
    assert schema.lacks((*catalog.flags, *catalog.other_flags)) == lacking
    for flag in catalog.flags:
        found = schema.exact(flag.name)
        if found is None:
            continue
        if "bool" in (flag.kind, found.kind):
            assert flag.kind == found.kind, flag.name
        if flag.kind == "choice" and found.choices and version == VERSIONS[engine][-1]:
            assert {str(one) for one in flag.values} <= {str(one) for one in found.choices}, flag.name


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("tp", 2, ["--tensor-parallel-size", "2"]),
        ("enable_prefix_caching", False, ["--no-enable-prefix-caching"]),
        ("no_enable_prefix_caching", True, ["--no-enable-prefix-caching"]),
        ("no_enable_prefix_caching", False, ["--enable-prefix-caching"]),
        ("compilation_config.level", 3, ["--compilation-config.level", "3"]),
        ("mm_processor_kwargs", {"a": 1}, ["--mm-processor-kwargs", '{"a":1}']),
        ("middleware", ["a.b", "c.d"], ["--middleware", "a.b", "--middleware", "c.d"]),
        ("max_num_batched", "16k", ["--max-num-batched-tokens", "16k"]),
        # Not in the catalog.
        ("allowed_origins", ["*"], ["--allowed-origins", '["*"]']),
        ("aggregate_engine_logging", True, ["--aggregate-engine-logging"]),
    ],
)
def test_any_flag_of_the_engine_can_be_a_parameter(name: str, value: Any, words: list[str]) -> None:
    engine = installed("vllm", "0.33.0")
    engine.check(name, Bool() if isinstance(value, bool) else Choice(values=[value]), field="parameters")
    assert engine.arguments({name: value}) == words


@pytest.mark.parametrize(
    ("engine", "name", "parameter", "message"),
    [
        ("vllm", "max_num_seq_s", Int(low=1, high=2), "no flag --max-num-seq-s; did you mean 'max_num_seqs'?"),
        ("vllm", "swap_space", Int(low=1, high=4), "vllm 0.33.0 has no flag --swap-space"),
        # A start of several names.
        ("vllm", "max_num", Int(low=1, high=2), "has no flag --max-num"),
        ("vllm", "generation_tokens.x", Int(low=1, high=2), "has no flag --generation-tokens"),
        ("vllm", "performance_mode", Choice(values=["fast"]), "unknown value 'fast'"),
        ("vllm", "max_cudagraph_capture_size", Choice(values=["many"]), "not a whole number"),
        ("sglang", "schedule_policy", Choice(values=["fcfz"]), "did you mean 'fcfs'"),
        ("sglang", "moe_dp", Choice(values=["x"]), "not a whole number"),
    ],
)  # fmt: skip
def test_what_the_installed_version_would_refuse_is_refused_in_the_task(
    engine: str, name: str, parameter: Any, message: str
) -> None:
    with pytest.raises(TaskError) as error:
        installed(engine, VERSIONS[engine][-1]).check(name, parameter, field="parameters.x")
    assert message in str(error.value)


def test_a_choice_that_only_another_version_has_is_judged_by_the_installed_one() -> None:
    values = Choice(values=["fp4_e2m1"])
    installed("sglang", "0.5.20").check("kv_cache_dtype", values, field="x")
    with pytest.raises(TaskError, match="fp4_e2m1"):
        installed("sglang", "0.5.23").check("kv_cache_dtype", values, field="x")


def test_an_explicit_spelling_passes_unchecked() -> None:
    parameter = Int(low=1, high=2, flag="--plugin-x")
    installed("vllm", "0.33.0").check("plugin_x", parameter, field="x")


def test_rules_with_a_flag_that_the_version_lacks_do_not_apply() -> None:
    old, new = installed("vllm", "0.30.0"), installed("vllm", "0.33.0")
    assert [text for text in new.rules if text not in old.rules] == ["max_num_active_seqs <= max_num_seqs"]


def test_a_schema_is_read_back_as_it_was_written() -> None:
    schema = recorded("sglang", "0.5.23")
    assert EngineSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


@pytest.mark.parametrize(
    "spoil", [lambda d: d.pop("flags"), lambda d: d["flags"][0].pop("kind"), lambda d: d.update(more=1)]
)
def test_other_data_is_no_schema(spoil: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads(json.dumps(recorded("vllm", "0.33.0").to_dict()))
    spoil(data)
    with pytest.raises(SetupError, match="no schema of an engine"):
        EngineSchema.from_dict(data)
