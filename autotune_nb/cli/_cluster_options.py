"""The options about the cluster in which trials run, and the account that creates them."""

from __future__ import annotations

from collections.abc import Callable

import click


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; ``with_overrides`` has parameters of the same names."""
    for option in reversed((
        click.option(
            "--kubeconfig", metavar="FILE",
            help="Kubeconfig file. Default: $KUBECONFIG, ~/.kube/config, or the pod's service account.",
        ),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig. Default: its current one."),
        click.option("--namespace", metavar="NS", help="Namespace of the trials. Default: the context's."),
    )):  # fmt: skip
        command = option(command)
    return command
