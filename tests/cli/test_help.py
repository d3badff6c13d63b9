"""The help of every command: purpose, exit codes, options, and examples that are valid; completion in a shell."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import get_completion_class

from autotune_nb.cli.main import cli


def commands(group: click.Group, *before: str) -> dict[tuple[str, ...], click.Command]:
    """All commands by their words, those of subgroups too."""
    found: dict[tuple[str, ...], click.Command] = {}
    for name, command in group.commands.items():
        words = (*before, name)
        found |= commands(command, *words) if isinstance(command, click.Group) else {words: command}
    return found


COMMANDS = commands(cli)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_its_help_has_purpose_exit_codes_options_and_valid_examples(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    assert command.help is not None
    assert re.search(r"\bExits 0\b", command.help), "no exit codes"
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []
    shown = command.get_help(click.Context(command, info_name=" ".join(words)))
    lines = re.findall(r"^  +autotune-nb (.+)$", shown.partition("Example")[2], re.MULTILINE)
    assert lines
    for line in lines:
        # What follows is the shell's.
        given = shlex.split(re.split(r" [|>] ", line)[0])
        assert tuple(given[: len(words)]) == words
        # Raises UsageError for an option or a value that the command does not accept.
        command.make_context(words[-1], given[len(words) :])


def completed(*words: str) -> list[str]:
    kind = get_completion_class("bash")
    assert kind is not None
    found = kind(cli, {}, "autotune-nb", "_AUTOTUNE_NB_COMPLETE").get_completions(list(words[:-1]), words[-1])
    return [item.value for item in found]


def test_commands_options_and_values_are_completed() -> None:
    assert completed("st") == ["studies"]
    assert completed("manifests", "r") == ["rbac", "reaper", "runner"]
    assert completed("run", "--fail") == ["--fail-on-regression"]
    assert completed("run", "--deploy", "") == ["local", "container", "ome", "replay"]


@pytest.mark.slow
def test_bash_completes_with_the_line_that_the_help_has() -> None:
    line = re.search(r"eval .+", cli.get_help(click.Context(cli)))
    assert line is not None
    script = f"""
    PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH
    {line[0]}
    COMP_WORDS=(autotune-nb stu) COMP_CWORD=1
    _autotune_nb_completion autotune-nb
    echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "studies\n"
