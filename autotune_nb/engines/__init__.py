"""The supported engines, one per file: their flags, the rules between flags, and the patterns of their logs.

An engine is data: it turns a configuration into a command line, and a log into the kind of a failure. ``deploy`` starts
and stops engines. This file imports nothing, because ``engines.llama_server`` runs in the engine's own process.
"""

__all__ = ["base", "random_model", "registry"]
