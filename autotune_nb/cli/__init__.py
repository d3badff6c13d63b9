"""The command line, one command a file.

Commands parse arguments, call ``session`` and print; exit codes and error messages are in ``output``. What a command
does is implemented in the folder of its subject, such as ``results`` for ``export``.
"""

__all__ = ["main"]
