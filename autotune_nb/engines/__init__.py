"""The engines this package knows, each a catalog of flags and a few facts. One engine a file."""

from autotune_nb.engines.base import Engine, Flag
from autotune_nb.engines.registry import engine_for, engine_named

__all__ = ["Engine", "Flag", "engine_for", "engine_named"]
