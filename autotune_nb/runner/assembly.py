"""Creates the deployer and the benchmark of a task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autotune_nb.bench import Benchmark
from autotune_nb.bench.local_benchmark import local_benchmark
from autotune_nb.bench.replay import ReplayBenchmark
from autotune_nb.deploy import STUDY_LABEL, Deployer, LocalDeployer
from autotune_nb.deploy.container.deployer import ContainerDeployer
from autotune_nb.deploy.replay import ReplayDeployer
from autotune_nb.engines.base import Engine
from autotune_nb.errors import TaskError
from autotune_nb.recorded import RecordedTable, SimulatedClock
from autotune_nb.recorded.replay import Replay
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task


def deployer_for(task: Task, engine: Engine, *, study_label: str, folder: Path) -> Deployer:
    """Return the deployer of the task's engine. It starts nothing yet, but can compute command lines."""
    if task.deploy.kind == "local":
        return LocalDeployer(task, engine, study_id=study_label, folder=folder)
    if task.deploy.kind == "container":
        return ContainerDeployer(task, engine, study_label=study_label, folder=folder)
    if task.deploy.kind == "replay":
        return ReplayDeployer(task, engine)
    # The Kubernetes client takes a second to import.
    from autotune_nb.cluster.session import ClusterSession
    from autotune_nb.deploy.ome.deployer import OmeDeployer

    return OmeDeployer(task, engine, ClusterSession(task, study_label=study_label), folder=folder)


def assemble(
    task: Task,
    engine: Engine,
    *,
    study_label: str,
    folder: Path,
    notify: Callable[[str], None],
    replay: Replay | None = None,
) -> tuple[Deployer, Benchmark]:
    """Return deployer and benchmark of a run. A pull of the image and a cluster report to ``notify``."""
    if replay is not None:
        return ReplayDeployer(task, engine, replay), ReplayBenchmark(task, replay)
    if task.deploy.on_this_machine:
        benchmark = local_benchmark(task, engine, labels={STUDY_LABEL: study_label}, folder=folder)
        deployer = deployer_for(task, engine, study_label=study_label, folder=folder)
        if isinstance(deployer, ContainerDeployer):
            deployer.notify = notify
        return deployer, benchmark
    from autotune_nb.bench.executor import cluster_benchmark
    from autotune_nb.cluster.session import ClusterSession
    from autotune_nb.deploy.ome.deployer import OmeDeployer

    session = ClusterSession(task, study_label=study_label)
    session.notify = notify
    return OmeDeployer(task, engine, session, folder=folder), cluster_benchmark(task, engine, session, folder=folder)


def replay_of(task: Task, table: RecordedTable) -> Replay:
    """Return the replay of a table for one run of a task."""
    deploy = task.deploy
    return Replay(
        table,
        SimulatedClock(),
        noise=deploy.noise,
        noise_within=deploy.noise_within or 0.0,
        seed=task.strategy.seed,
    )


def replayed_space(task: Task, space: SearchSpace, table: RecordedTable) -> SearchSpace:
    """Return the recorded configurations of the task's space. Raises TaskError if there is none."""
    fixed = task.engine.args
    points = []
    for one in table.configurations:
        params = {name: value for name, value in one.params.items() if fixed.get(name, ...) != value}
        points.append({name: params.get(name) for name in space.parameters} | params)
    restricted = space.with_points(points)
    if not restricted.points:
        raise TaskError(
            f"none of the {len(table.configurations)} configurations of {table.name} is in the task's space: "
            + "; ".join(_differences(task, space, table)),
            field="deploy.table",
        )
    return restricted


def _differences(task: Task, space: SearchSpace, table: RecordedTable) -> list[str]:
    """Return in what a task differs from a recorded table of which no configuration is in its space."""
    fixed = task.engine.args
    own = {*space.parameters, *fixed}
    found = []
    for name in sorted(table.parameter_names):
        recorded = list(
            {repr(one.params[name]): one.params[name] for one in table.configurations if name in one.params}.values()
        )
        listed = ", ".join(map(str, recorded[:8])) + (", …" if len(recorded) > 8 else "")
        if name not in own:
            found.append(f"the task lacks {name}, whose recorded values are {listed}")
        elif not any(fixed[name] == v if name in fixed else space.parameters[name].contains(v) for v in recorded):
            found.append(f"no value of {name} was recorded; the recorded ones are {listed}")
    found += [f"{name} was not recorded" for name in sorted(own - table.parameter_names)]
    if missing := [level for level in task.workload.levels if level not in table.levels]:
        found.append(f"no level {missing[0]} was recorded; the recorded ones are {'; '.join(map(str, table.levels))}")
    return found or ["no configuration has these values together"]
