"""Deployers: they start the engine with one configuration, wait until it is ready, watch it, and take it down.

A deployment is an async context manager with an ``Endpoint``. Flags and command lines belong in ``engines``, load and
figures in ``bench``.
"""

from autotune_nb.deploy._process import STUDY_LABEL
from autotune_nb.deploy.base import Deployer, Deployment, DeployRequest, Endpoint
from autotune_nb.deploy.local import LocalDeployer

__all__ = ["STUDY_LABEL", "DeployRequest", "Deployer", "Deployment", "Endpoint", "LocalDeployer"]
