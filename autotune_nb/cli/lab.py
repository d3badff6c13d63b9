"""The ``lab`` command: compares search strategies on recorded tables, without hardware."""

from __future__ import annotations

import json
from pathlib import Path

import click

from autotune_nb.cli._examples import examples
from autotune_nb.cli.output import print_stderr, usage_errors


@click.command(
    short_help="Compare search strategies on recorded tables.",
    epilog=examples("lab runs/mine --strategies random,auto --seeds 30 --noise 0.03"),
)
@click.argument("tables", metavar="TABLE…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--strategies", metavar="NAME,…", help="Default: random,tpe,auto. Also known: auto-whole.")
@click.option(
    "--objective", metavar="TEXT", help="Default: the study's own, or for files 'maximize output_tokens_per_s'."
)
@click.option(
    "--at", metavar="LEVEL", help="Level that decides, as in the table. Default: the best that keeps all limits."
)
@click.option("--limit", "limits", multiple=True, metavar="TEXT", help="Such as 'ttft_p99_s <= 0.5'. Can be repeated.")
@click.option("--per-gpu", is_flag=True, help="Divide the objective by the GPUs of each configuration.")
@click.option("--seeds", type=click.IntRange(min=1), default=30, show_default=True, help="Studies of each strategy.")
@click.option(
    "--trials", type=click.IntRange(min=1), help="Trials of each study. Default: until one of the best is found."
)
@click.option(
    "--noise", type=click.FloatRange(0, 1), default=0.0, show_default=True,
    help="Standard deviation of log-normal noise, such as 0.03.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of text.")
def lab(
    tables: tuple[Path, ...],
    strategies: str | None,
    objective: str | None,
    at: str | None,
    limits: tuple[str, ...],
    per_gpu: bool,
    seeds: int,
    trials: int | None,
    noise: float,
    as_json: bool,
) -> None:
    """Compare search strategies on recorded tables in simulated time.

    TABLE is the folder of a finished study, or a CSV or parquet file that export wrote. Shows how many trials and how
    much time each strategy needs to come within 2 % of the best configuration that keeps the limits, compared with
    random search's exact expectation, and how good it is after how many trials.

    Exits 0, or 2 if a table cannot be read.
    """
    from autotune_nb import session

    with usage_errors():
        compared = session.lab(
            *tables,
            strategies=strategies,
            objective=objective,
            at=at,
            limits=limits,
            per_gpu=per_gpu,
            seeds=seeds,
            trials=trials,
            noise=noise,
            progress=lambda line: print_stderr(f"REPLAYED {line}"),
        )
    click.echo(json.dumps(compared.to_dict()) if as_json else compared.text())
