"""The ``capacity`` command: how many replicas carry a load, and the options of a load."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune_nb.cli._examples import examples
from autotune_nb.cli.output import print_lost_database, usage_errors
from autotune_nb.errors import SetupError

if TYPE_CHECKING:
    from autotune_nb.results.capacity import Load

_STUDY = click.Path(file_okay=False, path_type=Path)
_LOAD = click.FloatRange(min=0, min_open=True)
_GIVE = "give either --requests-per-second or --concurrency"


def load_options(*, required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds the options of a load, whose values ``load_of`` reads."""
    note = "" if required else ", for hpa and keda"

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in (
            click.option("--scenario", metavar="NAME", help="Scenario of the load. Default: that of the score."),
            click.option(
                "--headroom", default="20%", show_default=True, metavar="SHARE", help="Capacity that stays free."
            ),
            click.option("--concurrency", type=_LOAD, metavar="N", help=f"Peak load in concurrent requests{note}."),
            click.option("--requests-per-second", type=_LOAD, metavar="N", help=f"Peak load in requests/s{note}."),
        ):
            command = option(command)
        return command

    return add


def load_of(options: Mapping[str, Any]) -> Load | None:
    """Return the load of the options; None without one. Raises SetupError, TaskError."""
    from autotune_nb.results.capacity import Load

    rate, concurrency = options["requests_per_second"], options["concurrency"]
    if rate is None and concurrency is None:
        return None
    if rate is not None and concurrency is not None:
        raise SetupError(_GIVE)
    return Load(rate, concurrency, _share(options["headroom"]), options["scenario"])


def _share(text: str) -> float:
    """Return the share of ``20%`` or ``0.2``. Raises TaskError."""
    from autotune_nb.errors import TaskError

    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        return float(number) / (100 if percent else 1)
    except ValueError:
        raise TaskError(f"expected a share such as 20% or 0.2, not {text!r}", field="headroom") from None


@click.command(
    short_help="Print how many replicas of the best configuration carry a load.",
    epilog=examples("capacity runs/mine --requests-per-second 40 --headroom 20%"),
)
@click.argument("study", type=_STUDY)
@load_options(required=True)
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="Trial to run. Default: the best one.")
@click.option("--storage", metavar="URL", help="Storage URL, needed if it has a password: passwords are not saved.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of text.")
def capacity(study: Path, trial: int | None, storage: str | None, as_json: bool, **load: Any) -> None:
    """Print how many replicas of STUDY's best configuration carry a load within the limits, and what they cost.

    The load is given by --requests-per-second or --concurrency, at its peak. Figures are interpolated between the
    measured levels, and nothing beyond them is assumed. The assumptions are printed. To get manifests with an
    autoscaler, use export --as hpa or --as keda.

    Exits 0, or 2 if the study cannot be read or its levels do not show it.
    """
    from autotune_nb import session
    from autotune_nb.results.exporting import study_capacity

    with usage_errors():
        wanted = load_of(load)
        if wanted is None:
            raise SetupError(_GIVE)
        opened = session.open(study, storage=storage)
        found = study_capacity(opened, wanted, trial=trial)
        print_lost_database(opened)
    click.echo(json.dumps(found.to_dict()) if as_json else str(found))
