"""The section ``deploy`` of a task: where trials run."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from autotune_nb.secrets.references import variables_in
from autotune_nb.task.section import Section

#: Fields of containers alone, each with its default.
CONTAINER_FIELDS: dict[str, Any] = {
    **dict.fromkeys(("image", "shm_size", "user", "network"), None),
    "pull": "missing",
    "volumes": [],
    "run_args": [],
}
_VOLUME = re.compile(r"[^:]+:/[^:]*(:[A-Za-z,]+)?")
#: Options of ``run`` that trials need otherwise, each with what to use instead; "" if there is nothing.
_OWN_OPTIONS = {
    "--entrypoint": "engine.executable",
    "--pull": "deploy.pull",
    "--name": "",
    **dict.fromkeys(("--rm", "--detach", "-d", "--tty", "-t", "-it", "-dit", "--interactive", "-i"), ""),
}
GpuId = Annotated[str, Field(pattern=r"^(GPU|MIG)-[A-Za-z0-9/-]+$")]


_CLAIM = re.compile(r"pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[A-Za-z0-9_.-]+)*")


class Deploy(Section):
    """Where trials run."""

    kind: Literal["local", "container", "ome", "replay"] = "local"
    image: str | None = Field(
        None, min_length=1, description="for kind container: the engine's image, such as vllm/vllm-openai:v0.33.0"
    )
    table: str | None = Field(
        None,
        min_length=1,
        description="for kind replay: the recorded table, a study's folder or an exported CSV or parquet file",
    )
    noise: float | None = Field(
        None,
        ge=0,
        le=1,
        description="for kind replay: the standard deviation of log-normal noise between two starts, such as 0.03; "
        "default: what the table's repeats show",
    )
    noise_within: float | None = Field(
        None, ge=0, le=1, description="for kind replay: the same between the levels of one start; default: none"
    )
    caches: bool | Annotated[str, Field(min_length=1)] = Field(
        True,
        description="keep the engine's compile and kernel caches between trials: true for the study's folder, or a "
        "folder that studies share; in a cluster a claim as pvc://CLAIM/FOLDER, and none with true",
    )
    host: str = "127.0.0.1"
    port: int | None = Field(None, ge=1, le=65535, description="default: a free one each trial")
    parallel: int = Field(1, ge=1, le=10_000, description="number of trials that run at the same time")
    gpus: Annotated[int, Field(ge=0)] | list[Annotated[int, Field(ge=0)] | GpuId] | None = Field(
        None,
        description="number of GPUs for all running trials together, or the list of this machine's GPUs to use, by "
        "number or as GPU-… or MIG-…, all among CUDA_VISIBLE_DEVICES; trials share them, and each gets gpus_per_trial; "
        "default: no bound, and the variable is not set",
    )
    gpus_per_trial: int | None = Field(
        None,
        ge=0,
        description="GPUs of each trial; default: computed from the engine's parallel sizes, so 1 without any",
    )
    runtime: str | None = Field(
        None,
        min_length=1,
        description="OME's serving runtime; for kind container: docker, podman, nerdctl or the path of one, default: "
        "the first of them on the PATH",
    )
    pull: Literal["missing", "always", "never"] = Field(
        "missing", description="for kind container: when the image is pulled, before the first trial"
    )
    shm_size: str | None = Field(
        None,
        pattern=r"^\d+(\.\d+)?[bkmgBKMG]?$",
        description="shared memory of a container, such as 32g; default: 16g on GPUs, else the runtime's",
    )
    volumes: list[str] = Field(
        default_factory=list,
        description="further folders of this machine in the container, as SOURCE:/PATH or SOURCE:/PATH:ro; the model "
        "is mounted in any case",
    )
    user: str | None = Field(None, min_length=1, description="the user in the container, as 1000 or 1000:1000")
    network: str | None = Field(
        None, min_length=1, description="the container's network, such as host; default: the runtime's, with its port"
    )
    run_args: Annotated[
        list[str],
        BeforeValidator(lambda value: _run_words(value), json_schema_input_type=list[str | int | float] | str),
    ] = Field(default_factory=list, description="further options of docker run, such as [--ipc, host, --cpus, 8]")
    namespace: str | None = Field(None, description="the Kubernetes namespace; default: the context's")
    kubeconfig: str | None = Field(None, description="default: $KUBECONFIG, ~/.kube/config, or the pod's own account")
    context: str | None = Field(None, description="default: the kubeconfig's current one")
    templates: str | None = Field(None, description="a folder with templates that override the package's")
    gpu_resource: str = Field("nvidia.com/gpu", description="the name of GPUs in a pod's resources")
    resources: dict[str, str | int | float] = Field(
        default_factory=dict, description="requests and limits of each engine's pod, such as cpu and memory"
    )
    clusterbasemodel: dict[str, Any] | None = Field(
        None, description="the spec of the ClusterBaseModel to create if the model is missing"
    )
    clusterservingruntime: dict[str, Any] | None = Field(
        None, description="the spec of the ClusterServingRuntime to create if the runtime is missing"
    )

    @property
    def replayed(self) -> str:
        """``REPLAYED from TABLE``, to show with everything of a replay; empty for trials that are measured."""
        return f"REPLAYED from {self.table}" if self.kind == "replay" else ""

    @property
    def on_this_machine(self) -> bool:
        """Whether engines run on this machine, as processes or in containers."""
        return self.kind in ("local", "container")

    @property
    def passes_gpus(self) -> bool:
        """Whether an option of containers gives them GPUs, without ``gpus``."""
        return any("gpu" in word for word in self.run_args)

    @field_validator("volumes")
    @classmethod
    def _volumes(cls, volumes: list[str]) -> list[str]:
        for volume in volumes:
            if not _VOLUME.fullmatch(volume):
                raise ValueError(f"{volume!r} is no volume; write SOURCE:/PATH or SOURCE:/PATH:ro")
            if variables_in(volume):
                raise ValueError(f"{volume!r} refers to a variable; write the path")
        return volumes

    @field_validator("run_args")
    @classmethod
    def _run_options(cls, words: list[str]) -> list[str]:
        for word in words:
            option = word.partition("=")[0]
            if option in _OWN_OPTIONS:
                instead = _OWN_OPTIONS[option]
                raise ValueError(f"{option} is set for each trial" + (f"; use {instead}" if instead else "; remove it"))
            if variables_in(word):
                raise ValueError(
                    f"{word!r} refers to a variable, whose value would be in the command line; use engine.env"
                )
        return words

    @model_validator(mode="after")
    def _of_containers(self) -> Deploy:
        if self.kind == "container" and self.image is None:
            raise ValueError(
                "kind container needs an image with the engine, such as image: vllm/vllm-openai:v0.33.0 (--image)"
            )
        given = [name for name, default in CONTAINER_FIELDS.items() if getattr(self, name) != default]
        if self.kind != "container" and given:
            raise ValueError(f"{given[0]} is for kind container, not {self.kind}; remove it, or set kind: container")
        if self.kind == "container" and self.network == "none":
            raise ValueError("network none: the engine could not be reached; use another network, or none of its own")
        return self

    @model_validator(mode="after")
    def _port_for_one(self) -> Deploy:
        if self.port is not None and self.parallel > 1:
            raise ValueError("a fixed port serves one trial at a time; omit port, or set parallel to 1")
        if (self.kind == "replay") != (self.table is not None):
            raise ValueError("kind replay needs a table, a study's folder or an exported file; other kinds take none")
        if self.kind != "replay" and (self.noise, self.noise_within) != (None, None):
            raise ValueError("noise and noise_within are for kind replay")
        if isinstance(self.gpus, list) and len(set(self.gpus)) != len(self.gpus):
            raise ValueError("gpus lists a GPU twice")
        claim = isinstance(self.caches, str) and self.caches.startswith("pvc://")
        if self.kind == "ome" and isinstance(self.caches, str) and not _CLAIM.fullmatch(self.caches):
            raise ValueError(f"caches {self.caches!r} is no claim; write pvc://CLAIM/FOLDER, true or false")
        if claim and self.kind in ("local", "container"):
            raise ValueError(f"caches {self.caches!r} is for trials in a cluster; give a folder, true or false")
        if self.kind == "ome" and isinstance(self.gpus, list):
            raise ValueError("in a cluster, gpus must be a number; the scheduler assigns the GPUs")
        return self


def _run_words(given: Any) -> Any:
    if isinstance(given, str):
        return shlex.split(given)
    if not isinstance(given, list):
        return given
    return [str(word) if isinstance(word, int | float) and not isinstance(word, bool) else word for word in given]
