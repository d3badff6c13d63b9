"""The section of a task about where the artifacts of trials are copied."""

from __future__ import annotations

from pydantic import Field

from autotune_nb.task.section import Section


class Artifacts(Section):
    """A place to which a run copies the logs and files of each trial when it ends; the study's folder keeps its own."""

    url: str | None = Field(
        None,
        min_length=1,
        description="a folder, or a URL of fsspec such as s3://BUCKET/PREFIX; credentials come from the environment, "
        "or as ${NAME}",
    )
