"""Runs all benchmarks, or the named ones: ``python -m tests.benchmarks [overhead lateness … cluster]``."""

from __future__ import annotations

import os
import sys

import click

from tests.benchmarks.cluster_load import cluster_load
from tests.benchmarks.cross_check import cross_check
from tests.benchmarks.history import history
from tests.benchmarks.lab import lab
from tests.benchmarks.lateness import lateness
from tests.benchmarks.limits import limits
from tests.benchmarks.loads import loads
from tests.benchmarks.opening import opening
from tests.benchmarks.overhead import overhead
from tests.benchmarks.reporting import reporting
from tests.benchmarks.saved import saved
from tests.benchmarks.scraping import scraping
from tests.benchmarks.screen import screen
from tests.benchmarks.stream import stream
from tests.benchmarks.table import table
from tests.benchmarks.tracking import tracking
from tests.benchmarks.verdicts import verdicts
from tests.benchmarks.warm_starts import warm_starts
from tests.benchmarks.workers import workers

BENCHMARKS = {
    "overhead": overhead,
    "lateness": lateness,
    "stream": stream,
    "table": table,
    "opening": opening,
    "screen": screen,
    "saved": saved,
    "reporting": reporting,
    "history": history,
    "lab": lab,
    "warm_starts": warm_starts,
    "verdicts": verdicts,
    "limits": limits,
    "scraping": scraping,
    "cross_check": cross_check,
    "loads": loads,
    "workers": workers,
    "tracking": tracking,
    "cluster": cluster_load,
}


def main(names: list[str]) -> int:
    """Print the benchmarks' figures with their goals; return 1 if one misses its goal."""
    # If it is set, every process compiles all modules that it imports.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    missed = False
    for name in names or list(BENCHMARKS):
        for figure in BENCHMARKS[name]():
            click.echo(figure)
            missed = missed or not figure.reached
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
