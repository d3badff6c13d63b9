"""The runner: executes the trials of a study with a deployer and a benchmark.

The only folder that imports ``deploy``, ``bench`` and ``study`` together. The functions and handles that users call are
in ``session``, ``run`` and ``handle``; the storage of trials is in ``study``.
"""

__all__ = ["assembly", "budget", "estimate", "live", "progress", "runner"]
