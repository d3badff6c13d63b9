"""Runs the lab's simulated studies on all cores, in processes that import only this package.

Not with multiprocessing: that would run a user's script again in each process, unless it protects its main part.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence

from autotune_nb.errors import SetupError
from autotune_nb.search.lab_problem import LabProblem
from autotune_nb.search.lab_registry import STRATEGIES
from autotune_nb.search.lab_study import MIN_TRIALS, SimulatedStudy, simulate

#: Fewer trials are simulated in the time that a process takes to start.
_FEW_TRIALS = 1000


def simulated_studies(
    problem: LabProblem,
    name: str,
    seeds: Sequence[int],
    *,
    trials: int | None,
    noise: float,
    min_trials: int = MIN_TRIALS,
) -> list[SimulatedStudy]:
    """Return one simulated study of a strategy for each seed. Raises SetupError if a process ends early."""
    workers = min(_num_cores(), len(seeds))
    if workers < 2 or len(seeds) * (trials or len(problem)) < _FEW_TRIALS:
        return _studies(problem, name, seeds, trials, noise, min_trials)
    # One thread of linear algebra a process: the matrices are small.
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "autotune_nb.search.lab_workers"]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(workers):
            processes.append(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    env={**os.environ, **threads},
                )
            )  # fmt: skip
        for number, process in enumerate(processes):
            assert process.stdin is not None
            pickle.dump((problem, name, seeds[number::workers], trials, noise, min_trials), process.stdin)
            process.stdin.close()
            # Closed here; communicate would close it again.
            process.stdin = None
        found: dict[int, SimulatedStudy] = {}
        for number, process in enumerate(processes):
            output, errors = process.communicate()
            if process.returncode != 0:
                last = errors.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
                raise SetupError(f"a process of the lab failed on {name}: {last[0]}")
            found |= dict(zip(seeds[number::workers], pickle.loads(output), strict=True))
    finally:
        for process in processes:
            # Kills what still runs after an error or an interrupt; at its end the context closes the pipes and waits.
            with process:
                process.kill()
    return [found[seed] for seed in seeds]


def _studies(
    problem: LabProblem, name: str, seeds: Sequence[int], trials: int | None, noise: float, min_trials: int
) -> list[SimulatedStudy]:
    create = STRATEGIES[name]
    return [
        simulate(problem, create(problem, seed), seed=seed, trials=trials, noise=noise, min_trials=min_trials)
        for seed in seeds
    ]


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    sys.stdout.buffer.write(pickle.dumps(_studies(*pickle.load(sys.stdin.buffer))))
