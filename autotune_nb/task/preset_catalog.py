"""The presets as data: each has a name, the flags that it sets on each engine, and the source of its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from autotune_nb.task.parameters import Value

Kind = Literal["quantization", "parallelism", "speculative", "scheduling", "goal"]
Flags = Mapping[str, Sequence[Value]]

_PROTOTYPE = "https://github.com/novitalabs/inference-autotuner"
_QUANTIZATION = f"{_PROTOTYPE} src/utils/quantization_mapper.py"
_PARALLEL = f"{_PROTOTYPE} src/utils/parallel_mapper.py"
_VLLM_TUNING = "https://docs.vllm.ai/en/stable/configuration/optimization/"
_SGLANG_TUNING = "https://docs.sglang.io/advanced_features/hyperparameter_tuning.html"
_TUNING = f"{_VLLM_TUNING} and {_SGLANG_TUNING}"
_SPECULATIVE = "https://docs.vllm.ai/en/stable/features/ and https://docs.sglang.io/advanced_features/"

#: The flags of tensor, pipeline and data parallelism: the name to use first, then the other spellings.
SIZES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "sglang": {
        "tp": ("tp_size", "tp", "tensor_parallel_size"),
        "pp": ("pp_size", "pp", "pipeline_parallel_size"),
        "dp": ("dp_size", "dp", "data_parallel_size"),
    },
    "vllm": {
        "tp": ("tensor_parallel_size", "tp", "tp_size"),
        "pp": ("pipeline_parallel_size", "pp", "pp_size"),
        "dp": ("data_parallel_size", "dp", "dp_size"),
    },
}
#: The value of a flag that one of several alternatives does not set.
DEFAULTS: Mapping[str, Value] = {
    **{names[0]: 1 for sizes in SIZES.values() for names in sizes.values()},
    "decode_context_parallel_size": 1,
    "enable_expert_parallel": False,
    "dtype": "auto",
    "kv_cache_dtype": "auto",
    "moe_runner_backend": "auto",
}


@dataclass(frozen=True)
class Preset:
    """Flags with the values to search, by engine; a preset with one value for each flag is a configuration.

    ``sizes`` are the kinds of parallelism that are searched up to the number of GPUs that the name ends in, as in
    ``parallelism-on-8-gpus``. ``{draft_model}`` in a value stands for the option of this name.
    """

    name: str
    kind: Kind
    help: str
    source: str
    flags: Mapping[str, Flags] = field(default_factory=dict)
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: tuple[str, ...] = ()
    #: Whether the name must end in a number of GPUs.
    needs_gpus: bool = False
    needs_draft_model: bool = False

    def supports(self, engine: str) -> bool:
        """Return whether the preset has flags for an engine."""
        return engine in self.flags or (bool(self.sizes) and engine in SIZES)


def _sizes(tp: int, pp: int, dp: int, vllm: Flags | None = None, sglang: Flags | None = None) -> dict[str, Flags]:
    """Return a configuration of the three sizes for both engines, and further flags."""
    sizes = {"tp": tp, "pp": pp, "dp": dp}
    found: dict[str, Flags] = {}
    for engine, more in (("vllm", vllm or {}), ("sglang", sglang or {})):
        found[engine] = {**{SIZES[engine][key][0]: [value] for key, value in sizes.items()}, **more}
    return found


#: What most studies search first; a new task of the form begins with the same.
SCHEDULING: Mapping[str, Flags] = {
    "vllm": {
        "max_num_seqs": (32, 64, 128, 256, 512),
        "max_num_batched_tokens": (2048, 4096, 8192, 16384),
        "performance_mode": ("balanced", "interactivity", "throughput"),
        "async_scheduling": (True, False),
    },
    "sglang": {
        "max_running_requests": (32, 64, 128, 256),
        "chunked_prefill_size": (2048, 4096, 8192, 16384),
        "schedule_conservativeness": (0.3, 0.6, 1.0),
        "num_continuous_decode_steps": (1, 2, 4),
    },
    "llama_cpp": {
        "parallel": (1, 2, 4, 8),
        "batch_size": (256, 512, 1024, 2048),
        "ubatch_size": (128, 256, 512),
        "flash_attn": ("on", "off"),
    },
}

PRESETS = (
    Preset("scheduling", "scheduling", "sizes of batches, and when requests join one", _TUNING, SCHEDULING),
    Preset(
        "throughput",
        "goal",
        "large batches, and with -on-N-gpus the parallel sizes too",
        _TUNING,
        {
            # vLLM's guide: more than 8192 tokens in a batch for throughput.
            "vllm": {
                "max_num_seqs": (128, 256, 512, 1024),
                "max_num_batched_tokens": (8192, 16384, 32768),
                "gpu_memory_utilization": (0.9, 0.95),
            },
            # SGLang's guide: a lower schedule_conservativeness where the token usage is low.
            "sglang": {
                "max_running_requests": (128, 256, 512),
                "chunked_prefill_size": (4096, 8192, 16384),
                "schedule_conservativeness": (0.3, 0.6, 1.0),
                "mem_fraction_static": (0.85, 0.9),
            },
            "llama_cpp": {"parallel": (8, 16, 32), "batch_size": (1024, 2048, 4096), "ubatch_size": (512, 1024)},
        },
        sizes=("tp", "pp", "dp"),
    ),
    Preset(
        "latency",
        "goal",
        "small batches, and with -on-N-gpus the tensor parallel size too",
        _TUNING,
        {
            # vLLM's guide: fewer tokens in a batch, such as 2048, for a short time between tokens.
            "vllm": {
                "max_num_seqs": (8, 16, 32, 64),
                "max_num_batched_tokens": (1024, 2048, 4096),
                "async_scheduling": (True, False),
            },
            "sglang": {
                "max_running_requests": (8, 16, 32, 64),
                "chunked_prefill_size": (1024, 2048, 4096),
                "stream_interval": (1, 2),
            },
            "llama_cpp": {"parallel": (1, 2, 4), "batch_size": (512, 1024, 2048), "ubatch_size": (128, 256, 512)},
        },
        sizes=("tp",),
    ),
    Preset(
        "parallelism",
        "parallelism",
        "every tensor, pipeline and data parallel size that fits the GPUs",
        _PARALLEL,
        sizes=("tp", "pp", "dp"),
        needs_gpus=True,
    ),
    Preset("single-gpu", "parallelism", "one GPU", _PARALLEL, _sizes(1, 1, 1)),
    Preset("high-throughput", "parallelism", "8 replicas", _PARALLEL, _sizes(1, 1, 8)),
    Preset("balanced", "parallelism", "4 replicas on 2 GPUs each", _PARALLEL, _sizes(2, 1, 4)),
    Preset("large-model-tp", "parallelism", "8 GPUs share each layer", _PARALLEL, _sizes(8, 1, 1)),
    Preset("large-model-tp-pp", "parallelism", "two groups of 8 GPUs, 16 in all", _PARALLEL, _sizes(8, 2, 1)),
    Preset(
        "moe-optimized",
        "parallelism",
        "experts over 16 GPUs",
        _PARALLEL,
        _sizes(2, 1, 8, {"enable_expert_parallel": [True]}, {"moe_dense_tp_size": [2]}),
    ),
    Preset(
        "long-context",
        "parallelism",
        "4 GPUs share each layer and the KV cache of a sequence",
        _PARALLEL,
        {"vllm": _sizes(4, 1, 1, {"decode_context_parallel_size": [4]})["vllm"]},
    ),
    Preset(
        "quantization",
        "quantization",
        "fp8 weights, and types of the KV cache",
        f"{_QUANTIZATION}, https://docs.vllm.ai/en/stable/features/quantization/",
        {
            "vllm": {"quantization": (None, "fp8"), "kv_cache_dtype": ("auto", "fp8")},
            "sglang": {"quantization": (None, "fp8"), "kv_cache_dtype": ("auto", "fp8_e5m2", "fp8_e4m3")},
            "llama_cpp": {"cache_type_k": ("f16", "q8_0", "q4_0"), "cache_type_v": ("f16", "q8_0", "q4_0")},
        },
        # llama.cpp is built with kernels for equal types only, unless GGML_CUDA_FA_ALL_QUANTS is set.
        {"llama_cpp": ("cache_type_k == cache_type_v",)},
    ),
    Preset(
        "default",
        "quantization",
        "the model's own types, beside other presets of quantization",
        _QUANTIZATION,
        {"vllm": {}, "sglang": {}},
    ),
    Preset(
        "kv-cache-fp8",
        "quantization",
        "KV cache in fp8",
        _QUANTIZATION,
        {"vllm": {"kv_cache_dtype": ["fp8_e5m2"]}, "sglang": {"kv_cache_dtype": ["fp8_e5m2"]}},
    ),
    Preset(
        "dynamic-fp8",
        "quantization",
        "weights and KV cache in fp8",
        _QUANTIZATION,
        {
            "vllm": {"quantization": ["fp8"], "kv_cache_dtype": ["fp8_e5m2"]},
            "sglang": {
                "quantization": ["fp8"],
                "kv_cache_dtype": ["fp8_e5m2"],
                "attention_backend": ["flashinfer"],
            },
        },
    ),
    Preset(
        "bf16-stable",
        "quantization",
        "weights in bfloat16, KV cache in fp8",
        _QUANTIZATION,
        {
            "vllm": {"dtype": ["bfloat16"], "kv_cache_dtype": ["fp8_e5m2"]},
            "sglang": {"dtype": ["bfloat16"], "kv_cache_dtype": ["fp8_e5m2"]},
        },
    ),
    Preset(
        "aggressive-moe",
        "quantization",
        "experts in 4 bits where the engine has a flag for it, KV cache in fp8",
        _QUANTIZATION,
        {
            "vllm": {"dtype": ["bfloat16"], "kv_cache_dtype": ["fp8_e5m2"]},
            "sglang": {
                "quantization": ["w4afp8"],
                "kv_cache_dtype": ["fp8_e5m2"],
                "attention_backend": ["flashinfer"],
                "moe_runner_backend": ["flashinfer_mxfp4"],
            },
        },
    ),
    Preset(
        "speculative-ngram",
        "speculative",
        "drafts from the text so far, without a draft model",
        _SPECULATIVE,
        {
            "vllm": {
                "speculative_config": [
                    None,
                    *(
                        {"method": "ngram", "num_speculative_tokens": tokens, "prompt_lookup_max": longest}
                        for tokens, longest in ((3, 3), (5, 4), (8, 4))
                    ),
                ]
            },
            # Without drafts runs the engine's default only: other values of these flags have no effect there.
            "sglang": {"speculative_algorithm": ["NGRAM"], "speculative_num_draft_tokens": [4, 8, 12, 16]},
        },
    ),
    Preset(
        "speculative-eagle",
        "speculative",
        "drafts of an EAGLE model: {name: speculative-eagle, draft_model: MODEL}",
        _SPECULATIVE,
        {
            "vllm": {
                "speculative_config": [
                    None,
                    *(
                        {"method": "eagle", "model": "{draft_model}", "num_speculative_tokens": tokens}
                        for tokens in (2, 3, 5)
                    ),
                ]
            },
            "sglang": {
                "speculative_algorithm": ["EAGLE"],
                "speculative_draft_model_path": ["{draft_model}"],
                "speculative_num_steps": [3, 5],
                "speculative_eagle_topk": [1, 4, 8],
                "speculative_num_draft_tokens": [4, 6, 16, 32],
            },
        },
        # SGLang changes the number of draft tokens of a single branch to that of its steps and one.
        {
            "sglang": (
                "speculative_eagle_topk > 1 or speculative_num_draft_tokens == speculative_num_steps + 1",
                "speculative_eagle_topk == 1 or speculative_num_draft_tokens >= 16",
            )
        },
        needs_draft_model=True,
    ),
)
