"""The task of a study, for another version of its engine."""

from __future__ import annotations

import re
from typing import Any

from autotune_nb.errors import TaskError
from autotune_nb.task.task import Task

#: An image with a tag; the port of a registry is not one.
_TAGGED = re.compile(r"(?P<name>.+):(?P<tag>\w[\w.-]{0,127})")


def retuned_task(
    task: Task,
    previous: str,
    *,
    engine_version: str | None = None,
    image: str | None = None,
    executable: str | None = None,
    runtime: str | None = None,
) -> Task:
    """Return the same task for an upgraded engine, which starts from the study ``previous``.

    ``engine_version`` is the tag of the container's image; without a v, one that the previous tag has is added.
    Raises TaskError if the version cannot be set in that way.
    """
    data: dict[str, Any] = task.model_dump()
    if engine_version is not None:
        if image is not None:
            raise TaskError(f"the image {image!r} has a version: omit engine_version", field="engine_version")
        image = _with_tag(task, engine_version)
    for section, field, value in (
        ("deploy", "image", image),
        ("engine", "executable", executable),
        ("deploy", "runtime", runtime),
    ):
        if value is not None:
            data[section] = {**data[section], field: value}
    if task.strategy.sampler != "auto":
        # The only strategy that learns from previous studies; the others' options mean nothing to it.
        data["strategy"] = {"sampler": "auto", "seed": task.strategy.seed}
    return Task.parse({**data, "warm_start": [previous]})


def _with_tag(task: Task, version: str) -> str:
    if task.deploy.kind != "container" or task.deploy.image is None:
        instead = {
            "local": "give the program of that version (--executable), or upgrade the engine and omit the version",
            "ome": "give the serving runtime of that version (--runtime)",
        }.get(task.deploy.kind, "give what replaces the engine, such as another table (--table)")
        raise TaskError(
            f"{version!r} is the tag of an image, and the study's trials are of kind {task.deploy.kind}: {instead}",
            field="engine_version",
        )
    found = _TAGGED.fullmatch(task.deploy.image)
    if found is None or "@" in task.deploy.image:
        raise TaskError(
            f"the image {task.deploy.image!r} has no tag to replace by {version!r}: give the whole image (--image)",
            field="engine_version",
        )
    prefix = "v" if found["tag"].startswith("v") and version[:1].isdigit() else ""
    return f"{found['name']}:{prefix}{version}"
