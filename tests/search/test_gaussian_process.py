"""The ensemble of Gaussian processes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from autotune_nb.search.encoding import Encoding
from autotune_nb.search.gaussian_process import Ensemble, OneHot, matern
from tests.search.test_strategies import space_of


def test_many_points_are_predicted_as_each_of_them_alone() -> None:
    space = space_of(a=list(range(12)), b=list(range(10)), c=list(range(10)))
    encoding = Encoding(space)
    points = list(space.grid())
    codes, one_hot = encoding.encode(points), OneHot(encoding.dimensions)
    rows = codes[::31]
    y = np.sin(rows[:, 0] / 3) + rows[:, 1] / 5
    model = Ensemble(encoding.dimensions, 1)
    model.fit(one_hot(rows), rows, y - y.mean())
    for kept, count in itertools.product((1, None), (1200, 900)):
        many = model.predict(one_hot(codes[:count]), kept)
        alone = [model.predict(one_hot(codes[[i]]), kept) for i in range(0, count, 171)]
        for part in (0, 1):
            expected = np.concatenate([one[part] for one in alone], axis=1)
            # More than a thousand points are predicted in single precision.
            assert many[part][:, ::171] == pytest.approx(expected, abs=2e-3 if count > 1000 else 1e-9)
    mean, deviation, weight = model.predict(one_hot(rows))
    assert (weight * mean).sum(0) == pytest.approx(y - y.mean(), abs=0.1)
    assert deviation.max() < 0.3


def test_the_processes_are_those_of_the_textbook() -> None:
    """Against the covariance of every pair, its inverse and its determinant."""
    space = space_of(a=[1, 2, 4, 8], b=["x", "y", "z"])
    encoding = Encoding(space)
    codes = encoding.encode(list(space.grid()))
    one_hot, rows = OneHot(encoding.dimensions), codes[[0, 2, 5, 7, 11]]
    y = np.array([0.3, -1.0, 0.8, 0.1, -0.4])
    model = Ensemble(encoding.dimensions, 3, draws=1, kept=1)
    model.fit(one_hot(rows), rows, y)
    inverse, share, noise = model._inverse[0], model._additive[0], model._noise[0]

    def covariance(p: np.ndarray, q: np.ndarray) -> float:
        squared = np.array(
            [
                inverse[d] * table[p[d], q[d]]
                for d, table in enumerate(one.squared_distances for one in encoding.dimensions)
            ]
        )
        return float((1 - share) * matern(squared.sum(keepdims=True))[0] + share * matern(squared).mean() + 1)

    k = np.array([[covariance(p, q) for q in rows] for p in rows]) + noise * np.eye(5)
    across = np.array([[covariance(p, q) for q in rows] for p in codes])
    solved = np.linalg.solve(k, y)
    variance = (1.0 + 0.5 * y @ solved) / (1.0 + 5 / 2)
    left = 2.0 - (across * np.linalg.solve(k, across.T).T).sum(1)
    mean, deviation, _ = model.predict(one_hot(codes))
    assert mean[0] == pytest.approx(across @ solved, abs=1e-9)
    assert deviation[0] == pytest.approx(np.sqrt(variance * left), abs=1e-6)
