"""The ``engine`` command: prints every flag of an installed engine, and keeps them for the checks of tasks."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from autotune_nb.cli._examples import examples
from autotune_nb.cli.output import print_stderr, usage_errors
from autotune_nb.errors import SetupError


@click.command(
    short_help="Print the flags of an installed engine.",
    epilog=examples(
        "engine vllm --executable ~/venvs/vllm/bin/python",
        "engine sglang --image docker.io/lmsysorg/sglang:latest --json",
    ),
)
@click.argument("name", type=click.Choice(["vllm", "sglang", "llama_cpp"]))
@click.option(
    "--executable",
    metavar="PROGRAM",
    help="The program that starts the engine, as in engine.executable. Default: the one on the PATH.",
)
@click.option("--image", metavar="IMAGE", help="A container image with the engine, run with docker, podman or nerdctl.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of text.")
def engine(name: str, executable: str | None, image: str | None, as_json: bool) -> None:
    """Print every flag that the installed engine NAME accepts: spellings, type, default and choices.

    The engine's own program is asked, which takes up to a minute or two for vLLM. What it answers is kept in the user's
    cache folder until another version is installed; tasks with the same program are then checked against it.

    Exits 0, or 2 if the program does not print its flags.
    """
    from autotune_nb.deploy.container.client import find_client
    from autotune_nb.engines.installed import ask_image, ask_program, keep
    from autotune_nb.engines.registry import engine_named, program_words

    with usage_errors():
        if executable is not None and image is not None:
            raise SetupError("give --executable or --image, not both")
        known = engine_named(name)
        if image is not None:
            schema = ask_image(known, image, find_client(None).words)
        else:
            schema = ask_program(known, program_words(known, executable))
        file: Path | None = keep(schema)
    if as_json:
        click.echo(json.dumps({**schema.to_dict(), "lacks": schema.lacks(known.flags)}))
        return
    for flag in schema.flags:
        kind = "|".join(map(str, flag.choices)) if flag.choices else flag.kind
        default = "" if flag.default is None else f", default {flag.default}"
        click.echo(f"{', '.join(flag.spellings)}  {kind}{default}")
        if flag.help:
            click.echo(f"    {flag.help}")
    lacking = schema.lacks(known.flags)
    if lacking:
        click.echo(f"\nFlags of the catalog that {schema.title} does not have: {', '.join(lacking)}")
    print_stderr(f"{len(schema.flags)} flags of {schema.title} ({shlex.join(schema.program)}), kept in {file}")
