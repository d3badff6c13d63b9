"""The entry point of the command line, and the commands run, show, notebook, schema and demo."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import click

from autotune_nb.cli._examples import examples
from autotune_nb.cli._running import ending_run, exit_code
from autotune_nb.cli._watching_options import watching_options
from autotune_nb.cli.ab import ab
from autotune_nb.cli.batch import batch
from autotune_nb.cli.capacity import capacity
from autotune_nb.cli.check import check, placement_options, print_dry_run
from autotune_nb.cli.cleanup import cleanup
from autotune_nb.cli.compare import compare, regression_share, studies
from autotune_nb.cli.engine import engine
from autotune_nb.cli.export import export_command, import_command
from autotune_nb.cli.lab import lab
from autotune_nb.cli.manifests import manifests
from autotune_nb.cli.output import (
    fail,
    print_lost_database,
    prototype_notes,
    usage_errors,
)
from autotune_nb.cli.report import report
from autotune_nb.cli.retune import retune
from autotune_nb.cli.share import share
from autotune_nb.cli.study_table import study_table
from autotune_nb.cli.suggestions import suggestions_of, suggestions_text
from autotune_nb.cli.worker import worker
from autotune_nb.errors import RunError, SetupError, TaskError

_STUDY = click.Path(file_okay=False, path_type=Path)


_COMPLETION = """
\b
Completion of commands and options, in ~/.bashrc (or zsh_source in ~/.zshrc, fish_source in fish):
  eval "$(_AUTOTUNE_NB_COMPLETE=bash_source autotune-nb)"
"""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "demo",
        "check task.yaml",
        "run task.yaml --study runs/mine",
        "show runs/mine",
        "export runs/mine --as command",
    )
    + "\n"
    + _COMPLETION,
)
@click.version_option(package_name="autotune_nb", prog_name="autotune-nb")
def cli() -> None:
    """Tune the parameters of an LLM inference engine: start it with one configuration after another, and measure each.

    A task file names the model, the engine, the parameters to search, the load and the limits. A study is the folder
    that stores the trials of a task. Each COMMAND has a --help of its own.

    Results are printed on stdout, progress, notes and errors on stderr. Exits 0 on success, 1 if no trial is complete
    or something failed, 2 for an invalid task or wrong usage, 3 on a regression.
    """


@cli.command(
    epilog=examples(
        "run task.yaml --study runs/mine",
        "run quickstart --study runs/first --trials 3 --json",
        "run task.yaml --study runs/tonight --baseline runs/mine --fail-on-regression 5%",
    )
)
@click.argument("task", type=click.Path(path_type=Path))
@click.option("--study", required=True, type=_STUDY, help="Folder of the study; an existing study is resumed.")
@click.option("--storage", metavar="URL", help="Optuna storage URL. Default: a SQLite file in the study's folder.")
@click.option("--trials", type=click.IntRange(min=1), help="Total number of trials (budget.trials).")
@click.option("--cut/--no-cut", default=None, help="End trials early that are not the best (budget.cut).")
@placement_options
@watching_options
@click.option("--baseline", type=_STUDY, metavar="STUDY", help="Also measure this study's best, and compare with it.")
@click.option(
    "--fail-on-regression", "threshold", metavar="SHARE", help="Exit 3 if the baseline was better by this, such as 5%."
)
@click.option("--dry-run", is_flag=True, help="Print the manifests of a cluster's first trials and exit.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")
def run(
    task: Path,
    study: Path,
    storage: str | None,
    trials: int | None,
    cut: bool | None,
    baseline: Path | None,
    threshold: str | None,
    dry_run: bool,
    metrics_port: int | None,
    metrics_address: str,
    log_json: bool,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Run the trials of TASK until its budget is spent.

    TASK is a task file, or the name of one that comes with the package, such as quickstart.

    With --baseline, the engine's default and the best configuration of that study are compared with their values
    there. They are worse only by more than noise, which repeated starts show: set confirm: true in both tasks.

    Exits 0 if at least one trial is complete, 1 if none is or an error ended the run, 2 for an invalid task or wrong
    usage, 3 on a regression (--fail-on-regression); what is undecided is reported and does not fail. Ctrl-C stops the
    run and takes the running trials down; the same command resumes the study. A second Ctrl-C kills the engines at
    once.
    """
    with ending_run(as_json=as_json, log_json=log_json) as to_end:
        from autotune_nb.session import tune, with_overrides
        from autotune_nb.task.task import Task

        with usage_errors(), prototype_notes():
            share = regression_share(baseline, threshold)
            loaded = with_overrides(Task.load(task), trials=trials, cut=cut, **overrides)
            if dry_run:
                sys.exit(print_dry_run(loaded, study))
            started = tune(
                loaded,
                study=study,
                storage=storage,
                baseline=baseline,
                metrics_port=metrics_port,
                metrics_address=metrics_address,
            )
        to_end(started, baseline=None if baseline is None else (baseline, share, threshold is not None))


@cli.command(
    short_help="Print the trials and the best configuration of a study.",
    epilog=examples("show runs/mine --suggestions 3"),
)
@click.argument("study", type=_STUDY)
@click.option("--storage", metavar="URL", help="Storage URL, needed if it has a password: passwords are not saved.")
@click.option("--suggestions", type=click.IntRange(1, 100), metavar="N", help="Also print the next N configurations.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of text.")
def show(study: Path, storage: str | None, suggestions: int | None, as_json: bool) -> None:
    """Print the trials and the best configuration of STUDY: finished, interrupted, or running in another process.

    With --suggestions, also what the strategy auto would try next and why, without running it.

    Exits 0 if at least one trial is complete, 1 if none is, 2 if there is no study.
    """
    from autotune_nb import session

    with usage_errors():
        opened = session.open(study, storage=storage)
        results = opened.results()
        suggested = suggestions_of(opened, suggestions) if suggestions is not None else None
    if as_json:
        click.echo(json.dumps({**results, **(suggested or {})}))
    else:
        click.echo(study_table(results))
        if suggested is not None:
            click.echo(suggestions_text(suggested, opened))
    print_lost_database(opened)
    sys.exit(exit_code(results))


@cli.command(epilog=examples("notebook my.ipynb -o out.ipynb -p trials 5 -r study runs/20261130 --html"))
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The executed notebook.",
)
@click.option(
    "-p",
    "parameters",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Parameter of the notebook: text where its cell tagged 'parameters' has text, else JSON. Can be repeated.",
)
@click.option(
    "-r", "raw", nargs=2, multiple=True, metavar="NAME VALUE", help="Parameter that stays text. Can be repeated."
)
@click.option("--html", is_flag=True, help="Also write an HTML page beside it.")
def notebook(
    notebook: Path,
    output: Path,
    parameters: tuple[tuple[str, str], ...],
    raw: tuple[tuple[str, str], ...],
    html: bool,
) -> None:
    """Execute NOTEBOOK with papermill.

    Exits 0, 1 if a cell fails, if a run in it fails, or if it does not await a run (the executed notebook is written in
    any case), or 2 if the notebook cannot be read.
    """
    twice = {name for name, _ in parameters} & {name for name, _ in raw}
    if twice:
        fail(2, SetupError(f"the parameter {sorted(twice)[0]!r} is given with -p and with -r; give it once"))
    _execute(notebook, output, dict(parameters), raw=dict(raw), html=html)


@cli.command(short_help="Print the JSON Schema of a task file.", epilog=examples("schema > task.schema.json"))
def schema() -> None:
    """Print the JSON Schema of a task file, with which editors check and complete it.

    Exits 0.
    """
    from autotune_nb.task.task import Task

    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    click.echo(json.dumps({**dialect, **Task.model_json_schema()}, indent=2))


@cli.command(short_help="Tune a real llama.cpp server on this machine.", epilog=examples("demo --trials 2"))
@click.option("--study", type=_STUDY, help="Folder of the study. Default: runs/quickstart, or a new one beside it.")
@click.option("--task", type=click.Path(path_type=Path), help="Task file. Default: the quickstart's.")
@click.option("--trials", type=click.IntRange(min=1), help="Total number of trials (budget.trials).")
def demo(study: Path | None, task: Path | None, trials: int | None) -> None:
    """Tune a real llama.cpp server on this machine by executing the quickstart notebook.

    It needs no GPU, and the packages of the extra local. The model is small and has random weights.

    Exits 0, 1 if the run fails, or 2 if the task or the study is invalid.
    """
    from autotune_nb.resources import shared_folder

    with usage_errors():
        source = shared_folder("notebooks")
    file = task or source / "tasks" / "quickstart.yaml"
    if not file.is_file():
        fail(2, TaskError(f"there is no task file {str(file)!r}"))
    study = study or _next_study(Path("runs"), "quickstart")
    click.echo(f"tuning llama.cpp's server with {file}; the study is in {study}")
    click.echo("the model has random weights: its text is noise, its speed is that of a real model of the same shape\n")
    parameters = {"task": str(file.absolute()), "study": str(study.absolute())}
    if trials is not None:
        parameters["trials"] = str(trials)
    _execute(source / "01_quickstart.ipynb", study / "quickstart.ipynb", parameters, html=True)
    click.echo()
    from autotune_nb import session

    with usage_errors():
        click.echo(study_table(session.open(study).results()))
    click.echo(f"\nthe executed notebook with charts: {study / 'quickstart.html'}")


def _next_study(folder: Path, name: str) -> Path:
    """Return the first folder without a finished study, so that an interrupted study is resumed."""
    for number in itertools.count(1):
        study = folder / (name if number == 1 else f"{name}-{number}")
        try:
            if json.loads((study / "results.json").read_text(encoding="utf-8"))["state"] != "finished":
                return study
        except (OSError, ValueError, KeyError):
            return study
    raise AssertionError


def _execute(
    notebook: Path, output: Path, parameters: dict[str, str], *, raw: dict[str, str] | None = None, html: bool
) -> None:
    from autotune_nb.reports.notebook import execute

    try:
        for file in execute(notebook, output, parameters=raw or {}, texts=parameters, report=click.echo, html=html):
            click.echo(f"wrote {file}")
    except SetupError as error:
        fail(2, error)
    except RunError as error:
        fail(1, error)


for command in (
    *(ab, capacity, check, cleanup, compare, engine, lab, manifests, report, share, studies, worker),
    *(export_command, import_command),
    *(batch, retune),
):
    cli.add_command(command)


def main() -> None:
    """The entry point of ``autotune-nb``."""
    cli(prog_name="autotune-nb")


if __name__ == "__main__":
    main()
