"""The runner: works on a study trial by trial, and puts deployer, benchmark and study together.

The only room that imports deploy, bench and study. What a person calls is in ``session``, ``run`` and ``handle``; how
trials are stored is in ``study``.
"""

__all__ = ["assembly", "estimate", "live", "progress", "runner"]
