"""The Pareto front of several objectives, and the volume of the objectives' space that it dominates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune_nb.search.base import Observation
from autotune_nb.search.encoding import Floats
from autotune_nb.trial.score import Objective


def pareto_front(observations: Sequence[Observation], objectives: Sequence[Objective]) -> list[Observation]:
    """Return the feasible observations that no other is better than: equal or better in every objective.

    They are in the order of the first objective, the best first.
    """
    feasible = [one for one in observations if one.feasible]
    losses = _losses(feasible, objectives)
    front = [i for i, own in enumerate(losses) if not ((losses <= own).all(axis=1) & (losses < own).any(axis=1)).any()]
    return [feasible[i] for i in sorted(front, key=lambda i: tuple(losses[i]))]


def hypervolume(
    observations: Sequence[Observation], objectives: Sequence[Objective], reference: Sequence[float]
) -> float:
    """Return the volume between a reference point and the Pareto front.

    The reference has one value per objective; observations that are worse in one of them add nothing.
    """
    signs = np.array([-1.0 if one.direction == "maximize" else 1.0 for one in objectives])
    losses = _losses([one for one in observations if one.feasible], objectives)
    return _dominated(losses, signs * np.asarray(reference, dtype=float))


def _losses(observations: Sequence[Observation], objectives: Sequence[Objective]) -> Floats:
    """Return one row an observation, in which smaller is better."""
    signs = np.array([-1.0 if one.direction == "maximize" else 1.0 for one in objectives])
    values = np.array([one.values for one in observations], dtype=float).reshape(len(observations), len(objectives))
    losses: Floats = values * signs
    return losses


def _dominated(losses: Floats, reference: Floats) -> float:
    """Return the dominated volume: slices along the last objective, each times the volume in the others."""
    losses = losses[(losses < reference).all(axis=1)]
    if not len(losses):
        return 0.0
    if losses.shape[1] == 1:
        return float(reference[0] - losses.min())
    losses = losses[np.argsort(losses[:, -1], kind="stable")]
    ends = np.append(losses[1:, -1], reference[-1])
    heights = ends - losses[:, -1]
    return sum(
        float(height) * _dominated(losses[: k + 1, :-1], reference[:-1])
        for k, height in enumerate(heights)
        if height > 0
    )
