"""Creates the deployer and the benchmark of a task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autotune_nb.bench import Benchmark
from autotune_nb.bench.genai_bench import GenaiBench
from autotune_nb.deploy import STUDY_LABEL, Deployer, LocalDeployer
from autotune_nb.engines.base import Engine
from autotune_nb.task.task import Task


def deployer_for(task: Task, engine: Engine, *, study_label: str, folder: Path) -> Deployer:
    """Return the deployer of the task's engine. It starts nothing yet, but can compute command lines."""
    if task.deploy.kind == "local":
        return LocalDeployer(task, engine, study_id=study_label, folder=folder)
    # The Kubernetes client takes a second to import.
    from autotune_nb.cluster.session import ClusterSession
    from autotune_nb.deploy.ome.deployer import OmeDeployer

    return OmeDeployer(task, engine, ClusterSession(task, study_label=study_label), folder=folder)


def assemble(
    task: Task, engine: Engine, *, study_label: str, folder: Path, notify: Callable[[str], None]
) -> tuple[Deployer, Benchmark]:
    """Return deployer and benchmark of a run. In a cluster they share a session, which reports to ``notify``."""
    if task.deploy.kind == "local":
        benchmark = GenaiBench(
            task, backend=engine.backend, engine=engine.metrics_engine, labels={STUDY_LABEL: study_label}
        )
        return deployer_for(task, engine, study_label=study_label, folder=folder), benchmark
    from autotune_nb.bench.executor import cluster_benchmark
    from autotune_nb.cluster.session import ClusterSession
    from autotune_nb.deploy.ome.deployer import OmeDeployer

    session = ClusterSession(task, study_label=study_label)
    session.notify = notify
    return OmeDeployer(task, engine, session, folder=folder), cluster_benchmark(task, engine, session)
