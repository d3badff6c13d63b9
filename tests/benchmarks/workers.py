"""The time of four workers of one study in PostgreSQL, divided by a quarter of one worker's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy

from tests.benchmarks.figure import Figure
from tests.postgres import Postgres, programs

GOAL = 1.15
_TRIALS, _WORKERS = 200, 4
#: A trial, of 50 recorded seconds, takes one second.
_SCALE = 1 / 50


def workers() -> list[Figure]:
    """Return ``four_workers_ratio``, and how many of 200 replayed trials were lost or run twice, which must be none."""
    folder = programs()
    if folder is None:
        raise SystemExit("workers: no PostgreSQL server here: apt-get install postgresql brings one")
    server = Postgres(folder)
    server.start()
    try:
        with tempfile.TemporaryDirectory(prefix="at-bench-") as name:
            task = replayed_task(Path(name), _TRIALS)
            one_s, lost = _study(server, task, Path(name), 1)
            four_s, lost_of_four = _study(server, task, Path(name), _WORKERS)
    finally:
        server.delete()
    note = f"{_TRIALS} trials of 1 s took one worker {one_s:.1f} s, four workers {four_s:.1f} s"
    return [
        Figure("four_workers_ratio", four_s / (one_s / _WORKERS), GOAL, note),
        Figure("trials_lost_or_run_twice", lost + lost_of_four, 0),
    ]


def replayed_task(folder: Path, trials: int) -> Path:
    """Write a task that replays so many configurations, and return its file."""
    head = "config_id,status,param:threads,level,startup_s,duration_s,output_tokens_per_s"
    rows = (f"{number},complete,{number},1,20,30,{100 + number}" for number in range(trials))
    (folder / "table.csv").write_text("\n".join([head, *rows]) + "\n")
    task = {
        "name": "workers",
        "model": "m",
        "engine": {"kind": "command", "command": "engine --port {port}"},
        "parameters": {"threads": list(range(trials))},
        "workload": {"scenarios": ["dataset"], "concurrency": [1]},
        "objective": "maximize output_tokens_per_s",
        "strategy": "random",
        "budget": {"baseline": False, "trials": trials},
        "deploy": {"kind": "replay", "table": str(folder / "table.csv")},
    }
    file = folder / "task.json"
    file.write_text(json.dumps(task))
    return file


def start(url: str, task: Path, folder: Path, *arguments: Any) -> subprocess.Popen[str]:
    """Start a worker of a database in a folder; ``arguments`` are those of ``tests.paced_worker`` from the scale on."""
    command = [sys.executable, "-m", "tests.paced_worker", str(task), str(folder), *map(str, arguments)]
    environment = {**os.environ, "AUTOTUNE_NB_STORAGE": url}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stored(server: Postgres, study: str) -> tuple[list[str], float]:
    """Return the state and the configuration of each trial of a study, and the seconds from first to last."""
    engine = sqlalchemy.create_engine(server.url, poolclass=sqlalchemy.pool.NullPool)
    query = """
        SELECT t.state || ' ' || p.param_value AS found, extract(epoch FROM t.datetime_start) AS began,
            extract(epoch FROM t.datetime_complete) AS ended
        FROM trials t JOIN studies s USING (study_id) JOIN trial_params p USING (trial_id) WHERE study_name = :name
    """
    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.text(query), {"name": study}).all()
    took_s = max(row.ended or 0 for row in rows) - min(row.began for row in rows) if rows else 0.0
    return [row.found for row in rows], float(took_s)


def _study(server: Postgres, task: Path, folder: Path, count: int) -> tuple[float, int]:
    name = f"of-{count}"
    started = [start(server.url, task, folder / str(number) / name, _SCALE) for number in range(count)]
    for process in started:
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(output)
    found, took_s = stored(server, name)
    expected = {f"COMPLETE {float(number):g}" for number in range(_TRIALS)}
    wrong = len(expected - set(found)) + len(found) - len(set(found))
    return took_s, wrong
