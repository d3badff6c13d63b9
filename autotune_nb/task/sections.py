"""The sections of a task, each validated by itself; checks between sections are in ``task``."""

from __future__ import annotations

import json
import re
import shlex
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.task.parameters import ParameterName, Value
from autotune_nb.task.section import Section
from autotune_nb.trial.measurement import figure_name

ENGINES = ("llama_cpp", "vllm", "sglang", "command")
SAMPLERS = ("auto", "grid", "random", "tpe", "gp", "cmaes", "qmc", "nsgaii", "nsgaiii")
_SAMPLER_ALIASES = {"grid_search": "grid", "bayesian": "tpe"}


def engine_name(kind: str) -> str:
    """Return the name of an engine as ``ENGINES`` has it: ``llama_cpp`` for llama.cpp."""
    return kind.lower().replace("-", "_").replace(".", "_")


class RandomWeights(Section):
    """A generated Llama model with random weights: its output is meaningless, its speed is real."""

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
            raise ValueError(f"kv_heads {self.kv_heads} does not divide the {heads} attention heads (hidden_size / 64)")
        return self


class Model(Section):
    """The model to serve: a path, the name on a model hub, or random weights."""

    id_or_path: str | None = Field(None, min_length=1, description="a file or folder, or a model hub's name")
    random_weights: RandomWeights | None = None
    tokenizer: str | None = Field(None, description="a folder or a hub's name; default: the model's own")
    trust_remote_code: bool = Field(False, description="run the code that comes with the tokenizer")
    served_name: str | None = Field(None, min_length=1, description="the model name in requests; default: the model's")
    namespace: str | None = Field(None, description="the Kubernetes namespace, for OME")

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        if (self.id_or_path is None) == (self.random_weights is None):
            raise ValueError("give either id_or_path or random_weights")
        return self


#: Does not match references to the environment, ${NAME}.
_PLACEHOLDER = re.compile(r"(?<!\$)\{([A-Za-z_]+)\}")


#: A flag with its value in one word, as in "--ctx-size 2048"; in "--prompt=a b" the space belongs to the value.
_FLAG_AND_VALUE = re.compile(r"(--?[A-Za-z][\w.-]*)\s+(.*)", re.DOTALL)


def _words(given: str | list[Any], key: str) -> list[Any]:
    """Return the words of a command line, which a program would otherwise not recognize as flags and values."""
    try:
        if isinstance(given, str):
            # shlex keeps the line break after a backslash, a shell does not.
            return shlex.split(given.replace("\\\n", " "))
        return [part for word in given for part in _parts(word)]
    except ValueError as error:
        raise ValueError(f"{key} {given!r} cannot be split into words: {error}") from None


def _require_words(given: str | list[Any], key: str) -> None:
    """Raise TaskError for the first item of a list that is neither a text nor a number."""
    for place, word in enumerate(given if isinstance(given, list) else ()):
        if not isinstance(word, str | int | float) or isinstance(word, bool):
            shown = json.dumps(word, default=str)
            by_name = ", or args as a mapping of flags, such as {max-num-seqs: 8}" if key == "args" else ""
            raise TaskError(
                f"{shown} is no word of a command line; expected is a text or a number, as in "
                f"[--max-num-seqs, 8]{by_name}",
                field=f"engine.{key}[{place}]",
            )


def _parts(word: Any) -> list[Any]:
    found = _FLAG_AND_VALUE.fullmatch(word) if isinstance(word, str) else None
    if found is None:
        return [str(word) if isinstance(word, int | float) and not isinstance(word, bool) else word]
    flag, rest = found.groups()
    # JSON keeps its quotes and spaces.
    return [flag, rest.strip()] if rest.startswith(("{", "[")) else [flag, *shlex.split(rest)]


def _or_command_line(kind: Any) -> BeforeValidator:
    """Describe a field in the JSON Schema that is also read from a command line; ``EngineSpec`` converts it."""
    return BeforeValidator(lambda value: value, json_schema_input_type=kind | str | list[str | int | float])


class EngineSpec(Section):
    """The engine that serves the model, and its settings in every trial."""

    kind: str = Field(description=f"one of {', '.join(ENGINES)}", json_schema_extra={"enum": list(ENGINES)})
    executable: str | list[str] | None = Field(None, description="the program to start, or the engine's Python")
    command: str | list[str] | None = Field(
        None, description="for kind command: the command line, with {port}, {host} and {model} in it"
    )
    args: Annotated[dict[ParameterName, Value], _or_command_line(dict[ParameterName, Value])] = Field(
        default_factory=dict, description="flags of every trial, by name; or a command line, as in raw_args"
    )
    raw_args: Annotated[list[str], _or_command_line(str)] = Field(
        default_factory=list, description="arguments of every trial, passed as they are: words, or one text"
    )
    env: dict[str, str] = Field(
        default_factory=dict,
        description="environment variables; a secret by reference: ${VARIABLE}, or in a cluster secret://NAME/KEY",
    )
    health_path: str | None = Field(
        None, pattern="^/", description="the path that returns 200 once the engine is ready"
    )

    @model_validator(mode="before")
    @classmethod
    def _command_lines(cls, data: Any) -> Any:
        """Read ``args`` and ``raw_args`` that are written as a command line, as one text or as a list of words."""
        if not isinstance(data, dict):
            return data
        given = {key: data[key] for key in ("args", "raw_args") if isinstance(data.get(key), str | list)}
        for key, value in given.items():
            _require_words(value, key)
        words = [word for key, value in given.items() for word in _words(value, key)]
        return {key: value for key, value in data.items() if key not in given} | ({"raw_args": words} if given else {})

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        name = engine_name(kind)
        if name not in ENGINES:
            raise UnknownNameError("engine", kind, ENGINES)
        return name

    @field_validator("env")
    @classmethod
    def _names(cls, env: dict[str, str]) -> dict[str, str]:
        for name in env:
            if not name or "=" in name:
                raise ValueError(f"{name!r} is not a valid name of an environment variable")
        return env

    @model_validator(mode="after")
    def _command(self) -> EngineSpec:
        if (self.kind == "command") != (self.command is not None):
            raise ValueError("engine kind 'command' needs a command, and only that kind takes one")
        if self.command is not None and "{port}" not in " ".join(
            [self.command] if isinstance(self.command, str) else self.command
        ):
            raise ValueError("command has no {port}: the server would listen on an unexpected port")
        unknown = [w for w in _PLACEHOLDER.findall(str(self.command or "")) if w not in ("port", "host", "model")]
        if unknown:
            raise ValueError(f"command has {{{unknown[0]}}}; the placeholders are {{port}}, {{host}} and {{model}}")
        return self


class LevelRef(Section):
    """A reference to a load level; the scenario may be omitted if there is only one."""

    concurrency: int = Field(1, ge=1)
    scenario: str | None = None
    batch_size: int = Field(1, ge=1)
    rate: float | None = Field(None, gt=0)


class ObjectiveSpec(Section):
    """The figure to optimize, read at a given level or at the best level that keeps every limit."""

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
        "auto",
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


class Deadlines(Section):
    """The maximum duration of each phase of a trial, in seconds."""

    ready_s: float = Field(600, gt=0, description="from start to ready")
    pending_s: float = Field(300, gt=0, description="waiting for a free GPU or quota in a cluster")
    probe_s: float = Field(60, gt=0, description="for one completion of the warm-up")
    benchmark_s: float | None = Field(None, gt=0, description="default: the durations of the levels, with a margin")
    surroundings_s: float = Field(
        3600, ge=0, description="waiting for a cluster or its webhooks that do not respond; then the run ends"
    )
    stop_s: float = Field(20, gt=0, description="from terminating the engine to killing it")


_RESULTS = re.compile(
    r"pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*|(s3|gs|oci)://[^/\s]+(/\S*)?"
)


class Benchmark(Section):
    """How and where the benchmark runs."""

    kind: Literal["genai-bench", "aiperf"] = Field(
        "genai-bench", description="aiperf sends requests at a rate (workload.rate); genai-bench keeps a concurrency"
    )
    executable: str = Field("genai-bench", description="the program to start; aiperf's default is aiperf")
    backend: str | None = Field(None, description="genai-bench's API backend; default: the engine's")
    executor: Literal["auto", "benchmark_job", "job", "direct"] = Field(
        "auto", description="in a cluster: an OME BenchmarkJob, a Job, or genai-bench on the machine of the run"
    )
    results: str | None = Field(
        None, description="where jobs write their files: pvc://CLAIM/FOLDER, or a bucket as s3://BUCKET/PREFIX"
    )
    results_size: str | None = Field(
        None, description="the size of the claim to create if it is missing, such as 10Gi; default: none is created"
    )
    api_key: str | None = Field(
        None, description="the API key of requests, as ${VARIABLE}", pattern=r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$"
    )
    image: str | None = Field(None, description="the image with genai-bench; default: the published one")
    pod: dict[str, Any] = Field(
        default_factory=dict, description="nodeSelector, tolerations, resources, env, … of the benchmark's pods"
    )

    @property
    def program(self) -> str:
        """The program to start: that of the kind, unless the task names one."""
        return self.kind if self.executable == "genai-bench" else self.executable

    @field_validator("results")
    @classmethod
    def _valid_location(cls, results: str | None) -> str | None:
        if results is not None and not _RESULTS.fullmatch(results):
            raise ValueError(
                f"{results!r} is not a location of results; write pvc://CLAIM/FOLDER, or a bucket as s3://BUCKET/PREFIX"
            )
        return results
