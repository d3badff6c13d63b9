"""SGLang's server. Read off SGLang 0.5.23; its own ``--help`` wins over this catalog."""

from __future__ import annotations

import sys

from autotune_nb.engines.base import Engine, Flag, LogPattern
from autotune_nb.errors import FailureKind

_ATTENTION = ("fa3", "fa4", "flashinfer", "triton", "trtllm_mha", "flashmla")

SGLANG = Engine(
    name="sglang",
    program=(sys.executable, "-m", "sglang.launch_server"),
    model_flag="--model-path",
    served_name_flag="--served-model-name",
    default_port=30000,
    backend="sglang",
    metrics_engine="SGLang",
    parallel_sizes=("tp_size", "pp_size", "dp_size"),
    flags=(
        Flag("tp_size", "int", "GPUs a layer is split over", default=1, low=1, high=8, log=True,
             aliases=("tp", "tensor_parallel_size"), minimum=1),
        Flag("pp_size", "int", "groups of layers", default=1, low=1, high=8, aliases=("pipeline_parallel_size",),
             minimum=1),
        Flag("dp_size", "int", "replicas behind one server", default=1, low=1, high=8, aliases=("data_parallel_size",),
             minimum=1),
        Flag("attn_dp_size", "int", "data parallelism of attention alone", default=1, low=1, high=8, minimum=1),
        Flag("ep_size", "int", "GPUs experts are spread over", default=1, low=1, high=8, minimum=1),
        Flag("mem_fraction_static", "float", "share of memory for weights and KV cache", low=0.70, high=0.95,
             aliases=("mem_frac", "mem_fraction"), minimum=0.01),
        Flag("max_running_requests", "int", "requests in a batch", low=16, high=2048, log=True, minimum=1),
        Flag("max_total_tokens", "int", "tokens of KV cache", minimum=1),
        Flag("max_prefill_tokens", "int", "tokens of a prefill batch", default=16384, low=2048, high=65536, log=True,
             minimum=1),
        Flag("chunked_prefill_size", "int", "tokens of a prefill chunk; -1 is off, default by memory",
             values=(-1, 2048, 4096, 8192, 16384), minimum=-1),
        Flag("schedule_policy", "choice", "order of requests", default="fcfs",
             values=("lpm", "random", "fcfs", "dfs-weight", "lof", "priority", "routing-key", "hrrn",
                     "shortest-prefill-first")),
        Flag("schedule_conservativeness", "float", "higher admits fewer requests", default=1.0, low=0.3, high=1.3,
             minimum=0),
        Flag("page_size", "int", "tokens a KV page", low=1, high=128, log=True, minimum=1),
        Flag("disable_radix_cache", "bool", "no reuse of equal prefixes", style="switch"),
        Flag("disable_overlap_schedule", "bool", "no scheduling while the GPU works", style="switch"),
        Flag("enable_mixed_chunk", "bool", "prefill chunks beside decodes", style="switch"),
        Flag("enable_torch_compile", "bool", "torch.compile", style="switch"),
        Flag("num_continuous_decode_steps", "int", "decode steps between schedules", default=1, low=1, high=16,
             minimum=1),
        Flag("stream_interval", "int", "tokens a streamed chunk", default=1, low=1, high=16, minimum=1),
        Flag("kv_cache_dtype", "choice", "type of the KV cache", default="auto",
             values=("auto", "bf16", "fp8_e5m2", "fp8_e4m3")),
        Flag("attention_backend", "choice", "attention kernels", values=_ATTENTION),
        Flag("prefill_attention_backend", "choice", "attention kernels of prefill", values=_ATTENTION),
        Flag("decode_attention_backend", "choice", "attention kernels of decode", values=_ATTENTION),
        Flag("cuda_graph_max_bs_decode", "int", "largest captured decode batch", low=8, high=512, log=True,
             minimum=1),
        Flag("torch_compile_max_bs", "int", "largest compiled batch", default=32, low=1, high=128, log=True,
             minimum=1),
        Flag("enable_hierarchical_cache", "bool", "KV cache in RAM behind the GPU's", style="switch"),
        Flag("hicache_ratio", "float", "RAM cache to GPU cache", default=2.0, low=1.0, high=8.0, minimum=0),
        Flag("hicache_size", "int", "GB of RAM cache; overrides hicache_ratio", default=0, minimum=0),
        Flag("speculative_algorithm", "choice", "speculative decoding", values=("EAGLE", "EAGLE3", "NEXTN", "NGRAM")),
        Flag("speculative_num_steps", "int", "draft steps", low=1, high=8, minimum=1),
        Flag("speculative_eagle_topk", "int", "draft branches", low=1, high=16, minimum=1),
        Flag("speculative_num_draft_tokens", "int", "draft tokens", low=2, high=64, minimum=1),
        Flag("context_length", "int", "longest sequence", minimum=1),
        Flag("quantization", "str", "quantization method"),
        Flag("load_format", "str", "how weights are loaded", default="auto"),
        Flag("trust_remote_code", "bool", "run the model's own code", style="switch"),
        Flag("random_seed", "int", "seed of sampling"),
    ),
    rules=(
        "chunked_prefill_size == -1 or chunked_prefill_size % page_size == 0",
        "tp_size % attn_dp_size == 0",
        "attn_dp_size == 1 or dp_size == 1",
        "ep_size == 1 or ep_size == tp_size",
        "pp_size == 1 or disable_overlap_schedule",
    ),
    patterns=(
        LogPattern.of(
            r"Not enough memory\. Please try to increase --mem-fraction-static",
            FailureKind.OUT_OF_MEMORY,
            "raise mem_fraction_static: there was no room for the KV cache at start",
        ),
        LogPattern.of(
            r"CUDA out of memory|torch\.(cuda\.)?OutOfMemoryError",
            FailureKind.OUT_OF_MEMORY,
            "lower mem_fraction_static or max_running_requests: the memory ran out at work",
        ),
    ),
)
