"""What a manifest has to keep, whoever wrote its template: how a trial's objects are found again, owned and run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune_nb.cluster.kinds import BENCHMARK_JOB, INFERENCE_SERVICE, JOB, POD, Kind, Object
from autotune_nb.errors import SetupError

#: Which kind each template of a trial makes.
_KINDS = {
    "inference_service.yaml.j2": INFERENCE_SERVICE,
    "benchmark_job.yaml.j2": BENCHMARK_JOB,
    "job.yaml.j2": JOB,
    "reader_pod.yaml.j2": POD,
}


def require_kept(template: str, found: Object, values: Mapping[str, Any], *, file: str) -> None:
    """Raises SetupError, naming the template's ``file``, where the object lacks something of what it has to have.

    More than that it may have. Templates of other objects are not looked at.
    """
    kind = _KINDS.get(template)
    if kind is None:
        return
    for path, wanted in _wanted(kind, values).items():
        _require(_at(found, path), path, wanted, file)
    for path, wanted in _wanted_containers(kind, values).items():
        containers = _at(found, path)
        ours = [one for one in containers if isinstance(one, Mapping)] if isinstance(containers, list) else []
        name = wanted["name"]
        mine = next((one for one in ours if one.get("name") == name), None)
        if mine is None:
            raise _dropped(file, path, [one.get("name") for one in ours], f"a container {name!r}")
        for key in ("command", "args"):
            _require(mine.get(key), f"{path}[{name}].{key}", wanted.get(key), file)


def _wanted(kind: Kind, values: Mapping[str, Any]) -> dict[str, Any]:
    """What has to stand at each path."""
    metadata = values["metadata"]
    wanted: dict[str, Any] = {"apiVersion": kind.api_version, "kind": kind.name}
    wanted |= {f"metadata.{key}": value for key, value in metadata.items()}
    if kind is INFERENCE_SERVICE:
        wanted |= {f"spec.engine.runner.{key}": values["runner"][key] for key in ("name", "args", "command")}
    if kind is BENCHMARK_JOB:
        # Its levels are looked for in that folder.
        wanted["spec.endpoint.inferenceService"] = values["service"]
        wanted["spec.outputLocation.storageUri"] = values["results"]
        wanted["spec.resultFolderName"] = values["folder"]
    if kind is JOB:
        # Its pod is followed by them.
        wanted["spec.template.metadata.labels"] = metadata.get("labels")
    return wanted


def _wanted_containers(kind: Kind, values: Mapping[str, Any]) -> dict[str, Any]:
    """The container that has to be in the list at each path."""
    path = {JOB: "spec.template.spec.containers", POD: "spec.containers"}.get(kind)
    return {path: values["container"]} if path is not None else {}


def _at(found: Any, path: str) -> Any:
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _require(have: Any, path: str, wanted: Any, file: str) -> None:
    if wanted in (None, [], {}):
        return
    if isinstance(wanted, Mapping):
        for key, value in wanted.items():
            _require(have.get(key) if isinstance(have, Mapping) else None, f"{path}.{key}", value, file)
    elif have != wanted and not (path.endswith(".ownerReferences") and _owned(have, wanted)):
        raise _dropped(file, path, have, repr(wanted))


def _owned(have: Any, wanted: list[Any]) -> bool:
    """Whether the owners are among others."""
    return isinstance(have, list) and all(owner in have for owner in wanted)


def _dropped(file: str, path: str, have: Any, wanted: str) -> SetupError:
    shown = "nothing" if have in (None, [], {}) else repr(have)
    return SetupError(
        f"{file} gives {shown} for {path}, and {wanted} is needed; put back what the package's template says there",
        field="deploy.templates",
    )
