"""How an engine is brought up with one configuration, watched, and taken down."""

from autotune_nb.deploy.base import Deployer, Deployment, DeployRequest, Endpoint
from autotune_nb.deploy.local import LocalDeployer

__all__ = ["DeployRequest", "Deployer", "Deployment", "Endpoint", "LocalDeployer"]
