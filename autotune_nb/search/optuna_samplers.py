"""Optuna's samplers as strategies: they sample from the observations alone, in a study in memory."""

from __future__ import annotations

import importlib.util
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from autotune_nb.errors import SetupError, TaskError
from autotune_nb.search.base import Observation, Proposal, SearchProblem
from autotune_nb.task.optuna_space import decode, distributions, encode
from autotune_nb.task.space import Point, point_key

_CLASSES = {
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "qmc": "QMCSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
}
#: Packages that Optuna imports only when it first samples.
_PACKAGES = {"gp": ("torch", "scipy"), "cmaes": ("cmaes",), "qmc": ("scipy",)}
#: Samplers that learn from nothing but parameters, values and constraints. The others note their own state, such as
#: its generation, in each trial that they sample.
_WITHOUT_STATE = ("tpe", "gp")
#: Samplers that ignore constraints: to them what breaks a limit is as bad as the worst.
_WITHOUT_CONSTRAINTS = ("cmaes", "qmc")
#: So many proposals may be forbidden or tried before a random point takes their place.
_PROPOSALS = 50
#: The constraint that a configuration breaks which did not run.
_RAN = "ran"


def optuna_sampler(name: str, seed: int, options: Mapping[str, Any], num_trials: int | None = None) -> BaseSampler:
    """Return Optuna's sampler of a strategy's name, for a budget of ``num_trials``.

    Raises TaskError for an option it does not accept, SetupError for a missing package.
    """
    missing = [p for p in _PACKAGES.get(name, ()) if importlib.util.find_spec(p) is None]
    if missing:
        message = f"the sampler {name!r} needs more packages: pip install {' '.join(missing)}"
        raise SetupError(message, field="strategy.sampler")
    given: dict[str, Any] = {"seed": seed, **options}
    if name == "tpe":
        given = {"multivariate": True, "constant_liar": True, "n_startup_trials": _startup(num_trials), **given}
    if name in _WITHOUT_CONSTRAINTS:
        # Categories are sampled at random, which Optuna would say in every proposal.
        given = {"warn_independent_sampling": False, **given}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler: BaseSampler = getattr(optuna.samplers, _CLASSES[name])(**given)
    except (TypeError, ValueError) as error:
        raise TaskError(f"{_CLASSES[name]}: {error}", field="strategy.options") from None
    return sampler


def _startup(num_trials: int | None) -> int:
    """Return the number of random trials before TPE learns: Optuna's 10, but at most a third of a small budget."""
    return 10 if num_trials is None else max(3, min(10, num_trials // 3))


class OptunaStrategy:
    """Proposes what one of Optuna's samplers samples, if it is allowed and new.

    The sampler sees every limit as a constraint in units of its bound, and a configuration that cannot run as complete
    and infeasible. It does not see failures of the surroundings.
    """

    def __init__(
        self,
        name: str,
        problem: SearchProblem,
        seed: int,
        *,
        options: Mapping[str, Any] | None = None,
        num_trials: int | None = None,
    ) -> None:
        self._name, self._problem, self._num_trials = name, problem, num_trials
        self._options = dict(options or {})
        self._seed = int(self._options.pop("seed", seed))
        self._distributions = distributions(problem.space)

    def propose(self, observations: Sequence[Observation], pending: Sequence[Point] = (), n: int = 1) -> list[Proposal]:
        running, proposals = list(pending), []
        for _ in range(n):
            point, reason = self._next(observations, running)
            if point is None:
                break
            proposals.append(Proposal(point, reason))
            running.append(point)
        return proposals

    def _sampler(self, count: int) -> BaseSampler:
        # Of those without state a new one, so that a resumed study proposes what an uninterrupted one would have.
        words = [self._seed % 2**64, count if self._name in _WITHOUT_STATE else 0]
        seed = int(np.random.SeedSequence(words).generate_state(1)[0])
        return optuna_sampler(self._name, seed, self._options, self._num_trials)

    def _next(self, observations: Sequence[Observation], pending: Sequence[Point]) -> tuple[Point | None, str]:
        space = self._problem.space
        tried = {point_key(o.params) for o in observations if not o.baseline} | {point_key(p) for p in pending}
        avoided = set(tried)
        if self._problem.default is not None and any(o.baseline for o in observations):
            # The baseline has measured it, so that it comes last.
            avoided.add(point_key(self._problem.default))
        count = len(observations) + len(pending)
        rng = random.Random(f"{self._seed}/{count}")
        sampler = self._sampler(count)
        study = self._study(sampler, observations, pending)
        trial = self._running(study, {})
        for _ in range(_PROPOSALS):
            # Optuna's distributions do not change; values that an edit excludes are replaced by random ones.
            point = space.projected(decode(space, self._sampled(sampler, study, trial)), rng)
            if point_key(point) not in avoided and space.broken_rule(point) is None:
                return space.canonical(point), f"proposed by Optuna's {_CLASSES[self._name]}"
        fallback = space.random_point(rng, exclude=avoided) or space.random_point(rng, exclude=tried)
        return (
            None if fallback is None else space.canonical(fallback),
            f"at random: what {_CLASSES[self._name]} proposed was tried or is not allowed",
        )

    def _sampled(self, sampler: BaseSampler, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        try:
            relative = sampler.infer_relative_search_space(study, trial)
            sampled = dict(sampler.sample_relative(study, trial, relative))
            for name, distribution in self._distributions.items():
                if name not in sampled:
                    sampled[name] = sampler.sample_independent(study, trial, name, distribution)
        except (TypeError, ValueError, OverflowError) as error:
            message = f"{type(sampler).__name__} cannot work with these options: {error}"
            raise TaskError(message, field="strategy.options") from error
        return sampled

    def _study(
        self, sampler: BaseSampler, observations: Sequence[Observation], pending: Sequence[Point]
    ) -> optuna.Study:
        """Return a study in memory with the observations, and the pending points as running trials."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = [objective.direction for objective in self._problem.objectives]
        study = optuna.create_study(directions=directions, sampler=sampler)
        shown = self._shown(observations)
        if self._name in _WITHOUT_STATE:
            study.add_trials(
                optuna.trial.create_trial(
                    values=values, params=params, distributions=self._distributions, constraints=constraints
                )
                for params, values, constraints in shown
            )
        else:
            # Sampled again, so that the sampler notes its state in each of them.
            for params, values, constraints in shown:
                study.enqueue_trial(params)
                trial = study.ask(self._distributions)
                for name, value in constraints.items():
                    trial.set_constraint(name, value)
                study.tell(trial, values)
        for point in pending:
            self._running(study, encode(self._problem.space, point))
        return study

    def _running(self, study: optuna.Study, params: dict[str, Any]) -> FrozenTrial:
        given = self._distributions if params else {}
        trial = optuna.trial.create_trial(state=TrialState.RUNNING, params=params, distributions=given)
        study.add_trial(trial)
        added = study.get_trials(deepcopy=False)[-1]
        study.sampler.before_trial(study, added)
        return added

    def _shown(self, observations: Sequence[Observation]) -> list[tuple[dict[str, Any], list[float], dict[str, float]]]:
        """Return parameters, values and constraints of what the sampler learns from, by number."""
        space, limits = self._problem.space, [str(limit) for limit in self._problem.limits]
        seen: list[tuple[dict[str, Any], Observation]] = []
        for one in sorted(observations, key=lambda o: o.number):
            point = self._problem.default if one.baseline else dict(one.params)
            if (one.values is not None or one.own) and point is not None and point.keys() == space.parameters.keys():
                seen.append((encode(space, point), one))
        complete = [o for _, o in seen if o.values is not None]
        # To samplers that fit values, a configuration that does not run is as bad as the worst that does.
        worst = [
            (min if one.direction == "maximize" else max)((o.values[k] for o in complete if o.values), default=0.0)
            for k, one in enumerate(self._problem.objectives)
        ]
        # And it breaks its constraint by more than any limit is broken.
        most = 1.0 + max((sum(max(e, 0.0) for e in o.excess) for o in complete), default=0.0)
        shown: list[tuple[dict[str, Any], list[float], dict[str, float]]] = []
        for params, one in seen:
            if self._name in _WITHOUT_CONSTRAINTS:
                shown.append((params, list((one.feasible and one.values) or worst), {}))
                continue
            constraints = dict(zip(limits, one.excess or [0.0] * len(limits), strict=False))
            if len(complete) < len(seen):
                constraints[_RAN] = 0.0 if one.values is not None else most
            shown.append((params, list(one.values or worst), constraints))
        return shown
