"""llama.cpp's server from xllamacpp, with llama-server's own flag spellings: ``python -m … --model FILE``.

It runs until SIGTERM or SIGINT. For an unknown flag or a bad value it prints one line and exits with code 1, as
llama-server does.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(1, f"error: invalid argument: {message}\n")


def _on_off(text: str) -> str:
    """Return ``on`` or ``off`` for llama-server's other spellings of them."""
    words = {"enabled": "on", "true": "on", "1": "on", "disabled": "off", "false": "off", "0": "off"}
    return words.get(text, text)


def parser() -> argparse.ArgumentParser:
    """Return the parser for those flags of llama-server that xllamacpp has a parameter for."""
    p = _Parser(prog="llama-server (xllamacpp)", allow_abbrev=False)
    p.add_argument("--version", action="store_true")
    p.add_argument("-m", "--model")
    p.add_argument("-a", "--alias")
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=8080)
    p.add_argument("--api-key", default=os.environ.get("LLAMA_API_KEY"))
    for spellings in (
        ("-t", "--threads"),
        ("-tb", "--threads-batch"),
        ("-np", "--parallel"),
        ("-c", "--ctx-size"),
        ("-b", "--batch-size"),
        ("-ub", "--ubatch-size"),
        ("-ncmoe", "--n-cpu-moe"),
        ("-cram", "--cache-ram"),
        ("--cache-reuse",),
        ("--poll",),
        ("--threads-http",),
        ("-n", "--predict", "--n-predict"),
    ):
        p.add_argument(*spellings, type=int)
    p.add_argument("--prio", type=int, choices=range(-1, 4))
    p.add_argument("-ngl", "--n-gpu-layers", "--gpu-layers")
    p.add_argument("-fa", "--flash-attn", type=_on_off, choices=("on", "off", "auto", "-1"))
    p.add_argument("-ctk", "--cache-type-k")
    p.add_argument("-ctv", "--cache-type-v")
    p.add_argument("-sm", "--split-mode", choices=("none", "layer", "row", "tensor"))
    p.add_argument("-ts", "--tensor-split")
    p.add_argument("--numa", choices=("distribute", "isolate", "numactl"))
    p.add_argument("-fit", "--fit", type=_on_off, choices=("on", "off"))
    for spellings in (
        ("-cb", "--cont-batching"),
        ("-kvu", "--kv-unified"),
        ("--kv-offload",),
        ("--op-offload",),
        ("--repack",),
        ("--cache-prompt",),
        ("--warmup",),
        ("--mmap",),
        ("--metrics",),
    ):
        p.add_argument(*spellings, action=argparse.BooleanOptionalAction)
    p.add_argument("-nocb", dest="cont_batching", action="store_false", default=None)
    p.add_argument("-nkvo", dest="kv_offload", action="store_false", default=None)
    return p


def common_params(options: argparse.Namespace, x: Any) -> Any:
    """Return xllamacpp's parameters for parsed flags. ``x`` is the xllamacpp module.

    Raises ValueError for a bad value.
    """
    params = x.CommonParams()
    params.model.path = options.model
    params.hostnames = [options.host]
    params.port = options.port
    if options.api_key:
        params.api_keys = options.api_key.split(",")
    if options.alias:
        params.model_alias = {options.alias}
    plain = {
        "parallel": "n_parallel",
        "ctx_size": "n_ctx",
        "batch_size": "n_batch",
        "ubatch_size": "n_ubatch",
        "cache_ram": "cache_ram_mib",
        "cache_reuse": "n_cache_reuse",
        "threads_http": "n_threads_http",
        "predict": "n_predict",
        "cont_batching": "cont_batching",
        "kv_unified": "kv_unified",
        "cache_prompt": "cache_prompt",
        "warmup": "warmup",
        "metrics": "endpoint_metrics",
    }
    for option, attribute in plain.items():
        value = getattr(options, option)
        if value is not None:
            setattr(params, attribute, value)
    inverted = {"kv_offload": "no_kv_offload", "op_offload": "no_op_offload", "repack": "no_extra_bufts"}
    for option, attribute in inverted.items():
        value = getattr(options, option)
        if value is not None:
            setattr(params, attribute, not value)
    _threads(params, options)
    if options.fit is not None:
        params.fit_params = options.fit == "on"
    if options.flash_attn is not None:
        modes = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO", "-1": "AUTO"}
        kind = x.llama_flash_attn_type
        params.flash_attn_type = getattr(kind, f"LLAMA_FLASH_ATTN_TYPE_{modes[options.flash_attn]}")
    for side in ("cache_type_k", "cache_type_v"):
        value = getattr(options, side)
        if value is not None:
            kind = getattr(x.ggml_type, f"GGML_TYPE_{value.upper()}", None)
            if kind is None:
                raise ValueError(f"unsupported cache type: {value}")
            setattr(params, side, kind)
    if options.n_gpu_layers is not None:
        words = {"auto": -1, "all": -2}
        params.n_gpu_layers = (
            words[options.n_gpu_layers] if options.n_gpu_layers in words else int(options.n_gpu_layers)
        )
    if options.split_mode is not None:
        params.split_mode = getattr(x.llama_split_mode, f"LLAMA_SPLIT_MODE_{options.split_mode.upper()}")
    if options.tensor_split is not None:
        shares = [float(share) for share in options.tensor_split.split(",")]
        if len(shares) > len(params.tensor_split):
            raise ValueError(f"--tensor-split {options.tensor_split}: at most {len(params.tensor_split)} shares")
        params.tensor_split = shares + [0.0] * (len(params.tensor_split) - len(shares))
    if options.numa is not None:
        params.numa = getattr(x.ggml_numa_strategy, f"GGML_NUMA_STRATEGY_{options.numa.upper()}")
    if options.n_cpu_moe is not None:
        raise ValueError("--n-cpu-moe is not supported by xllamacpp; use a llama-server on the PATH")
    if options.mmap is not None:
        mode = "MMAP" if options.mmap else "NONE"
        params.load_mode = getattr(x.llama_load_mode, f"LLAMA_LOAD_MODE_{mode}")
    return params


def _threads(params: Any, options: argparse.Namespace) -> None:
    if options.threads is not None:
        params.cpuparams.n_threads = options.threads
        # Like llama-server, use the same number of threads for prompts, unless --threads-batch is given.
        params.cpuparams_batch.n_threads = options.threads
    if options.threads_batch is not None:
        params.cpuparams_batch.n_threads = options.threads_batch
    for part in (params.cpuparams, params.cpuparams_batch):
        if options.poll is not None:
            part.poll = options.poll
        if options.prio is not None:
            part.priority = type(part.priority)(options.prio)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal arrives. Return the exit code."""
    options = parser().parse_args(argv)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    import xllamacpp as x

    if options.version:
        sys.stdout.write(f"xllamacpp {x.__version__}\n")
        return 0
    if not options.model:
        sys.stderr.write("error: invalid argument: --model is required\n")
        return 1
    if not Path(options.model).is_file():
        sys.stderr.write(f"error: failed to load model: {options.model!r} does not exist\n")
        return 1
    try:
        params = common_params(options, x)
    except (ValueError, TypeError, OverflowError) as error:
        sys.stderr.write(f"error: invalid argument: {error}\n")
        return 1
    try:
        server = x.Server(params)
    except RuntimeError as error:
        sys.stderr.write(f"error: the server did not start: {error}\n")
        return 1
    sys.stderr.write(f"listening on {server.listening_address}\n")
    sys.stderr.flush()
    stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
