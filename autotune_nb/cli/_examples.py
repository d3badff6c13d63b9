"""The end of a command's help: examples of its use."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """Return an epilog with these command lines, each without the name of the program."""
    title = "Example:" if len(lines) == 1 else "Examples:"
    # The mark \\b keeps Click from joining the lines.
    return "\n".join(["\b", title, *(f"  autotune-nb {line}" for line in lines)])
