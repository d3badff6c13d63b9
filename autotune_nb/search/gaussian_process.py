"""An ensemble of Gaussian processes: hyperparameters drawn from their prior, weighted by the data's likelihood."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from autotune_nb.search.encoding import Dimension, Floats, Ints, Reading

#: Mean and standard deviation of the logarithm of the length scale, of ordered values and of categories.
_ORDERED, _CATEGORY = (0.0, 0.8), (0.3, 0.6)
#: The same of the noise's variance; figures are standardized.
_NOISE = (-5.0, 1.2)
#: Beta prior of the share of main effects in the kernel.
_ADDITIVE = (1.2, 1.2)
#: Beta prior of the correlation between studies, and the share of draws that relate them in nothing.
_BETWEEN, _UNRELATED = (6.0, 1.0), 0.15
#: Inverse-gamma prior of the variance.
_VARIANCE = (1.0, 1.0)
DRAWS, KEPT = 128, 12
#: The most likely draws, which averages over points are predicted with.
_AVERAGED = 6
#: With more rows than this, a quarter of the draws is fitted.
_ALL_DRAWS_UP_TO = 64
#: So many covariances are computed at once.
_BLOCK = 50_000
#: From so many points on they are predicted in single precision.
_SINGLE = 1_000


def normal_cdf(z: Floats) -> Floats:
    """Return the normal distribution function, with an error below 1e-7."""
    x = np.abs(z) * 0.70710678
    t = 1 / (1 + 0.3275911 * x)
    series = (((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592
    result: Floats = 0.5 * (1 + np.sign(z) * (1 - series * t * np.exp(-x * x)))
    return result


def expected_gain(z: Floats) -> Floats:
    """Return the expected positive part of a normal variable with mean ``z`` and variance 1."""
    result: Floats = np.maximum(0.39894228 * np.exp(-0.5 * z * z) + z * normal_cdf(z), 1e-12)
    return result


def matern(squared: Floats, scale: Floats | float = 1.0) -> Floats:
    """Return the Matérn-5/2 correlation at a squared distance, times a positive scale."""
    # In place and with few passes, which takes less than half of the time.
    result: Floats = squared * 5
    r = np.sqrt(result)
    result *= 1 / 3
    result += r
    result += 1
    np.subtract(np.log(scale), r, out=r)
    np.exp(r, out=r)
    result *= r
    return result


class OneHot:
    """Codes as columns of zeros and ones, so that distances to a few points are one product of matrices."""

    def __init__(self, dimensions: Sequence[Dimension]) -> None:
        sizes = [len(d.positions) for d in dimensions]
        self._starts = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64) if sizes else np.zeros(0, int)
        self.width = sum(sizes)

    def __call__(self, codes: Ints) -> Floats:
        rows = np.zeros((len(codes), self.width))
        if codes.shape[1]:
            np.put_along_axis(rows, codes + self._starts, 1.0, axis=1)
        return rows


class Ensemble:
    """The model of one figure."""

    def __init__(self, dimensions: Sequence[Dimension], seed: int, draws: int = DRAWS, kept: int = KEPT) -> None:
        rng = np.random.default_rng(seed)
        self._kept = kept
        self._tables = [d.squared_distances for d in dimensions]
        prior = np.array([_ORDERED if d.ordered else _CATEGORY for d in dimensions]).reshape(-1, 2)
        mean, deviation = prior.T
        inverse = np.exp(-2 * (mean + deviation * rng.standard_normal((draws, len(dimensions)))))
        # A half of the draws reads values such as sarathi-512 as a name and a number, the other half as one value.
        for half, unread in ((0, Reading.AS_ONE_VALUE), (1, Reading.AS_NAME_AND_NUMBER)):
            columns = np.array([d.reading is unread for d in dimensions], dtype=bool)
            inverse[np.ix_(np.arange(draws) % 2 == half, columns)] = 0.0
        self._inverse = inverse
        self._noise = np.exp(_NOISE[0] + _NOISE[1] * rng.standard_normal(draws))
        self._additive = rng.beta(*_ADDITIVE, draws)
        #: The correlation of the effects in different studies.
        self._between = np.where(rng.random(draws) < _UNRELATED, 0.0, rng.beta(*_BETWEEN, draws))
        self._studies: Ints | None = None

    def _tables_of(self, draws: Ints, codes: Ints) -> Floats:
        """Return the table (draws, one-hot width, 2 rows) of which one-hot points pick their rows.

        Its first half adds up to the scaled squared distances from each row, the second to the main effects.
        """
        pieces = [table[:, codes[:, j]] for j, table in enumerate(self._tables)]
        if not pieces:
            return np.zeros((len(draws), 0, 2 * len(codes)))
        scaled = np.concatenate(
            [self._inverse[draws, j][:, None, None] * piece for j, piece in enumerate(pieces)], axis=1
        )
        # Plus one: the prior variance of the constant.
        effects = (self._additive[draws][:, None, None] * matern(scaled) + 1.0) / len(pieces)
        return np.concatenate((scaled, effects), axis=2)

    def _kernel(self, draws: Ints, one_hot: Floats, tables: Floats) -> Floats:
        """Return the covariances (draws, points, rows) of one-hot points with the rows of the tables."""
        rows = tables.shape[2] // 2
        if not self._tables:
            return np.full((len(draws), len(one_hot), rows), 2.0)
        both = one_hot @ tables
        result = matern(both[..., :rows], (1 - self._additive[draws][:, None, None]).astype(tables.dtype))
        result += both[..., rows:]
        return result

    def fit(self, one_hot: Floats, codes: Ints, y: Floats, studies: Ints | None = None) -> None:
        """Fit standardized figures. Raises LinAlgError if no process can be fitted.

        ``studies`` has 0 for the rows of the study that is predicted, and another number for each previous one.
        """
        self._studies = studies
        n, (a, b) = len(y), _VARIANCE
        count = len(self._noise) if n <= _ALL_DRAWS_UP_TO else max(16, len(self._noise) // 4)
        lower, z = self._factors(count, codes, y)
        q = b + 0.5 * (z * z).sum(1)
        likelihood = -np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(1) - (a + n / 2) * np.log(q)
        #: The logarithm of the probability density of the figures, on average over the draws.
        constant = math.lgamma(a + n / 2) - math.lgamma(a) + a * math.log(b) - n / 2 * math.log(2 * math.pi)
        self.evidence = constant + float(np.logaddexp.reduce(likelihood)) - math.log(count)
        top = np.argsort(-likelihood, kind="stable")[: self._kept]
        weights = np.exp(likelihood[top] - likelihood[top[0]])
        self._draws, self._weights, self._codes = top, weights / weights.sum(), codes
        self._variance = q[top] / (a + n / 2)
        self._inverse_lower = np.linalg.inv(lower[top])
        self._alpha = np.einsum("mij,mi->mj", self._inverse_lower, z[top])

    def _factors(self, count: int, codes: Ints, y: Floats) -> tuple[Floats, Floats]:
        """Return the Cholesky factors L of the rows' covariances in the first draws, and L⁻¹ y."""
        n, dimensions = len(y), max(len(self._tables), 1)
        # Below the diagonal alone, which is all that Cholesky's decomposition reads.
        i, j = np.tril_indices(n)
        squared = np.zeros((len(self._tables), len(i)))
        effects = np.full((count, len(i)), 0.0 if self._tables else 1.0)
        for d, table in enumerate(self._tables):
            first, second = codes[i, d], codes[j, d]
            squared[d] = table[first, second]
            effects += matern(self._inverse[:count, d, None, None] * table)[:, first, second]
        share = self._additive[:count, None]
        kernel = np.zeros((count, n + 1, n + 1))
        shared = (1 - share) * matern(self._inverse[:count] @ squared) + share / dimensions * effects
        if self._studies is not None:
            shared *= np.where(self._studies[i] == self._studies[j], 1.0, self._between[:count, None])
        # Plus one: the prior variance of the constant.
        kernel[:, i, j] = shared + 1.0
        diagonal = np.arange(n)
        kernel[:, diagonal, diagonal] += self._noise[:count, None]
        # The last row becomes L⁻¹ y, if the last pivot is positive: yᵀ K⁻¹ y is at most yᵀ y over the noise.
        kernel[:, n, :n] = y
        kernel[:, n, n] = 1.0 + 2.0 * (y @ y) / self._noise[:count]
        lower: Any = np.linalg.cholesky(kernel)
        return lower[:, :n, :n], lower[:, n, :n]

    def predict(self, one_hot: Floats, kept: int | None = None) -> tuple[Floats, Floats, Floats]:
        """Return means and deviations (draws, points) and the draws' weights; of the first ``kept`` draws only."""
        k = kept or len(self._draws)
        mean, left = np.empty((k, len(one_hot))), np.empty((k, len(one_hot)))
        precision = self._precision(one_hot)
        whitening = self._inverse_lower[:k].transpose(0, 2, 1).astype(precision)
        alpha = self._alpha[:k, :, None].astype(precision)
        for block, kernel in self._kernels(one_hot, k):
            whitened = kernel @ whitening
            mean[:, block] = (kernel @ alpha)[..., 0]
            left[:, block] = np.einsum("mab,mab->ma", whitened, whitened)
        deviation = np.sqrt(self._variance[:k, None] * np.maximum(2.0 - left, 1e-9))
        return mean, deviation, self._weights[:k, None] / self._weights[:k].sum()

    def predict_mean(self, one_hot: Floats, kept: int) -> Floats:
        """Return the mean at each point over the first ``kept`` draws, which takes less time than deviations."""
        mean = np.empty((kept, len(one_hot)))
        alpha = self._alpha[:kept, :, None].astype(self._precision(one_hot))
        for block, kernel in self._kernels(one_hot, kept):
            mean[:, block] = (kernel @ alpha)[..., 0]
        result: Floats = self._weights[:kept] @ mean / self._weights[:kept].sum()
        return result

    def _precision(self, one_hot: Floats) -> type[Any]:
        # The best of many points do not depend on the last digits.
        return np.float32 if len(one_hot) >= _SINGLE else np.float64

    def _kernels(self, one_hot: Floats, k: int) -> Iterator[tuple[slice, Floats]]:
        """Yield the covariances of points with the rows in blocks, which stay in the processor's cache."""
        precision = self._precision(one_hot)
        tables = self._tables_of(self._draws[:k], self._codes).astype(precision)
        size = max(1, _BLOCK // (k * len(self._codes)))
        for start in range(0, len(one_hot), size):
            block = slice(start, start + size)
            kernel = self._kernel(self._draws[:k], one_hot[block].astype(precision, copy=False), tables)
            yield block, self._with_studies(kernel, self._draws[:k])

    def _with_studies(self, kernel: Floats, draws: Ints) -> Floats:
        """Return covariances with the rows, less for those of previous studies. Changes the kernel in place."""
        if self._studies is not None:
            kernel -= 1.0
            kernel *= np.where(self._studies == 0, 1.0, self._between[draws][:, None])[:, None].astype(kernel.dtype)
            kernel += 1.0
        return kernel

    def predict_average(self, one_hot: Floats, codes: Ints) -> tuple[Floats, Floats, Floats]:
        """Return mean and deviation (draws, 1) of the average over points, and the draws' weights.

        The deviations of the points have much in common, so that it is not the average of theirs.
        """
        draws, weights = self._draws[:_AVERAGED], self._weights[:_AVERAGED]
        kernel = self._with_studies(self._kernel(draws, one_hot, self._tables_of(draws, self._codes)), draws).mean(1)
        among = self._kernel(draws, one_hot, self._tables_of(draws, codes)).mean((1, 2))
        whitened = np.einsum("mb,mab->ma", kernel, self._inverse_lower[:_AVERAGED])
        mean = (kernel * self._alpha[:_AVERAGED]).sum(1)
        left = np.maximum(among - (whitened**2).sum(1), 1e-9)
        deviation = np.sqrt(self._variance[:_AVERAGED] * left)
        return mean[:, None], deviation[:, None], weights[:, None] / weights.sum()
