"""The catalog of llama.cpp's server, and the program that starts it: ``llama-server`` or xllamacpp's server."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys

from autotune_nb.engines.base import Engine, Flag
from autotune_nb.engines.log_patterns import LogPattern
from autotune_nb.errors import FailureKind

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
#: The server's other spellings of on and off.
_ON_OFF = ("enabled", "true", "1", "disabled", "false", "0")
_QUANTIZED = "('q8_0', 'q4_0', 'q4_1', 'iq4_nl', 'q5_0', 'q5_1')"

LLAMA_CPP = Engine(
    name="llama_cpp",
    program=("llama-server",),
    model_flag="--model",
    served_name_flag="--alias",
    version_paths=("/props",),
    default_port=8080,
    backend="vllm",  # llama.cpp honours ignore_eos, which genai-bench's openai backend drops
    module="autotune_nb.engines.llama_server",
    packages=("xllamacpp",),
    metrics_engine="LlamaCPP",
    context_flag="ctx_size",
    bool_style="negatable",
    list_style="comma",
    reserved={"model": "model.id_or_path", "alias": "model.served_name", "host": "deploy.host", "port": "deploy.port"},
    # By default the server changes unset sizes to fit memory; a trial would then measure another configuration.
    fixed={"fit": "off"},
    metrics_flag="metrics",
    flags=(
        Flag(
            "threads",
            "int",
            "threads that generate",
            low=1,
            high=16,
            spelling="--threads",
            aliases=("t",),
            minimum=-1,
        ),
        Flag("threads_batch", "int", "threads that read prompts", low=1, high=16, aliases=("tb",), minimum=-1),
        Flag(
            "parallel",
            "int",
            "slots: requests served at the same time",
            default=-1,
            low=1,
            high=64,
            log=True,
            aliases=("np",),
            minimum=-1,
        ),
        Flag(
            "ctx_size",
            "int",
            "context, shared by the slots; 0 is the model's own",
            default=0,
            minimum=0,
            aliases=("c",),
        ),
        Flag(
            "batch_size",
            "int",
            "logical batch of prompt tokens",
            default=2048,
            low=32,
            high=8192,
            log=True,
            aliases=("b",),
            minimum=1,
        ),
        Flag(
            "ubatch_size",
            "int",
            # No default, so that no rule uses it: the server reduces its default to batch_size.
            "physical batch of prompt tokens; default 512, at most batch_size",
            low=32,
            high=8192,
            log=True,
            aliases=("ub",),
            minimum=1,
        ),
        Flag(
            "flash_attn",
            "choice",
            "flash attention",
            default="auto",
            values=("on", "off", "auto"),
            other_values=(*_ON_OFF, "-1"),
            aliases=("fa",),
            changes_numbers=True,
        ),
        Flag(
            "cache_type_k",
            "choice",
            "type of the K cache",
            default="f16",
            values=CACHE_TYPES,
            aliases=("ctk",),
            changes_numbers=True,
        ),
        Flag(
            "cache_type_v",
            "choice",
            "type of the V cache",
            default="f16",
            values=CACHE_TYPES,
            aliases=("ctv",),
            changes_numbers=True,
        ),
        Flag("cont_batching", "bool", "continuous batching", default=True, style="negatable", aliases=("cb",)),
        Flag("kv_unified", "bool", "one KV buffer for all slots", style="negatable", aliases=("kvu",)),
        Flag("kv_offload", "bool", "KV cache on the GPU", default=True, style="negatable"),
        Flag("op_offload", "bool", "host tensors' operations on the GPU", default=True, style="negatable"),
        Flag("repack", "bool", "repack weights for this CPU", default=True, style="negatable"),
        Flag("cache_prompt", "bool", "reuse the prompt cache of a slot", default=True, style="negatable"),
        Flag("warmup", "bool", "an empty run before the first request", default=True, style="negatable"),
        Flag(
            "n_gpu_layers",
            "int",
            "layers on the GPU",
            default="auto",
            low=0,
            high=128,
            aliases=("ngl", "gpu_layers"),
            minimum=-2,
            other_values=("auto", "all"),
        ),
        Flag(
            "split_mode",
            "choice",
            "how a model is split over GPUs",
            default="layer",
            values=("none", "layer", "row"),
            other_values=("tensor",),
            aliases=("sm",),
        ),
        Flag("api_key", "str", "key that requests must send, as a reference: ${VARIABLE}"),
        Flag("tensor_split", "list", "share of the model on each GPU, such as 3,1", style="comma", aliases=("ts",)),
        Flag(
            "n_cpu_moe",
            "int",
            "layers whose experts stay on the CPU",
            low=0,
            high=64,
            aliases=("ncmoe",),
            minimum=0,
        ),
        Flag(
            "cache_ram",
            "int",
            "MiB of prompt cache in RAM; 0 is off",
            default=8192,
            aliases=("cram",),
            minimum=-1,
        ),
        Flag("cache_reuse", "int", "smallest chunk reused by shifting, in tokens", default=0, minimum=0),
        Flag("numa", "choice", "NUMA strategy", values=("distribute", "isolate", "numactl")),
        Flag("prio", "int", "priority of the threads, -1 to 3", default=0, low=-1, high=3, minimum=-1, maximum=3),
        Flag(
            "poll",
            "int",
            "how eagerly threads poll for work, 0 to 100",
            default=50,
            low=0,
            high=100,
            minimum=0,
            maximum=100,
        ),
        Flag("threads_http", "int", "threads that answer HTTP", low=1, high=32, minimum=-1),
        Flag(
            "fit",
            "choice",
            "change unset sizes to fit memory",
            default="on",
            values=("on", "off"),
            other_values=_ON_OFF,
        ),
    ),
    other_flags=(
        Flag("device", "list", "devices to use; none is the CPU alone", style="comma", aliases=("dev",)),
        Flag("override_tensor", "list", "buffer types by tensor name", style="comma", aliases=("ot",)),
        Flag("main_gpu", "int", "the GPU of split_mode none", default=0, minimum=0, aliases=("mg",)),
        Flag("cpu_moe", "bool", "all experts stay on the CPU", style="switch", aliases=("cmoe",)),
        Flag("mlock", "bool", "keep the model in RAM", style="switch"),
        Flag("mmap", "bool", "map the model's file into memory", default=True, style="negatable"),
        Flag("swa_full", "bool", "full cache of sliding windows", style="switch"),
        Flag("jinja", "bool", "the model's own chat template", style="negatable"),
        Flag("metrics", "bool", "Prometheus metrics", style="switch"),
        Flag("embedding", "bool", "embeddings alone", style="switch", aliases=("embeddings",)),
        Flag("seed", "int", "seed of sampling", default=-1, aliases=("s",)),
    ),
    rules=(
        "ubatch_size <= batch_size",
        f"cache_type_v not in {_QUANTIZED} or flash_attn != 'off'",
    ),
    ready_line=re.compile(r"server is listening on http|: model loaded$|all slots are idle"),
    patterns=(
        LogPattern.of(
            r"cudaMalloc failed: out of memory|failed to allocate(?!.*pinned)|insufficient memory \(|unable to allocate"
            r"|ggml_(?!cuda_host).*alloc.*failed|(?:CUDA|HIP) error: out of memory",
            FailureKind.OUT_OF_MEMORY,
            "use a smaller ctx_size, fewer parallel slots, or a quantized cache",
            start_hint="lower n_gpu_layers or ctx_size, use fewer parallel slots, a quantized cache or a smaller model",
        ),
        LogPattern.of(
            r"V cache quantization requires flash_attn|quantized V cache was requested",
            FailureKind.CONFIGURATION,
            "set flash_attn to on or auto",
        ),
        LogPattern.of(
            r"not within the file bounds|model is corrupted or incomplete|unexpectedly reached end of file",
            FailureKind.CONFIGURATION,
            "the model's file is incomplete: download it again",
        ),
        LogPattern.of(
            r"unknown model architecture|unknown \(?pre-?tokenizer|unknown pre-tokenizer type",
            FailureKind.CONFIGURATION,
            "this version of llama.cpp does not support the model: use a newer version",
        ),
        LogPattern.of(
            r"invalid magic|gguf_init_from_file\S*: (?:failed|invalid)|model file .* does not",
            FailureKind.CONFIGURATION,
            "check the model's path: it must be a GGUF file",
        ),
        LogPattern.of(
            r"failed to (?:load|open|read) (?:the )?model|error loading model|exiting due to model loading error"
            r"|failed to create context with model",
            FailureKind.CONFIGURATION,
            "check the model (its path must name a GGUF file) and its draft model, and the flags for both",
            consequence=True,
        ),
    ),
)


def llama_program() -> tuple[str, ...] | None:
    """Return the command of ``llama-server`` on the PATH, else of xllamacpp's server; None if neither is installed."""
    found = shutil.which("llama-server")
    if found:
        return (found,)
    if importlib.util.find_spec("xllamacpp") is not None:
        return (sys.executable, "-m", "autotune_nb.engines.llama_server")
    return None
