"""Trials as containers of docker, podman or nerdctl on this machine.

The client's command lines, its errors, and the creation and removal of containers belong here; what processes and
containers share, such as the model and the GPUs, is in ``deploy``.
"""

__all__ = ["cleanup", "client", "compose", "deployer"]
