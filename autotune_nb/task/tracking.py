"""The section of a task about an experiment tracker."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from autotune_nb.task.section import Section


class Tracking(Section):
    """An experiment tracker to which a run sends each trial when it ends."""

    kind: Literal["mlflow"] | None = Field(None, description="mlflow; default: none")
    uri: str | None = Field(None, description="the tracking server's URI; default: MLFLOW_TRACKING_URI")
    experiment: str | None = Field(
        None, min_length=1, description="the experiment; default: MLFLOW_EXPERIMENT_NAME, or autotune_nb"
    )
