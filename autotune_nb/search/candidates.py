"""The points that a strategy scores: all allowed ones, or a sample and the neighbours of the best."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import numpy as np

from autotune_nb.search.encoding import Encoding, Floats, Ints
from autotune_nb.search.gaussian_process import OneHot
from autotune_nb.task.parameters import Value
from autotune_nb.task.space import Point, SearchSpace, point_key

#: Up to so many allowed points, all of them are scored.
MAX_POINTS = 20_000
_SAMPLE = 2_000
_NEIGHBOUR_VALUES = 9


class Candidates:
    """Allowed points with their codes. Neighbours of good points are added where not all points are candidates."""

    def __init__(self, space: SearchSpace, encoding: Encoding, seed: int) -> None:
        self._space, self._encoding = space, encoding
        points = space.allowed_points(MAX_POINTS)
        #: Whether the candidates are all of the space's allowed points.
        self.complete = points is not None
        self.points: list[Point] = []
        self._index: dict[str, int] = {}
        self.codes: Ints = np.zeros((0, len(encoding.dimensions)), dtype=np.int64)
        self.one_hot: Floats = np.zeros((0, 0))
        self._add(points if points is not None else space.random_points(random.Random(seed), _SAMPLE))

    def _add(self, points: Iterable[Point]) -> None:
        new = {key: point for point in points if (key := point_key(point)) not in self._index}
        if not new:
            return
        self._index.update((key, len(self.points) + place) for place, key in enumerate(new))
        self.points += new.values()
        self.codes = self._encoding.encode(self.points)
        self.one_hot = OneHot(self._encoding.dimensions)(self.codes)

    def __len__(self) -> int:
        return len(self.points)

    def index(self, point: Point) -> int | None:
        """Return the place of a point; None if it is no candidate."""
        return self._index.get(point_key(point))

    def with_neighbours(self, of: Iterable[Point], seed: int) -> Candidates:
        """Return the candidates and the allowed points one value away from these; itself if it is complete."""
        if self.complete:
            return self
        rng = random.Random(seed)
        added = [neighbour for point in of for neighbour in self._neighbours(point, rng)]
        if not self.points and not added:
            # Rules that almost no point keeps.
            found = self._space.random_point(rng)
            added = [found] if found is not None else []
        other = object.__new__(Candidates)
        other.__dict__.update(self.__dict__, points=list(self.points), _index=dict(self._index))
        other._add(added)
        return other

    def _neighbours(self, point: Point, rng: random.Random) -> Iterator[Point]:
        for name, parameter in self._space.parameters.items():
            values: list[Value] = []
            grid = parameter.grid()
            if grid is not None and len(grid) <= _NEIGHBOUR_VALUES:
                values += grid
            else:
                values += [parameter.random(rng) for _ in range(_NEIGHBOUR_VALUES)]
            for value in values:
                neighbour = self._space.canonical({**point, name: value})
                if self._space.broken_rule(neighbour) is None:
                    yield neighbour
