"""The fields a manifest needs even if its template is a user's: those by which trials find, own and run objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune_nb.cluster.kinds import BENCHMARK_JOB, INFERENCE_SERVICE, JOB, POD, Kind, Object
from autotune_nb.errors import SetupError

#: The kind of object that each of a trial's templates renders.
_KINDS = {
    "inference_service.yaml.j2": INFERENCE_SERVICE,
    "benchmark_job.yaml.j2": BENCHMARK_JOB,
    "job.yaml.j2": JOB,
    "reader_pod.yaml.j2": POD,
}


def require_fields(template: str, rendered: Object, values: Mapping[str, Any], *, file: str) -> None:
    """Raise SetupError, naming the template's ``file``, if the rendered object lacks a required field.

    It may have other fields too. Only templates of a trial's objects are checked.
    """
    kind = _KINDS.get(template)
    if kind is None:
        return
    for path, wanted in _required_values(kind, values).items():
        _require(_value_at(rendered, path), path, wanted, file)
    for path, wanted in _required_containers(kind, values).items():
        containers = _value_at(rendered, path)
        listed = [one for one in containers if isinstance(one, Mapping)] if isinstance(containers, list) else []
        name = wanted["name"]
        container = next((one for one in listed if one.get("name") == name), None)
        if container is None:
            raise _missing(file, path, [one.get("name") for one in listed], f"a container {name!r}")
        for key in ("command", "args"):
            _require(container.get(key), f"{path}[{name}].{key}", wanted.get(key), file)


def _required_values(kind: Kind, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the required value of each path."""
    metadata = values["metadata"]
    wanted: dict[str, Any] = {"apiVersion": kind.api_version, "kind": kind.name}
    wanted |= {f"metadata.{key}": value for key, value in metadata.items()}
    if kind is INFERENCE_SERVICE:
        wanted |= {f"spec.engine.runner.{key}": values["runner"][key] for key in ("name", "args", "command")}
    if kind is BENCHMARK_JOB:
        # The measurements are read from that folder.
        wanted["spec.endpoint.inferenceService"] = values["service"]
        wanted["spec.outputLocation.storageUri"] = values["results"]
        wanted["spec.resultFolderName"] = values["folder"]
    if kind is JOB:
        # The pod is watched by these labels.
        wanted["spec.template.metadata.labels"] = metadata.get("labels")
    return wanted


def _required_containers(kind: Kind, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the container that the list at each path must include."""
    path = {JOB: "spec.template.spec.containers", POD: "spec.containers"}.get(kind)
    return {path: values["container"]} if path is not None else {}


def _value_at(obj: Any, path: str) -> Any:
    for key in path.split("."):
        obj = obj.get(key) if isinstance(obj, Mapping) else None
    return obj


def _require(have: Any, path: str, wanted: Any, file: str) -> None:
    if wanted in (None, [], {}):
        return
    if isinstance(wanted, Mapping):
        for key, value in wanted.items():
            _require(have.get(key) if isinstance(have, Mapping) else None, f"{path}.{key}", value, file)
    elif have != wanted and not (path.endswith(".ownerReferences") and _owned(have, wanted)):
        raise _missing(file, path, have, repr(wanted))


def _owned(have: Any, wanted: list[Any]) -> bool:
    """Whether the required owners are among the object's."""
    return isinstance(have, list) and all(owner in have for owner in wanted)


def _missing(file: str, path: str, have: Any, wanted: str) -> SetupError:
    shown = "nothing" if have in (None, [], {}) else repr(have)
    return SetupError(
        f"{file} gives {shown} for {path}, and {wanted} is required; restore the line of the package's template",
        field="deploy.templates",
    )
