"""Converts the prototype's task files to this package's layout, with a note for everything that is not converted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from autotune_nb.errors import TaskError, did_you_mean
from autotune_nb.task.parameters import parameter_name

_TOP_LEVEL = ("task_name", "description", "model", "base_runtime", "parameters", "optimization", "benchmark", "slo")
#: Fields of later prototypes for objects that they created in the cluster first.
_CLUSTER = ("clusterbasemodel_config", "clusterservingruntime_config", "storage")
_MODEL = ("name", "id_or_path", "namespace")
_OPTIMIZATION = ("strategy", "objective", "max_iterations", "timeout_per_iteration")
_BENCHMARK = (
    "task",
    "traffic_scenarios",
    "num_concurrency",
    "max_time_per_iteration",
    "max_requests_per_iteration",
    "additional_params",
    "model_name",
    "model_tokenizer",
)
#: Top-level fields of later prototypes that do not affect a study.
_IGNORED = ("deployment_mode", "runtime_image_tag")
_LATENCY = ("p50", "p90", "p99")

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
    "benchmark.results": "storage",
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
    for key in sorted(set(data) - {*_TOP_LEVEL, *_CLUSTER}, key=str):
        if key not in _IGNORED:
            raise _unknown(key, _TOP_LEVEL)
        notes.append(f"{key} is ignored")
    model = _section(data, "model", _MODEL)
    name = model.get("id_or_path") or model.get("name")
    if not name:
        raise TaskError("give name or id_or_path", field="model")
    benchmark = _section(data, "benchmark", _BENCHMARK)
    optimization = _section(data, "optimization", _OPTIMIZATION)
    runtime = data.get("base_runtime")
    parameters = data.get("parameters")
    if not isinstance(parameters, dict):
        raise TaskError("must be an object of parameters", field="parameters")
    local = Path(str(name)).expanduser().exists()
    namespace = model.get("namespace")
    objective = optimization.get("objective", "minimize_latency")
    strategy = optimization.get("strategy", "grid_search")
    task: dict[str, Any] = {
        "name": data.get("task_name", "prototype"),
        "description": data.get("description", ""),
        "model": {"id_or_path": str(name)},
        "engine": {"kind": _engine(runtime, parameters, notes)},
        "parameters": parameters,
        "workload": _workload(benchmark, notes),
        "objective": objective,
        "limits": _limits(data.get("slo"), notes),
        "strategy": {"sampler": strategy},
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
            notes.append("model.namespace is ignored: the model is a path, so trials run on this machine")
        if runtime is not None:
            notes.append(
                f"base_runtime only sets the engine, {task['engine']['kind']}: the model is a path, so trials run on "
                "this machine"
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


def _cluster(data: dict[str, Any], task: dict[str, Any], notes: list[str], *, local: bool) -> None:
    """Convert the objects that a later prototype created in the cluster first: model, runtime, storage of results."""
    if local:
        notes += [f"{key} is ignored: trials run on this machine" for key in _CLUSTER if key in data]
        return
    for key, field in (
        ("clusterbasemodel_config", "clusterbasemodel"),
        ("clusterservingruntime_config", "clusterservingruntime"),
    ):
        given = data.get(key)
        spec = given.get("spec") if isinstance(given, dict) else None
        if isinstance(spec, dict):
            task["deploy"][field] = spec
        elif given is not None:
            notes.append(f"{key} is ignored: it has no spec; give one as deploy.{field}")
    storage = data.get("storage")
    if storage is None:
        return
    claim = storage.get("pvc_name") if isinstance(storage, dict) and storage.get("type", "pvc") == "pvc" else None
    if isinstance(claim, str) and claim:
        folder = str(storage.get("pvc_subpath") or "results").strip("/")
        task["benchmark"] = {"results": f"pvc://{claim}/{folder}"}
        if "mount_path" in storage:
            notes.append("storage.mount_path is ignored: only the pods of benchmarks mount the claim")
    else:
        notes.append("storage is ignored: give a claim or a bucket as benchmark.results")


def _section(data: dict[str, Any], key: str, known: tuple[str, ...]) -> dict[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise TaskError(f"must be an object, not {type(value).__name__}", field=key)
    for name in value:
        if name not in known:
            raise _unknown(name, known, key)
    return value


def _unknown(name: Any, known: tuple[str, ...], section: str = "") -> TaskError:
    return TaskError(
        f"unknown field{did_you_mean(str(name), known)}", field=f"{section}.{name}" if section else str(name)
    )


def _engine(runtime: Any, parameters: dict[str, Any], notes: list[str]) -> str:
    name = str(runtime or "").lower()
    for mark, engine in (
        ("vllm", "vllm"),
        ("sglang", "sglang"),
        ("srt", "sglang"),
        ("llamacpp", "llama_cpp"),
    ):
        if mark in name.replace(".", "").replace("-", "").replace("_", ""):
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
        if not _positive(minutes):
            raise TaskError(f"must be minutes above 0, not {minutes!r}", field="benchmark.max_time_per_iteration")
        workload["seconds_per_level"] = math.ceil(minutes * 60)
    if "max_requests_per_iteration" in benchmark:
        workload["requests_per_level"] = benchmark["max_requests_per_iteration"]
    extra = benchmark.get("additional_params")
    if extra:
        if not isinstance(extra, dict):
            raise TaskError(f"must be an object, not {type(extra).__name__}", field="benchmark.additional_params")
        workload["request_params"] = {k: _plain(v) for k, v in extra.items()}
    if workload["task"] == "image-to-text":
        notes.append("benchmark.task image-to-text is converted to image-text-to-text, its name in genai-bench today")
        workload["task"] = "image-text-to-text"
    return workload


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _plain(value: Any) -> Any:
    """Return the number for a number written as text, as OME required; a request's body needs the number."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _limits(slo: Any, notes: list[str]) -> list[str]:
    if slo is None:
        return []
    if not isinstance(slo, dict):
        raise TaskError("must be an object", field="slo")
    limits: list[str] = []
    for key, value in slo.items():
        if key == "steepness":
            notes.append("slo.steepness is ignored: a limit is kept or broken, without a penalty curve")
        elif key == "latency":
            if not isinstance(value, dict):
                raise TaskError("must be an object of p50, p90, p99", field="slo.latency")
            for percentile, bound in value.items():
                if percentile not in _LATENCY:
                    raise _unknown(percentile, _LATENCY, "slo.latency")
                limits.append(_limit(f"e2e_latency_{percentile}_s", bound, f"slo.latency.{percentile}", notes))
        elif key in ("ttft", "tpot"):
            limits.append(_limit(f"{key}_mean_s", value, f"slo.{key}", notes))
        else:
            raise _unknown(key, ("latency", "ttft", "tpot", "steepness"), "slo")
    return limits


def _limit(figure: str, bound: Any, field: str, notes: list[str]) -> str:
    known = ("threshold", "weight", "hard_fail", "fail_ratio")
    if not isinstance(bound, dict):
        raise TaskError("needs a threshold in seconds", field=field)
    for key in bound:
        if key not in known:
            raise _unknown(key, known, field)
    if not _positive(bound.get("threshold")):
        raise TaskError("needs a threshold in seconds, above 0", field=field)
    ratio = bound.get("fail_ratio")
    if ratio not in (None, 0) and not _positive(ratio):
        raise TaskError(f"must be a number from 0 up, not {ratio!r}", field=f"{field}.fail_ratio")
    threshold = float(bound["threshold"])
    if bound.get("hard_fail"):
        # The prototype failed an experiment that exceeded the threshold by more than fail_ratio of it.
        threshold *= 1 + (ratio or 0)
    else:
        notes.append(f"{field}.hard_fail is false: the soft penalty is converted to a limit at its threshold")
        if ratio:
            notes.append(f"{field}.fail_ratio is ignored: it only applies if hard_fail is true")
    if "weight" in bound:
        notes.append(f"{field}.weight is ignored: limits have no weights")
    return f"{figure} <= {threshold:.15g}"
