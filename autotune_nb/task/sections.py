"""The sections of a task, each checked by itself; how they hang together is in ``task``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from autotune_nb.errors import UnknownNameError
from autotune_nb.task.parameters import ParameterName, Value
from autotune_nb.task.workload import Section
from autotune_nb.trial.measurement import figure_name

ENGINES = ("llama_cpp", "vllm", "sglang", "command")
SAMPLERS = ("grid", "random", "tpe", "gp", "cmaes", "qmc", "nsgaii", "nsgaiii")
_SAMPLER_ALIASES = {"grid_search": "grid", "bayesian": "tpe"}


class RandomWeights(Section):
    """A Llama-shaped model of random weights, written on the spot: its text is noise, its speed is real."""

    layers: int = Field(12, ge=1, le=200)
    hidden_size: int = Field(640, ge=64, multiple_of=64)
    feed_forward_size: int = Field(1792, ge=32, multiple_of=32)
    kv_heads: int | None = Field(None, ge=1, description="default: half the attention heads")
    context_length: int = Field(4096, ge=128)
    seed: int = 0

    @model_validator(mode="after")
    def _heads_divide(self) -> RandomWeights:
        heads = self.hidden_size // 64
        if self.kv_heads is not None and heads % self.kv_heads:
            raise ValueError(f"{heads} attention heads (hidden_size / 64) are no multiple of kv_heads {self.kv_heads}")
        return self


class Model(Section):
    """What is served: a path, a hub's name, or random weights."""

    id_or_path: str | None = Field(None, min_length=1, description="a file or folder, or a model hub's name")
    random_weights: RandomWeights | None = None
    tokenizer: str | None = Field(None, description="a folder or a hub's name; default: the model's own")
    served_name: str | None = Field(None, min_length=1, description="the name requests give; default: the model's")
    namespace: str | None = Field(None, description="the Kubernetes namespace, for OME")

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        if (self.id_or_path is None) == (self.random_weights is None):
            raise ValueError("give either id_or_path or random_weights")
        return self


#: Not a reference to the environment, ${NAME}.
_PLACEHOLDER = re.compile(r"(?<!\$)\{([A-Za-z_]+)\}")


class EngineSpec(Section):
    """Which engine serves the model, and what is the same in every trial."""

    kind: str = Field(description=f"one of {', '.join(ENGINES)}", json_schema_extra={"enum": list(ENGINES)})
    executable: str | list[str] | None = Field(None, description="the program to start instead of the engine's own")
    command: str | list[str] | None = Field(
        None, description="for kind command: the command line, with {port}, {host} and {model} in it"
    )
    args: dict[ParameterName, Value] = Field(default_factory=dict, description="flags of every trial, by name")
    raw_args: list[str] = Field(default_factory=list, description="arguments of every trial, passed as they are")
    env: dict[str, str] = Field(
        default_factory=dict,
        description="environment variables; a secret by its name: ${VARIABLE}, or in a cluster secret://NAME/KEY",
    )
    health_path: str | None = Field(None, pattern="^/", description="the path that answers 200 once it can serve")

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        name = kind.lower().replace("-", "_").replace(".", "_")
        if name not in ENGINES:
            raise UnknownNameError("engine", kind, ENGINES)
        return name

    @field_validator("env")
    @classmethod
    def _names(cls, env: dict[str, str]) -> dict[str, str]:
        for name in env:
            if not name or "=" in name:
                raise ValueError(f"{name!r} is no name of an environment variable")
        return env

    @model_validator(mode="after")
    def _command(self) -> EngineSpec:
        if (self.kind == "command") != (self.command is not None):
            raise ValueError("engine kind 'command' needs a command, and only that kind takes one")
        if self.command is not None and "{port}" not in " ".join(
            [self.command] if isinstance(self.command, str) else self.command
        ):
            raise ValueError("command has no {port}: the server would not listen where it is looked for")
        strange = [w for w in _PLACEHOLDER.findall(str(self.command or "")) if w not in ("port", "host", "model")]
        if strange:
            raise ValueError(f"command has {{{strange[0]}}}; what is filled in is {{port}}, {{host}} and {{model}}")
        return self


class LevelRef(Section):
    """Names one load level; the scenario may be left out where there is only one."""

    concurrency: int = Field(1, ge=1)
    scenario: str | None = None
    batch_size: int = Field(1, ge=1)


class ObjectiveSpec(Section):
    """The figure to make best, read at a named level or at the best level that keeps every limit."""

    direction: Literal["minimize", "maximize"]
    figure: str
    at: Annotated[
        Literal["best"] | LevelRef,
        BeforeValidator(
            lambda value: {"concurrency": value} if isinstance(value, int) and not isinstance(value, bool) else value,
            json_schema_input_type=Literal["best"] | LevelRef | int,
        ),
    ] = "best"

    @field_validator("figure")
    @classmethod
    def _figure(cls, name: str) -> str:
        return figure_name(name)


class Strategy(Section):
    """How the next configuration is chosen."""

    sampler: str = Field(
        "tpe",
        description=f"one of {', '.join(SAMPLERS)}",
        json_schema_extra={"enum": [*SAMPLERS, *_SAMPLER_ALIASES]},
    )
    seed: int = 0
    options: dict[str, Any] = Field(default_factory=dict, description="passed to Optuna's sampler")

    @field_validator("sampler")
    @classmethod
    def _known(cls, name: str) -> str:
        key = name.lower().replace("-", "_")
        key = _SAMPLER_ALIASES.get(key, key.removesuffix("sampler").replace("_", ""))
        if key not in SAMPLERS:
            raise UnknownNameError("sampler", name, (*SAMPLERS, *_SAMPLER_ALIASES))
        return key


class Budget(Section):
    """When to stop; whichever comes first."""

    trials: int | None = Field(None, ge=1, description="default: the whole grid, or 20 for the other samplers")
    minutes: float | None = Field(None, gt=0, description="no trial starts after so many minutes")
    patience: int | None = Field(None, ge=1, description="stop after so many trials without a better one")
    baseline: bool = Field(True, description="measure the engine's default configuration first, as trial 0")


class Deadlines(Section):
    """How long each phase of a trial may take, in seconds."""

    ready_s: float = Field(600, gt=0, description="from start to healthy")
    pending_s: float = Field(300, gt=0, description="for a free GPU or quota in a cluster")
    probe_s: float = Field(60, gt=0, description="for one completion of the warm-up")
    benchmark_s: float | None = Field(None, gt=0, description="default: what the levels may take, and some")
    stop_s: float = Field(20, gt=0, description="from asking the engine to stop to killing it")


_RESULTS = re.compile(
    r"pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*|(s3|gs|oci)://[^/\s]+(/\S*)?"
)


class Deploy(Section):
    """Where trials run."""

    kind: Literal["local", "ome"] = "local"
    host: str = "127.0.0.1"
    port: int | None = Field(None, ge=1, le=65535, description="default: a free one each trial")
    parallel: int = Field(1, ge=1, description="trials at a time")
    gpus: Annotated[int, Field(ge=0)] | list[Annotated[int, Field(ge=0)]] | None = Field(
        None,
        description="how many GPUs trials may hold together, or which of this machine's; default: any number, and "
        "CUDA_VISIBLE_DEVICES is left alone",
    )
    gpus_per_trial: int | None = Field(None, ge=0, description="default: what the engine's parallel sizes need")
    runtime: str | None = Field(None, description="OME's serving runtime")
    namespace: str | None = Field(None, description="the Kubernetes namespace; default: the context's")
    kubeconfig: str | None = Field(None, description="default: $KUBECONFIG, ~/.kube/config, or the pod's own account")
    context: str | None = Field(None, description="default: the kubeconfig's current one")
    templates: str | None = Field(None, description="a folder whose templates go before the package's")
    gpu_resource: str = Field("nvidia.com/gpu", description="what a GPU is called in a pod's resources")
    resources: dict[str, str | int | float] = Field(
        default_factory=dict, description="such as cpu and memory, requested and limited for each engine"
    )
    clusterbasemodel: dict[str, Any] | None = Field(
        None, description="the spec of the ClusterBaseModel to make where the model is missing"
    )
    clusterservingruntime: dict[str, Any] | None = Field(
        None, description="the spec of the ClusterServingRuntime to make where the runtime is missing"
    )

    @model_validator(mode="after")
    def _port_for_one(self) -> Deploy:
        if self.port is not None and self.parallel > 1:
            raise ValueError("a fixed port serves one trial at a time; leave out port, or set parallel to 1")
        if self.kind == "ome" and isinstance(self.gpus, list):
            raise ValueError("in a cluster, gpus is how many; which ones is the scheduler's")
        return self


class Benchmark(Section):
    """Which genai-bench runs, where, and how."""

    executable: str = "genai-bench"
    backend: str | None = Field(None, description="genai-bench's API backend; default: the engine's")
    executor: Literal["auto", "benchmark_job", "job", "direct"] = Field(
        "auto", description="in a cluster: an OME BenchmarkJob, a plain Job, or genai-bench beside this program"
    )
    results: str | None = Field(
        None, description="where jobs keep their files: pvc://CLAIM/FOLDER, or a bucket as s3://BUCKET/PREFIX"
    )
    results_size: str | None = Field(None, description="make the claim of that size where it is missing, such as 10Gi")
    api_key: str | None = Field(
        None, description="what requests carry, by its name: ${VARIABLE}", pattern=r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$"
    )
    image: str | None = Field(None, description="the image with genai-bench; default: the published one")
    pod: dict[str, Any] = Field(
        default_factory=dict, description="nodeSelector, tolerations, resources, env, … of the benchmark's pods"
    )

    @field_validator("results")
    @classmethod
    def _somewhere(cls, results: str | None) -> str | None:
        if results is not None and not _RESULTS.fullmatch(results):
            raise ValueError(
                f"{results!r} is no place for results; write pvc://CLAIM/FOLDER, or a bucket as s3://BUCKET/PREFIX"
            )
        return results
