"""Takes a study's objects out of a cluster and confirms that they are gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from autotune_nb.cluster.client import Cluster


@dataclass
class Removal:
    """What was removed, a line a thing, and what is still there, each by its kind, namespace and name and why."""

    lines: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


async def remove_study(
    cluster: Cluster,
    study_label: str,
    *,
    namespace: str | None = None,
    keep_anchor: bool = False,
    within_s: float = 60,
    say: Callable[[str], None] = lambda _line: None,
) -> Removal:
    """Delete what a study made in a namespace and wait until that and its pods are gone."""
    raise NotImplementedError
