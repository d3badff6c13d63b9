"""How an engine is brought up with one configuration, watched, and taken down."""

from autotune_nb.deploy._process import STUDY_LABEL
from autotune_nb.deploy.base import Deployer, Deployment, DeployRequest, Endpoint
from autotune_nb.deploy.local import LocalDeployer

__all__ = ["STUDY_LABEL", "DeployRequest", "Deployer", "Deployment", "Endpoint", "LocalDeployer"]
