"""The supported engines, one a file: their flags, the rules between flags, and the patterns of their logs.

An engine is data: from a configuration to a command line, from a log to the kind of a failure. Starting and stopping
it is in ``deploy``. This file imports nothing, since ``engines.llama_server`` runs in the engine's own process.
"""

__all__ = ["base", "random_model", "registry"]
