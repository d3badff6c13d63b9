"""Consistency of every catalog: names, suggestions, rules, and log patterns."""

from __future__ import annotations

import pytest

from autotune_nb.engines.base import Engine, Flag
from autotune_nb.engines.installed import with_schema
from autotune_nb.engines.llama_cpp import LLAMA_CPP
from autotune_nb.engines.log_patterns import COMMON_PATTERNS
from autotune_nb.engines.sglang import SGLANG
from autotune_nb.engines.vllm import VLLM
from autotune_nb.errors import FailureKind
from autotune_nb.task.parameters import Choice
from autotune_nb.task.preset_catalog import PRESETS
from autotune_nb.task.rule import Rule
from tests.engines.recorded_flags import VERSIONS, recorded

ENGINES = (LLAMA_CPP, VLLM, SGLANG)
FLAGS = [pytest.param(engine, flag, id=f"{engine.name}-{flag.name}") for engine in ENGINES for flag in engine.flags]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_every_name_alias_and_spelling_is_unique(engine: Engine) -> None:
    names = [name for flag in engine.flags for name in (flag.name, *flag.aliases)]
    assert len(names) == len(set(names))
    assert len({flag.flag for flag in engine.flags}) == len(engine.flags)


@pytest.mark.parametrize(("engine", "flag"), FLAGS)
def test_a_flag_accepts_its_own_values_default_and_suggestion(engine: Engine, flag: Flag) -> None:
    assert flag.name.isidentifier()
    assert flag.help
    assert flag.problem(flag.default) is None
    assert all(flag.problem(value) is None for value in flag.values)
    suggestion = flag.suggestion()
    if suggestion is not None:
        engine.check(flag.name, suggestion, field=flag.name)
        for value in list(suggestion.grid() or [])[:50]:
            assert flag.problem(value) is None
    if flag.kind == "bool":
        assert flag.style in ("switch", "negatable")
    if flag.kind == "json":
        assert flag.style == "json"


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_rules_name_catalog_flags_only_and_allow_the_defaults(engine: Engine) -> None:
    defaults = {flag.name: flag.default for flag in (*engine.flags, *engine.other_flags)}
    for text in engine.rules:
        assert Rule(text, list(defaults)).allows(defaults), text


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_parallel_sizes_and_fixed_flags_are_in_the_catalog(engine: Engine) -> None:
    for name in (*engine.parallel_sizes, *engine.fixed):
        assert engine.flag_named(name) is not None


@pytest.mark.parametrize("engine", [VLLM, SGLANG], ids=lambda engine: engine.name)
def test_flags_that_decide_what_is_compiled_are_those_of_a_real_version(engine: Engine) -> None:
    newest = recorded(engine.name, VERSIONS[engine.name][-1])
    assert [name for name in engine.compile_flags if newest.flag_named(name) is None] == []


@pytest.mark.parametrize(
    ("engine", "line", "kind", "hint"),
    [
        (LLAMA_CPP, "ggml_aligned_malloc: failed to allocate 9 GB", FailureKind.OUT_OF_MEMORY, "ctx_size"),
        (LLAMA_CPP, "V cache quantization requires flash_attn", FailureKind.CONFIGURATION, "flash_attn"),
        (LLAMA_CPP, "error: failed to load model: 'x' does not exist", FailureKind.CONFIGURATION, "GGUF"),
        (LLAMA_CPP, "error: invalid argument: --wat", FailureKind.CONFIGURATION, "--help"),
        (LLAMA_CPP, "couldn't bind HTTP server socket", FailureKind.INFRASTRUCTURE, "deploy.port"),
        (VLLM, "ValueError: No available memory for the cache blocks.", FailureKind.OUT_OF_MEMORY, "raise gpu_memory"),
        (VLLM, "torch.OutOfMemoryError: CUDA out of memory.", FailureKind.OUT_OF_MEMORY, "lower gpu_memory"),
        (VLLM, "vllm: error: unrecognized arguments: --swap-space", FailureKind.CONFIGURATION, "--help"),
        (
            SGLANG,
            "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
            FailureKind.OUT_OF_MEMORY,
            "raise mem_fraction_static",
        ),
        (SGLANG, "torch.OutOfMemoryError: CUDA out of memory.", FailureKind.OUT_OF_MEMORY, "lower mem_fraction_static"),
    ],
)
def test_a_log_pattern_gives_the_kind_of_the_failure_and_a_hint(
    engine: Engine, line: str, kind: FailureKind, hint: str
) -> None:
    first = next(p for p in (*engine.patterns, *COMMON_PATTERNS) if p.pattern.search(line))
    assert first.kind is kind
    assert hint in first.hint


@pytest.mark.parametrize("engine", [LLAMA_CPP, VLLM, SGLANG], ids=lambda engine: engine.name)
def test_presets_have_flags_of_the_catalog_and_of_its_version(engine: Engine) -> None:
    versions = [engine]
    if engine.name in VERSIONS:
        versions.append(with_schema(engine, recorded(engine.name, VERSIONS[engine.name][-1])))
    for preset in PRESETS:
        for name, values in preset.flags.get(engine.name, {}).items():
            assert engine.flag_named(name) is not None, (preset.name, name)
            for version in versions:
                version.check(name, Choice(values=list(values)), field=preset.name)
