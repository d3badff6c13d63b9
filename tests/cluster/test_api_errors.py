"""Which rejected requests concern every trial and pass, and which the one object."""

from __future__ import annotations

import pytest

from autotune_nb.cluster.api_errors import hint_for, of_surroundings
from autotune_nb.errors import ClusterError

ENDING = 'pods "x" is forbidden: unable to create new content in namespace tune because it is being terminated'


@pytest.mark.parametrize(
    ("status", "message", "away"),
    [
        (0, "https://10.0.0.1 did not respond", True),
        (401, "Unauthorized", True),
        (429, "too many requests", True),
        (500, 'Internal error occurred: failed calling webhook "x": connection refused', True),
        (503, "the server is currently unable to handle the request", True),
        (403, ENDING, True),
        (404, 'namespaces "tune" not found', True),
        (404, 'jobs.batch "x" not found', False),
        (403, 'jobs.batch is forbidden: User "x" cannot create resource', False),
        (403, 'admission webhook "policy" denied the request: no', False),
        (422, "Job is invalid: spec.template", False),
    ],
)
def test_what_concerns_every_trial_and_passes(status: int, message: str, away: bool) -> None:
    assert of_surroundings(ClusterError(f"POST /x: {status}: {message}", status=status)) is away


@pytest.mark.parametrize(("status", "message"), [(403, ENDING), (404, 'namespaces "tune" not found')])
def test_a_namespace_that_is_gone_is_named_as_the_cause(status: int, message: str) -> None:
    assert "the namespace is being deleted" in hint_for(ClusterError(f"POST /x: {status}: {message}", status=status))
