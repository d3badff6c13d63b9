"""The commands ``compare`` and ``studies``, and the check of a run against a baseline."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune_nb.cli._examples import examples
from autotune_nb.cli.output import print_stderr, usage_errors
from autotune_nb.errors import SetupError

if TYPE_CHECKING:
    import pandas as pd

    from autotune_nb.handle import StudyHandle
    from autotune_nb.history.regression import Regression

_STUDY = click.Path(file_okay=False, path_type=Path)
#: The exit code of a regression.
REGRESSION = 3


@click.command(
    short_help="Compare two studies of one space, configuration by configuration.",
    epilog=examples("compare runs/old runs/new --figure ttft_p99_s --fail-on-regression 5%"),
)
@click.argument("before", metavar="A", type=_STUDY)
@click.argument("after", metavar="B", type=_STUDY)
@click.option("--figure", metavar="NAME", help="Figure to compare, such as ttft_p99_s. Default: the objective.")
@click.option(
    "--fail-on-regression", "threshold", metavar="SHARE", help="Exit 3 if B is worse by this much or more, such as 5%."
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of text.")
def compare(before: Path, after: Path, figure: str | None, threshold: str | None, as_json: bool) -> None:
    """Compare the studies A and B: same space, another engine version, model or GPU.

    Shows what differs between the two, and of each configuration in both by how much the figure changed. Where
    configurations were started repeatedly (confirm: true in the task), changes have intervals that hold together with
    95 %, and are called better or worse only if they are more than noise. Studies with other workloads, objectives or
    prompts are not comparable, and the reasons are printed.

    Exits 0, 2 if a study cannot be read, or 3 on a regression (--fail-on-regression).
    """
    from autotune_nb.history import functions

    with usage_errors():
        found = functions.compare(before, after, figure=figure)
        regression = found.regression(threshold) if threshold is not None else None
        if as_json:
            click.echo(json.dumps({**found.to_dict(), **regression_json(regression)}))
        else:
            click.echo(found.text())
            if regression is not None:
                click.echo(f"\n{regression}")
    _exit_on(regression)


@click.command(
    short_help="List studies: best, verdict, engine version and GPU of each.",
    epilog=examples("studies", "studies 'runs/qwen3-*' --json"),
)
@click.argument("sources", metavar="[FOLDER|PATTERN]…", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of text.")
def studies(sources: tuple[str, ...], as_json: bool) -> None:
    """List the studies that match, by default runs/*, the oldest first.

    A folder without a study stands for the studies in it. Studies that cannot be read are listed last, with the reason.

    Exits 0, 1 if no study can be read, or 2 if there is none.
    """
    from autotune_nb.history import functions

    with usage_errors():
        frame = functions.studies(*sources)
    if as_json:
        click.echo(frame.reset_index().to_json(orient="records", date_format="iso"))
    else:
        click.echo("\n".join(_study_lines(frame)))
    sys.exit(1 if (frame["state"] == "unreadable").all() else 0)


def _study_lines(frame: pd.DataFrame) -> list[str]:
    import pandas as pd

    from autotune_nb.trial.formatting import value_text

    lines = []
    for study, row in frame.iterrows():
        if row["state"] == "unreadable":
            lines.append(f"{study}: unreadable: {row['error']}")
            continue
        when = "" if pd.isna(row["created"]) else f"{row['created']:%Y-%m-%d}, "
        engine = " ".join(str(part) for part in (row["engine"], row["version"]) if not pd.isna(part))
        gpu = "" if pd.isna(row["gpu"]) else f", {row['gpu']}"
        lines.append(f"{study}: {when}{row['state']}, {row['task']}, {row['model']}, {engine}{gpu}")
        best = "no best configuration" if pd.isna(row["best"]) else value_text(row["best"], row["figure"])
        lines.append(f"    {best} ({row['complete']} of {row['trials']} trials complete). {row['verdict']}")
        if not pd.isna(row["error"]):
            lines.append(f"    note: {row['error']}")
    return lines


#: The loss that is reported of a run with a baseline and without --fail-on-regression.
_REPORTED = 0.05


def regression_share(baseline: Path | None, threshold: str | None) -> float:
    """Return the share of --fail-on-regression. Raises SetupError without --baseline, TaskError for an invalid one."""
    from autotune_nb.history.regression import parse_threshold

    if threshold is not None and baseline is None:
        raise SetupError("--fail-on-regression needs --baseline, the study to compare with")
    return _REPORTED if threshold is None else parse_threshold(threshold)


def check_baseline(run: StudyHandle, baseline: Path, threshold: float) -> Regression | None:
    """Return whether a run that has ended is worse than its baseline; None if it has nothing to compare."""
    from autotune_nb.errors import StudyError
    from autotune_nb.history import functions

    try:
        return functions.compare(baseline, run).regression(threshold)
    except StudyError as error:
        print_stderr(f"note: {error}")
        return None


def print_regression(found: Regression | None, baseline: Path | None) -> None:
    """Print the checks of a regression on stderr, one per line."""
    for line in str(found).splitlines() if found is not None else ():
        print_stderr(f"baseline {baseline}: {line}")


def regression_json(found: Regression | None) -> dict[str, Any]:
    """Return the checks of a regression for JSON; empty without any."""
    return {} if found is None else {"regression": found.to_dict()}


def _exit_on(found: Regression | None) -> None:
    if is_regression(found):
        sys.exit(REGRESSION)


def is_regression(found: Regression | None) -> bool:
    """Whether a check found a regression."""
    from autotune_nb.history.regression import RegressionOutcome

    return found is not None and found.outcome is RegressionOutcome.REGRESSION
