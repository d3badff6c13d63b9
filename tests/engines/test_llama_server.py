"""The bundled llama.cpp server: llama-server's flags become parameters of the real xllamacpp."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from autotune_nb.engines.base import Flag
from autotune_nb.engines.llama_cpp import CACHE_TYPES, LLAMA_CPP
from autotune_nb.engines.llama_server import common_params, main, parser
from autotune_nb.task.parameters import Value

x = pytest.importorskip("xllamacpp")


def params(*argv: str) -> Any:
    return common_params(parser().parse_args(["--model", "m.gguf", *argv]), x)


def values(flag: Flag) -> list[Value]:
    if flag.kind == "bool":
        return [True, False]
    numbers = [int(n) for n in (flag.low, flag.high, flag.minimum) if n is not None]
    own = [*flag.values, *flag.other_values, *numbers, *([] if flag.default is None else [flag.default])]
    return own or ["3,1"]


@pytest.mark.parametrize("flag", LLAMA_CPP.flags, ids=lambda flag: flag.name)
def test_every_flag_of_the_catalog_is_accepted_or_refused_in_one_line(flag: Flag) -> None:
    for value in values(flag):
        argv = flag.render(value)
        assert argv
        if flag.name == "n_cpu_moe":
            with pytest.raises(
                ValueError, match=r"^--n-cpu-moe is not supported by xllamacpp; use a llama-server[^\n]*$"
            ):
                params(*argv)
        else:
            params(*argv)


@pytest.mark.parametrize(
    ("argv", "attribute", "value"),
    [
        (["--ctx-size", "2048"], "n_ctx", 2048),
        (["-c", "2048"], "n_ctx", 2048),
        (["-np", "8"], "n_parallel", 8),
        (["-b", "64"], "n_batch", 64),
        (["--ubatch-size", "32"], "n_ubatch", 32),
        (["-nocb"], "cont_batching", False),
        (["--no-cont-batching"], "cont_batching", False),
        (["--cont-batching"], "cont_batching", True),
        (["--kv-unified"], "kv_unified", True),
        (["-nkvo"], "no_kv_offload", True),
        (["--kv-offload"], "no_kv_offload", False),
        (["--no-op-offload"], "no_op_offload", True),
        (["--no-repack"], "no_extra_bufts", True),
        (["--fit", "off"], "fit_params", False),
        (["-fit", "on"], "fit_params", True),
        (["-cram", "0"], "cache_ram_mib", 0),
        (["--cache-reuse", "256"], "n_cache_reuse", 256),
        (["--no-cache-prompt"], "cache_prompt", False),
        (["--no-warmup"], "warmup", False),
        (["-ngl", "auto"], "n_gpu_layers", -1),
        (["--n-gpu-layers", "all"], "n_gpu_layers", -2),
        (["-ngl", "7"], "n_gpu_layers", 7),
        (["--host", "0.0.0.0"], "hostnames", ["0.0.0.0"]),
        (["--port", "81"], "port", 81),
    ],
)
def test_a_flag_sets_the_servers_parameter(argv: list[str], attribute: str, value: object) -> None:
    assert getattr(params(*argv), attribute) == value


def test_an_absent_flag_leaves_the_servers_default() -> None:
    plain, own = params(), x.CommonParams()
    for attribute in ("n_ctx", "n_batch", "n_parallel", "cont_batching", "flash_attn_type", "cache_type_k", "warmup"):
        assert getattr(plain, attribute) == getattr(own, attribute)


def test_threads_apply_to_prompts_too_unless_threads_batch_is_given() -> None:
    same = params("-t", "3")
    assert (same.cpuparams.n_threads, same.cpuparams_batch.n_threads) == (3, 3)
    different = params("-t", "3", "-tb", "5")
    assert (different.cpuparams.n_threads, different.cpuparams_batch.n_threads) == (3, 5)


@pytest.mark.parametrize("name", CACHE_TYPES)
def test_the_server_has_every_cache_type_of_the_catalog(name: str) -> None:
    result = params("-ctk", name, "-ctv", name)
    assert result.cache_type_k == result.cache_type_v == getattr(x.ggml_type, f"GGML_TYPE_{name.upper()}")


def test_flash_attention_on_off_and_auto_differ() -> None:
    assert len({params("-fa", mode).flash_attn_type for mode in ("on", "off", "auto")}) == 3


@pytest.mark.parametrize(
    "argv",
    [
        ["--ctk", "f16"],
        ["--no-such-flag"],
        ["--thread", "2"],
        ["--threads"],
        ["--threads", "two"],
        ["--flash-attn", "maybe"],
        ["--prio", "7"],
        ["stray"],
    ],
)
def test_an_unknown_flag_or_a_bad_value_exits_with_1_and_one_line(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 1
    output = capsys.readouterr().err
    assert output.startswith("error: invalid argument: ")
    assert output.count("\n") == 1


@pytest.mark.parametrize(
    "argv",
    [
        ["-ctk", "q9_9"],
        ["-ngl", "most"],
        ["-ts", "a,b"],
        ["-ts", ",".join(["1"] * 1000)],
        ["--threads", "9" * 30],
        ["--poll", "-1"],
    ],
)
def test_a_value_that_the_server_does_not_accept_is_refused_in_one_line(argv: list[str]) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)) as caught:
        params(*argv)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "code", "output"),
    [
        (["--version"], 0, "xllamacpp "),
        ([], 1, "error: invalid argument: --model is required\n"),
        (["--model", "/no/such.gguf"], 1, "error: failed to load model: '/no/such.gguf' does not exist\n"),
        (["--model", __file__, "-ctk", "q9"], 1, "error: invalid argument: unsupported cache type: q9\n"),
    ],
)
def test_the_program_exits_with_the_right_code_and_one_line(argv: list[str], code: int, output: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "autotune_nb.engines.llama_server", *argv], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == code
    assert (ended.stdout if code == 0 else ended.stderr).startswith(output)
