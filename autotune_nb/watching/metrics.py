"""Prometheus metrics of the runs of this process, computed when they are read, and the server that returns them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import start_http_server
from prometheus_client.registry import Collector

from autotune_nb.errors import SetupError
from autotune_nb.runner.runner import RunState
from autotune_nb.trial.configuration import best_trial
from autotune_nb.trial.cost import cost_of
from autotune_nb.trial.trial import TrialState
from autotune_nb.watching.watcher import WatchedStudy

LOCAL = "127.0.0.1"
_PREFIX = "autotune_nb_"
_MINUTE_S = 60.0


class RunCollector(Collector):
    """The metrics of runs, by the folders of their studies; a new run of a study replaces the last one."""

    def __init__(self) -> None:
        self._runs: dict[Path, tuple[str, WatchedStudy]] = {}
        self._lock = threading.Lock()

    def add(self, run: WatchedStudy) -> None:
        path = run.path.resolve()
        with self._lock:
            # The values of two studies with one name would be those of one.
            taken = {name for other, (name, _) in self._runs.items() if other != path}
            self._runs[path] = "/".join(path.parts[-2:]) if path.name in taken else path.name, run

    def describe(self) -> list[Metric]:
        # A registry would otherwise collect once to learn the names.
        return []

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            runs = list(self._runs.values())
        families = _Families()
        for name, run in runs:
            families.add(name, run)
        yield from families.all


class _Families:
    """The metrics of all runs."""

    def __init__(self) -> None:
        self.trials = self._gauge("trials", "Trials of the study, by state", "state")
        self.state = self._gauge("run_state", "1 for the state that the run is in, else 0", "state")
        self.gpus = self._gauge("held_gpus", "GPUs that running trials hold")
        self.best = self._gauge("best_value", "Value of the best trial that keeps every limit", "figure")
        self.elapsed = self._gauge("elapsed_seconds", "Active time of all runs of the study")
        self.phase = self._counter("phase_seconds", "Time that ended trials spent in a phase", "phase")
        self.running = self._gauge("running_trial_phase_seconds", "Time in its phase of a running trial", "trial phase")
        self.gpu_hours = self._gauge("used_gpu_hours", "GPU-hours that all trials used")
        self.usd = self._gauge("used_usd", "US dollars that all trials cost, if the task has a price")
        self.left = {
            name: self._gauge(f"budget_left_{name}", f"What is left of the budget, if it bounds {name}")
            for name in ("gpu_hours", "usd", "trials", "minutes")
        }
        self.all: list[Metric] = [one for one in vars(self).values() if isinstance(one, Metric)] + [*self.left.values()]

    @staticmethod
    def _gauge(name: str, text: str, labels: str = "") -> GaugeMetricFamily:
        return GaugeMetricFamily(_PREFIX + name, text, labels=("study", *labels.split()))

    @staticmethod
    def _counter(name: str, text: str, labels: str = "") -> CounterMetricFamily:
        return CounterMetricFamily(_PREFIX + name, text, labels=("study", *labels.split()))

    def add(self, study: str, run: WatchedStudy) -> None:
        task, trials, running = run.task, run.history, run.running
        states = Counter(trial.state for trial in trials)
        for state in TrialState:
            self.trials.add_metric((study, state), states[state])
        for one in RunState:
            self.state.add_metric((study, one), float(one == run.state))
        self.gpus.add_metric((study,), sum(one.trial.gpus or 0 for one in running))
        best = best_trial(trials, task.goal)
        if best is not None and best.score is not None:
            for figure, value in best.score.values.items():
                self.best.add_metric((study, figure), value)
        self.elapsed.add_metric((study,), run.elapsed_s)
        seconds: Counter[str] = Counter()
        for trial in trials:
            seconds.update(trial.seconds)
        for phase, total in sorted(seconds.items()):
            self.phase.add_metric((study, phase), total)
        for live in running:
            since = live.phase_since or live.since
            self.running.add_metric((study, str(live.trial.number), live.phase), max(0.0, time.time() - since))
        self._add_budget(study, run)

    def _add_budget(self, study: str, run: WatchedStudy) -> None:
        cost, budget = cost_of(run.history, run.task.price), run.steering.budget
        self.gpu_hours.add_metric((study,), cost.gpu_hours)
        if cost.usd is not None:
            self.usd.add_metric((study,), cost.usd)
        ended = sum(trial.state.finished and trial.confirmation is None for trial in run.history)
        used = {"gpu_hours": cost.gpu_hours, "usd": cost.usd, "minutes": run.elapsed_s / _MINUTE_S}
        bounds: dict[str, Any] = {name: getattr(budget, name) for name in used}
        bounds["trials"], used["trials"] = run.steering.num_trials, float(ended)
        for name, bound in bounds.items():
            if bound is not None:
                self.left[name].add_metric((study,), max(0.0, bound - (used[name] or 0.0)))


_servers: dict[tuple[str, int], tuple[Any, RunCollector]] = {}
_starting = threading.Lock()


def serve_metrics(port: int, address: str = LOCAL) -> RunCollector:
    """Return the collector behind a port, which is served until the process ends; start its server if there is none.

    Raises SetupError if the port cannot be used.
    """
    with _starting:
        if (address, port) in _servers:
            return _servers[address, port][1]
        registry, collector = CollectorRegistry(), RunCollector()
        registry.register(collector)
        try:
            server, _ = start_http_server(port, address, registry=registry)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SetupError(
                f"metrics cannot be served on {address}:{port}: {reason}; choose another port with --metrics-port or "
                "metrics_port, or stop the program that uses this one"
            ) from None
        _servers[address, port] = server, collector
        return collector


def close_servers() -> None:
    """Stop all servers of metrics in this process."""
    with _starting:
        for server, _ in _servers.values():
            server.shutdown()
            server.server_close()
        _servers.clear()
