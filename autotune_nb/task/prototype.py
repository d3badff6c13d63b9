"""Converts the prototype's task files to this package's layout, with a note for everything that is not converted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.task._prototype_flags import add_parallel, add_quantization, parameters_of
from autotune_nb.task._prototype_limits import is_positive, slo_of, unknown_field
from autotune_nb.task.parameters import parameter_name

_TOP_LEVEL = ("task_name", "description", "model", "base_runtime", "parameters", "optimization", "benchmark", "slo")
#: Fields of later prototypes for objects in the cluster; a file with one of them runs in a cluster.
_CLUSTER = ("clusterbasemodel_config", "clusterservingruntime_config", "storage")
_MODES = {"local": "local", "docker": "local", "ome": "ome"}
_MODEL = ("name", "id_or_path", "namespace")
_OPTIMIZATION = (
    *("strategy", "objective", "max_iterations", "timeout_per_iteration"),
    *("n_initial_random", "seed", "storage", "study_name"),
)
_BENCHMARK = (
    "task",
    "traffic_scenarios",
    "num_concurrency",
    "max_time_per_iteration",
    "max_requests_per_iteration",
    "additional_params",
    "model_name",
    "model_tokenizer",
    "dataset_url",
    "dataset_deduplicate",
)
_LATER = ("deployment_mode", "parallel_config", "quant_config")
#: Other fields of later prototypes, and why they are ignored.
_IGNORED = {
    "runtime_image_tag": "local engines are those installed on this machine, and a serving runtime names its image",
    "gpu_type": "trials run on the GPUs of this machine or of the cluster",
    **dict.fromkeys(
        (
            *("id", "status", "created_clusterbasemodel", "created_clusterservingruntime", "total_experiments"),
            *("successful_experiments", "failed_experiments", "best_experiment_id", "created_at", "started_at"),
            *("completed_at", "elapsed_time", "task_metadata"),
        ),
        "it is the state of the prototype's own run",
    ),
}

_FIELDS = {
    "name": "task_name",
    "model.id_or_path": "model.name",
    "objective": "optimization.objective",
    "strategy.sampler": "optimization.strategy",
    "budget.trials": "optimization.max_iterations",
    "deadlines.ready_s": "optimization.timeout_per_iteration",
    "workload.scenarios": "benchmark.traffic_scenarios",
    "workload.concurrency": "benchmark.num_concurrency",
    "workload.seconds_per_level": "benchmark.max_time_per_iteration",
    "workload.requests_per_level": "benchmark.max_requests_per_iteration",
    "workload.task": "benchmark.task",
    "workload.request_params": "benchmark.additional_params",
    "model.tokenizer": "benchmark.model_tokenizer",
    "model.served_name": "benchmark.model_name",
    "deploy.runtime": "base_runtime",
    "deploy.clusterbasemodel": "clusterbasemodel_config.spec",
    "deploy.clusterservingruntime": "clusterservingruntime_config.spec",
    "deploy.namespace": "model.namespace",
}


def prototype_field(field: str) -> str:
    """Return the prototype's name of a field of this package, for error messages."""
    for ours, theirs in _FIELDS.items():
        if field == ours or field.startswith((f"{ours}.", f"{ours}[")):
            return theirs + field[len(ours) :]
    return field


def is_prototype(data: dict[str, Any]) -> bool:
    """Return whether the data is a prototype's task file."""
    return "task_name" in data or ("optimization" in data and "objective" not in data)


def from_prototype(data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the data in this package's layout, and a note for every field that is converted with changes or ignored.

    Raises TaskError, naming the prototype's field, for a field that the prototype did not have either.
    """
    notes: list[str] = []
    for key in sorted(set(data) - {*_TOP_LEVEL, *_CLUSTER, *_LATER}, key=str):
        if key not in _IGNORED:
            raise unknown_field(key, (*_TOP_LEVEL, *_CLUSTER, *_LATER))
        if data[key] is not None:
            notes.append(f"{key} is ignored: {_IGNORED[key]}")
    model = _section(data, "model", _MODEL)
    name = model.get("id_or_path") or model.get("name")
    if not name:
        raise TaskError("give name or id_or_path", field="model")
    benchmark = _section(data, "benchmark", _BENCHMARK)
    optimization = _section(data, "optimization", _OPTIMIZATION)
    runtime = data.get("base_runtime")
    parameters = parameters_of(data.get("parameters"), notes)
    engine = _engine(runtime, parameters, notes)
    add_parallel(data.get("parallel_config"), engine, parameters, notes)
    add_quantization(data.get("quant_config"), engine, parameters, notes)
    local = _is_local(data, str(name), runtime, engine, notes)
    namespace = model.get("namespace")
    objective = optimization.get("objective", "minimize_latency")
    limits, penalties = slo_of(data.get("slo"), objective, notes)
    task: dict[str, Any] = {
        "name": data.get("task_name", "prototype"),
        "description": data.get("description") or "",
        "model": {"id_or_path": str(name)},
        "engine": {"kind": engine},
        "parameters": parameters,
        "workload": _workload(benchmark, notes),
        "objective": objective,
        "limits": limits,
        **penalties,
        "strategy": _strategy(optimization, notes),
        "budget": {"baseline": False},
        "deploy": {"kind": "local"} if local else {"kind": "ome", "runtime": runtime, "namespace": namespace},
    }
    if namespace is not None and not local:
        task["model"]["namespace"] = namespace
    _cluster(data, task, notes, local=local)
    if model.get("name") and model.get("id_or_path") and model["name"] != model["id_or_path"]:
        notes.append("model.name is ignored: model.id_or_path is served")
    if local:
        if namespace is not None:
            notes.append("model.namespace is ignored: trials run on this machine")
        if runtime is not None and not _is_engine(runtime):
            notes.append(f"base_runtime only sets the engine, {engine}: trials run on this machine")
    if optimization.get("objective") == "maximize_throughput":
        notes.append(
            "optimization.objective maximize_throughput is converted to maximize output_tokens_per_s, of all GPUs of a "
            "trial together: the prototype divided it by their number"
        )
    if "max_iterations" in optimization:
        task["budget"]["trials"] = optimization["max_iterations"]
    if "timeout_per_iteration" in optimization:
        # The prototype allowed this many seconds for the deployment and again for the benchmark.
        seconds = optimization["timeout_per_iteration"]
        task["deadlines"] = {"ready_s": seconds, "benchmark_s": seconds}
    if benchmark.get("model_tokenizer"):
        task["model"]["tokenizer"] = benchmark["model_tokenizer"]
    if benchmark.get("model_name"):
        task["model"]["served_name"] = benchmark["model_name"]
    return task, notes


def _is_local(data: dict[str, Any], model: str, runtime: Any, engine: str, notes: list[str]) -> bool:
    """Return whether trials run on this machine. Only a file that names a cluster runs in one.

    Its deployment_mode decides; without one a path as the model, then an object or a serving runtime of a cluster.
    """
    mode = data.get("deployment_mode")
    if mode is not None:
        if not isinstance(mode, str) or mode.lower() not in _MODES:
            raise UnknownNameError("deployment mode", str(mode), _MODES, field="deployment_mode")
        if mode.lower() == "docker":
            notes.append(
                "deployment_mode docker is converted to processes on this machine: no containers are started, so the "
                f"engine, {engine}, must be installed here"
            )
        return _MODES[mode.lower()] == "local"
    if Path(model).expanduser().exists():
        return True
    if any(data.get(key) for key in _CLUSTER) or (runtime is not None and not _is_engine(runtime)):
        return False
    notes.append(
        "deployment_mode is missing and nothing else names a cluster, so trials run on this machine; add "
        "deployment_mode: ome to run them with OME"
    )
    return True


def _is_engine(runtime: Any) -> bool:
    """Return whether a base_runtime is the name of an engine, as in files for Docker, and not a serving runtime."""
    return _flat(runtime) in ("sglang", "vllm", "llamacpp", "tensorrtllm")


def _flat(runtime: Any) -> str:
    return str(runtime or "").lower().replace(".", "").replace("-", "").replace("_", "")


def _strategy(optimization: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    name = optimization.get("strategy", "grid_search")
    strategy: dict[str, Any] = {"sampler": name}
    if optimization.get("seed") is not None:
        strategy["seed"] = optimization["seed"]
    initial = optimization.get("n_initial_random")
    if initial is not None and name == "bayesian":
        strategy["options"] = {"n_startup_trials": initial}
    elif initial is not None:
        notes.append("optimization.n_initial_random is ignored: it only applies to the strategy bayesian")
    if optimization.get("storage") is not None:
        # It is not quoted: a URL may hold a password.
        notes.append("optimization.storage is ignored: give the URL as --storage")
    if optimization.get("study_name") is not None:
        notes.append("optimization.study_name is ignored: give the study's folder as --study")
    return strategy


def _cluster(data: dict[str, Any], task: dict[str, Any], notes: list[str], *, local: bool) -> None:
    """Convert the objects that a later prototype created in the cluster first: model and runtime."""
    given = {key: data[key] for key in _CLUSTER if data.get(key) is not None}
    if local:
        notes += [f"{key} is ignored: trials run on this machine" for key in given]
        return
    for key, field in (
        ("clusterbasemodel_config", "clusterbasemodel"),
        ("clusterservingruntime_config", "clusterservingruntime"),
    ):
        config = given.get(key)
        spec = config.get("spec") if isinstance(config, dict) else None
        if isinstance(config, dict) and isinstance(spec, dict):
            task["deploy"][field] = spec
            notes += [
                f"{key}.{one} is ignored: deploy.{field} is the spec alone"
                for one in ("name", "overrides", "labels", "annotations")
                if config.get(one)
            ]
        elif config is not None:
            notes.append(f"{key} is ignored: it has no spec; give one as deploy.{field}")
    if "storage" in given:
        notes.append(
            "storage is ignored: it is where the model's weights are, which the model in the cluster names; if that is "
            "missing, give its spec as deploy.clusterbasemodel"
        )


def _section(data: dict[str, Any], key: str, known: tuple[str, ...]) -> dict[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise TaskError(f"must be an object, not {type(value).__name__}", field=key)
    for name in value:
        if name not in known:
            raise unknown_field(name, known, key)
    return value


def _engine(runtime: Any, parameters: dict[str, Any], notes: list[str]) -> str:
    name = _flat(runtime)
    if "tensorrt" in name or "trtllm" in name:
        raise TaskError(f"{runtime!r} is an engine without support here; use sglang or vllm", field="base_runtime")
    for mark, engine in (
        ("vllm", "vllm"),
        ("sglang", "sglang"),
        ("srt", "sglang"),
        ("llamacpp", "llama_cpp"),
    ):
        if mark in name:
            return engine
    named = {parameter_name(p) for p in parameters if isinstance(p, str)}
    engine = "vllm" if {"gpu_memory_utilization", "max_num_seqs", "tensor_parallel_size"} & named else "sglang"
    notes.append(f"base_runtime {runtime!r} names no engine, so {engine} is used; set engine.kind to change it")
    return engine


def _workload(benchmark: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    workload: dict[str, Any] = {
        "task": benchmark.get("task", "text-to-text"),
        "scenarios": benchmark.get("traffic_scenarios", ["D(100,100)"]),
        "concurrency": benchmark.get("num_concurrency", [1]),
    }
    if "max_time_per_iteration" in benchmark:
        minutes = benchmark["max_time_per_iteration"]
        if not is_positive(minutes):
            raise TaskError(f"must be minutes above 0, not {minutes!r}", field="benchmark.max_time_per_iteration")
        workload["seconds_per_level"] = math.ceil(minutes * 60)
    if "max_requests_per_iteration" in benchmark:
        workload["requests_per_level"] = benchmark["max_requests_per_iteration"]
    extra = benchmark.get("additional_params")
    if extra:
        if not isinstance(extra, dict):
            raise TaskError(f"must be an object, not {type(extra).__name__}", field="benchmark.additional_params")
        workload["request_params"] = {k: _plain(v) for k, v in extra.items()}
    if benchmark.get("dataset_url") is not None:
        # It is not quoted: a URL may hold a token.
        notes.append("benchmark.dataset_url is ignored: requests follow benchmark.traffic_scenarios")
    if benchmark.get("dataset_deduplicate") is not None:
        notes.append("benchmark.dataset_deduplicate is ignored: no dataset is used")
    if workload["task"] == "image-to-text":
        notes.append("benchmark.task image-to-text is converted to image-text-to-text, its name in genai-bench today")
        workload["task"] = "image-text-to-text"
    return workload


def _plain(value: Any) -> Any:
    """Return the number for a number written as text, as OME required; a request's body needs the number."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
