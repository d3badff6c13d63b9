"""The command line, one command a file.

Commands parse arguments, call ``session`` and print; exit codes and error messages are in ``output``. A command's work
itself is in the room that it is about.
"""

__all__ = ["main"]
