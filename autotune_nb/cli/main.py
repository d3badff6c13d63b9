"""The command line: run, show, notebook, schema, demo; the other commands have files of their own."""

from __future__ import annotations

import itertools
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from autotune_nb.cli.check import check, print_dry_run, where_options
from autotune_nb.cli.cleanup import cleanup
from autotune_nb.cli.export import export_command, import_command
from autotune_nb.cli.manifests import manifests
from autotune_nb.cli.output import fail, notes, say, say_error, say_lost, usage_errors
from autotune_nb.cli.report import report
from autotune_nb.cli.share import share
from autotune_nb.cli.study_table import study_table
from autotune_nb.errors import RunError, SetupError, TaskError

if TYPE_CHECKING:
    from autotune_nb.run import Run

_STUDY = click.Path(file_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="autotune_nb", prog_name="autotune-nb")
def cli() -> None:
    """Tune the parameters of an LLM inference engine."""


@cli.command()
@click.argument("task", type=click.Path(path_type=Path))
@click.option("--study", required=True, type=_STUDY, help="The study's folder; one with finished trials goes on.")
@click.option("--storage", metavar="URL", help="An Optuna storage instead of the folder's SQLite file.")
@click.option("--trials", type=click.IntRange(min=1), help="How many trials in all, instead of budget.trials.")
@where_options
@click.option("--dry-run", is_flag=True, help="Print the manifests of a cluster's first trials and make nothing.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")
def run(
    task: Path,
    study: Path,
    storage: str | None,
    trials: int | None,
    dry_run: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """Tune TASK in the folder STUDY until its budget is spent.

    TASK is a task file, or the name of one that comes with the package, such as quickstart.

    Exits 0 when at least one trial completed, 1 when none did, 2 for a wrong task or usage. Ctrl-C stops: the running
    trials are taken down and the next run goes on from here; a second Ctrl-C kills the engines at once.
    """
    with _Signals() as signals:
        from autotune_nb.session import tune, with_overrides
        from autotune_nb.task.task import Task

        with usage_errors(), notes():
            asked = with_overrides(Task.load(task), trials=trials, **where)
            if dry_run:
                sys.exit(print_dry_run(asked, study))
            started = tune(asked, study=study, storage=storage)
        # First, since what a subscriber is told may be what somebody answers with a signal.
        signals.stop(started)
        started.subscribe(started.progress_lines(say))
        error = _outcome(started)
        signals.ignore()
        results = started.results()
        if error is not None:
            say_error(error)
        if as_json:
            click.echo(json.dumps(results))
        elif error is None or results["trials"]:
            click.echo(started.report().text())
            say(f"results: {started.folder / 'results.json'}")
        if results["state"] == "stopped":
            say("stopped; the same command goes on from here")
        wrong = isinstance(error, SetupError | TaskError) and not results["trials"]
        sys.exit(2 if wrong else _exit_code(results))


@cli.command(short_help="Show a study, finished or not.")
@click.argument("study", type=_STUDY)
@click.option("--storage", metavar="URL", help="The study's storage, where its password was not written down.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def show(study: Path, storage: str | None, as_json: bool) -> None:
    """Show a study: finished, interrupted, or running in another process.

    Exits 0 when at least one trial completed, else 1; 2 where there is no study.
    """
    from autotune_nb import session

    with usage_errors():
        opened = session.open(study, storage=storage)
        results = opened.results()
    if as_json:
        click.echo(json.dumps(results))
    else:
        click.echo(study_table(results))
    say_lost(opened)
    sys.exit(_exit_code(results))


@cli.command()
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The executed notebook."
)
@click.option(
    "-p", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter of it; may be repeated."
)
@click.option("--html", is_flag=True, help="Write an HTML file beside it.")
def notebook(notebook: Path, output: Path, parameters: tuple[tuple[str, str], ...], html: bool) -> None:
    """Execute NOTEBOOK with papermill.

    Exits 1 if a cell fails, a run in it failed, or a run was left unawaited; the executed notebook is written all the
    same.
    """
    _execute(notebook, output, dict(parameters), html=html)


@cli.command()
def schema() -> None:
    """Print the JSON Schema of a task file."""
    from autotune_nb.task.task import Task

    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    click.echo(json.dumps({**dialect, **Task.model_json_schema()}, indent=2))


@cli.command(short_help="Tune a real llama.cpp server on this machine.")
@click.option("--study", type=_STUDY, help="The study's folder; default: the next free one, as runs/quickstart.")
@click.option("--task", type=click.Path(path_type=Path), help="Another task than the quickstart's.")
@click.option("--trials", type=click.IntRange(min=1), help="How many trials in all.")
def demo(study: Path | None, task: Path | None, trials: int | None) -> None:
    """Tune a real llama.cpp server on this machine through the quickstart notebook."""
    from autotune_nb.resources import shared_folder

    with usage_errors():
        source = shared_folder("notebooks")
    file = task or source / "tasks" / "quickstart.yaml"
    if not file.is_file():
        fail(2, TaskError(f"there is no task file {str(file)!r}"))
    study = study or _next_study(Path("runs"), "quickstart")
    click.echo(f"tuning llama.cpp's server as {file} says; the study is kept in {study}")
    click.echo("the model's weights are random: its text is noise, its speed is real\n")
    parameters = {"task": str(file.absolute()), "study": str(study.absolute())}
    if trials is not None:
        parameters["trials"] = str(trials)
    _execute(source / "01_quickstart.ipynb", study / "quickstart.ipynb", parameters, html=True)
    click.echo()
    from autotune_nb import session

    with usage_errors():
        click.echo(study_table(session.open(study).results()))
    click.echo(f"\nthe chart and the whole story: {study / 'quickstart.html'}")


def _next_study(folder: Path, name: str) -> Path:
    """The first folder whose study is not finished yet: one that was cut short goes on."""
    for number in itertools.count(1):
        study = folder / (name if number == 1 else f"{name}-{number}")
        try:
            if json.loads((study / "results.json").read_text(encoding="utf-8"))["state"] != "finished":
                return study
        except (OSError, ValueError, KeyError):
            return study
    raise AssertionError


def _execute(notebook: Path, output: Path, parameters: dict[str, str], *, html: bool) -> None:
    from autotune_nb.reports.notebook import execute

    values = {name: _value(text) for name, text in parameters.items()}
    try:
        for file in execute(notebook, output, parameters=values, say=click.echo, html=html):
            click.echo(f"wrote {file}")
    except SetupError as error:
        fail(2, error)
    except RunError as error:
        fail(1, error)


def _value(text: str) -> Any:
    """A parameter as papermill takes it: a number, true, false, null or JSON where it reads as one, else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


class _Signals:
    """SIGINT, SIGTERM and SIGHUP: before there is a run they end the program, then they stop the run, after it they are
    too late to cut its results short."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stop(self, run: Run) -> None:
        """From now on they stop this run; a second one kills its engines."""
        self._run = run

    def ignore(self) -> None:
        """From now on they do nothing."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self._run is None:
            say("stopped before it began")
            raise SystemExit(1)
        again, self._asked = self._asked, True
        say("killing the engines" if again else "stopping: the running trials are taken down (again to kill them)")
        self._run.stop(now=again)


def _outcome(run: Run) -> BaseException | None:
    """Wait for a run; what ended it before its time, or None."""
    try:
        run.wait()
    except RunError:
        return None
    except BaseException as error:  # noqa: BLE001 - said by the caller, with its exit code
        return error
    return None


def _exit_code(results: dict[str, Any]) -> int:
    """0 when at least one trial completed, else 1."""
    return 0 if any(trial["state"] == "complete" for trial in results["trials"]) else 1


for command in (check, cleanup, manifests, report, share, export_command, import_command):
    cli.add_command(command)


def main() -> None:
    """The entry point of ``autotune-nb``."""
    cli(prog_name="autotune-nb")


if __name__ == "__main__":
    main()
