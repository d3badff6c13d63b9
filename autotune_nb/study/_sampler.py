"""Optuna's samplers by name, limited to allowed points that were not tried yet."""

from __future__ import annotations

import importlib.util
import json
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from autotune_nb.errors import SetupError, TaskError
from autotune_nb.task.parameters import Bool, Choice, Float, Int
from autotune_nb.task.sections import Strategy
from autotune_nb.task.space import Point, SearchSpace, point_key

_CLASSES = {
    "random": "RandomSampler",
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "qmc": "QMCSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
}
#: Packages that Optuna imports only when it first samples.
_PACKAGES = {"gp": ("torch", "scipy"), "cmaes": ("cmaes",), "qmc": ("scipy",)}
_PROPOSALS = 50


def base_sampler(strategy: Strategy, num_trials: int | None = None) -> BaseSampler:
    """Return Optuna's sampler for a strategy and a budget of ``num_trials``.

    Raises TaskError for an option it does not accept, SetupError for a missing package.
    """
    # The points of a grid and of auto are enqueued one by one, so that their sampler is never used.
    name = _CLASSES.get(strategy.sampler, "RandomSampler")
    if strategy.sampler == "auto" and strategy.options:
        raise TaskError(f"auto has no options; {', '.join(strategy.options)} given", field="strategy.options")
    missing = [p for p in _PACKAGES.get(strategy.sampler, ()) if importlib.util.find_spec(p) is None]
    if missing:
        message = f"the sampler {strategy.sampler!r} needs more packages: pip install {' '.join(missing)}"
        raise SetupError(message, field="strategy.sampler")
    options: dict[str, Any] = {"seed": strategy.seed, **strategy.options}
    if name == "TPESampler":
        options = {"multivariate": True, "constant_liar": True, "n_startup_trials": _startup(num_trials), **options}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler: BaseSampler = getattr(optuna.samplers, name)(**options)
    except (TypeError, ValueError) as error:
        raise TaskError(f"{name}: {error}", field="strategy.options") from None
    return sampler


def _startup(num_trials: int | None) -> int:
    """Return the number of random trials before TPE learns: Optuna's 10, but at most a third of a small budget."""
    return 10 if num_trials is None else max(3, min(10, num_trials // 3))


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return a space as Optuna's distributions; a choice's list or mapping is its JSON text."""
    result: dict[str, BaseDistribution] = {}
    for name, parameter in space.parameters.items():
        match parameter:
            case Choice():
                result[name] = CategoricalDistribution(_codes(parameter))
            case Bool():
                result[name] = CategoricalDistribution([False, True])
            case Int(low=low, high=high, step=step, log=log):
                result[name] = IntDistribution(low, high - (high - low) % step, step=step, log=log)
            case Float(low=low, high=high, step=step, log=log):
                top = high if step is None else parameter.canonical(low + int((high - low) / step + 1e-9) * step)
                result[name] = FloatDistribution(low, top, step=step, log=log)
    return result


def encode(space: SearchSpace, point: Point) -> dict[str, Any]:
    """Return a point as Optuna's parameters."""
    result: dict[str, Any] = {}
    for name, value in point.items():
        parameter = space.parameters[name]
        if isinstance(parameter, Choice):
            texts = [json.dumps(v, sort_keys=True) for v in parameter.values]
            value = _codes(parameter)[texts.index(json.dumps(value, sort_keys=True))]
        result[name] = value
    return result


def _codes(parameter: Choice) -> list[bool | int | float | str | None]:
    """Return Optuna's value for each value of a choice. They are distinct: to Optuna 1, 1.0 and True are equal."""
    codes: list[bool | int | float | str | None] = []
    for value in parameter.values:
        code = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        while code in codes:
            code = json.dumps(code)
        codes.append(code)
    return codes


def decode(space: SearchSpace, params: dict[str, Any]) -> Point:
    """Return the point of Optuna's parameters."""
    point: Point = {}
    for name, value in params.items():
        parameter = space.parameters.get(name)
        if isinstance(parameter, Choice):
            codes = _codes(parameter)
            matches = [v for v, code in zip(parameter.values, codes, strict=True) if _same(code, value)]
            point[name] = matches[0] if matches else value
        else:
            point[name] = value
    return space.canonical(point)


def _same(code: Any, value: Any) -> bool:
    return type(code) is type(value) and code == value


class AllowedPointsSampler(BaseSampler):
    """Samples with another sampler until its proposal is allowed and new.

    After 50 rejected proposals it returns a random allowed point, so that narrow rules never stall a study. Rejected
    proposals are not stored in the study.
    """

    def __init__(
        self, base: BaseSampler, space: Callable[[], SearchSpace], tried: Callable[[], set[str]], seed: int
    ) -> None:
        self._base = base
        self._space = space
        self._tried = tried
        self._distributions = distributions(space())
        self._rng = random.Random(seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if "fixed_params" in trial.system_attrs:
            # Enqueued, so that nothing has to be proposed.
            return {}
        view = _StudyWithoutBaseline(study, self._distributions)
        tried, space = self._tried(), self._space()
        for _ in range(_PROPOSALS):
            proposal = self._propose(view, trial)
            # Optuna's distributions do not change; values that an edit excludes are replaced by random ones.
            point = space.projected(decode(space, proposal), self._rng)
            if point_key(point) not in tried and space.broken_rule(point) is None:
                return encode(space, space.canonical(point))
        fallback = space.random_point(self._rng, exclude=tried) or space.random_point(self._rng)
        if fallback is None:
            return encode(space, space.projected(decode(space, self._propose(view, trial)), self._rng))
        return encode(space, space.canonical(fallback))

    def _propose(self, view: Any, trial: FrozenTrial) -> dict[str, Any]:
        try:
            relative = self._base.infer_relative_search_space(view, trial)
            proposal = dict(self._base.sample_relative(view, trial, relative))
            for name, distribution in self._distributions.items():
                if name not in proposal:
                    proposal[name] = self._base.sample_independent(view, trial, name, distribution)
        except (TypeError, ValueError, OverflowError) as error:
            message = f"{type(self._base).__name__} cannot work with these options: {error}"
            raise TaskError(message, field="strategy.options") from error
        return proposal

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._base.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._base.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._base.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._base.reseed_rng()
        self._rng.seed()


class _StudyWithoutBaseline:
    """An Optuna study for samplers: without the baseline, which sets no parameter."""

    def __init__(self, study: optuna.Study, space: dict[str, BaseDistribution]) -> None:
        self._study = study
        self._names = space.keys()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        return self._without_baseline(self._study._get_trials(*args, **kwargs))

    def get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        return self._without_baseline(self._study.get_trials(*args, **kwargs))

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.get_trials()

    def _without_baseline(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        return [t for t in trials if not t.state.is_finished() or self._names <= t.params.keys()]
