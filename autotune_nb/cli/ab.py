"""The ``ab`` command: compares two given configurations by the confirmation alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune_nb.cli._examples import examples
from autotune_nb.cli._running import ending_run
from autotune_nb.cli.check import placement_options
from autotune_nb.cli.output import print_stderr, prototype_notes, usage_errors
from autotune_nb.errors import TaskError

if TYPE_CHECKING:
    from autotune_nb.task.task import Task

_STUDY = click.Path(file_okay=False, path_type=Path)


@click.command(
    short_help="Compare two given configurations by repeated starts.",
    epilog=examples(
        "ab runs/mine:best default --study runs/ab --rounds 8",
        "ab max_num_seqs=64 max_num_seqs=256 --task task.yaml --study runs/ab",
    ),
)
@click.argument("a")
@click.argument("b")
@click.option("--task", type=click.Path(path_type=Path), help="Task file. Default: that of the study which A names.")
@click.option("--study", required=True, type=_STUDY, help="Folder of the new study; an existing study is resumed.")
@click.option("--rounds", type=click.IntRange(min=2), help="At most so many rounds (confirm.rounds). Default: 5.")
@placement_options
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")
def ab(
    a: str, b: str, task: Path | None, study: Path, rounds: int | None, as_json: bool, **overrides: Any
) -> None:  # fmt: skip
    """Measure the configurations A and B in turn until it is clear which is better, without a search.

    A and B are NAME=VALUE,NAME=VALUE, a YAML or JSON file of them, STUDY:TRIAL, STUDY:best, or default. Each is
    measured once, and then both are started again in rounds, as a confirmation does (confirm in the task). If none is
    the engine's default, A takes its place, and is called so in the report.

    Exits 0 if a trial is complete, 1 if none is or an error ended the run, 2 for an invalid task or wrong usage.
    """
    with ending_run(as_json=as_json, log_json=False) as to_end:
        from autotune_nb.history.ab import ab_task, configuration_of
        from autotune_nb.session import tune, with_overrides
        from autotune_nb.task.task import Task
        from autotune_nb.trial.trial import configuration_text

        with usage_errors(), prototype_notes():
            loaded = with_overrides(_task_of(a) if task is None else Task.load(task), **overrides)
            first, second = configuration_of(a), configuration_of(b)
            names = ["A", "B"]
            if first and not second:
                # The report calls the engine's default what is the default.
                first, second, names = second, first, names[::-1]
            started = tune(ab_task(loaded, first, second, rounds=rounds), study=study)
        place = ", in the place of the engine's default" if first else ""
        print_stderr(f"{names[0]}{place}: {configuration_text(first)}")
        print_stderr(f"{names[1]}: {configuration_text(second)}")
        to_end(started)


def _task_of(a: str) -> Task:
    """Return the task of the study that A names. Raises TaskError if it names none."""
    from autotune_nb.opened import OpenedStudy

    found = re.fullmatch(r"(.+):(\d+|best)", a)
    if found is None:
        raise TaskError("give the task with --task, or A as a trial of a study (STUDY:TRIAL)", field="task")
    return OpenedStudy(found[1]).task
