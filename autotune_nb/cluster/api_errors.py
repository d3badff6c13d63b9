"""What a rejected or unanswered request means, and what to try."""

from __future__ import annotations

import re

from autotune_nb.errors import ClusterError

#: A part of the API server's message, both for an object and for a pod that a controller creates.
QUOTA_EXCEEDED = "exceeded quota"
#: The interval at which a request that exceeded a quota is repeated.
QUOTA_PAUSE_S = 2.0
_NAMESPACE_GONE = re.compile(r'namespaces "[^"]*" not found')
#: Messages about pods that a controller could not create yet, or a container that could not start yet.
MAY_PASS = re.compile(r"failed calling webhook|internal error|timed? ?out|too many requests|try again", re.IGNORECASE)
_REQUEST = re.compile(r"^[A-Z]+ \S+: (?:\d+: )?")


def server_message(error: ClusterError) -> str:
    """Return the server's message without the request it answers."""
    return _REQUEST.sub("", str(error))


def may_have_taken_effect(error: ClusterError) -> bool:
    """Whether a failed request to create an object may have created it."""
    # A failed GET was the attempt to find that object.
    lookup = str(error).startswith("GET ")
    return lookup or ((error.status == 0 or error.status >= 500) and "failed calling webhook" not in str(error))


def over_quota(error: ClusterError) -> bool:
    """Whether the request would exceed a quota."""
    return error.status == 403 and QUOTA_EXCEEDED in str(error)


def namespace_ends(error: ClusterError) -> bool:
    """Whether the namespace, in which nothing can be created any more, is being deleted."""
    return error.status == 403 and "because it is being terminated" in str(error)


def of_surroundings(error: ClusterError) -> bool:
    """Whether the cluster or a webhook does not respond, or the namespace is gone: every object would be refused."""
    gone = error.status == 404 and bool(_NAMESPACE_GONE.search(str(error)))
    return error.status in (0, 401, 429) or error.status >= 500 or namespace_ends(error) or gone


def quota_wait_message(subject: str, error: ClusterError) -> str:
    """Return the message that ``subject``, such as ``trial 3``, waits for quota."""
    return f"{subject} waits for quota: {server_message(error)}"


def quota_timeout(within_s: float, error: ClusterError) -> tuple[str, str]:
    """Return the message and the hint for a wait for quota that timed out."""
    hint = "raise the quota, lower deploy.parallel, or raise deadlines.pending_s"
    return f"no quota within {within_s:g} s: {server_message(error)}", hint


def hint_for(error: ClusterError) -> str:
    """Return what to try after a rejected request; empty if the message suffices."""
    if "failed calling webhook" in str(error):
        return "check that OME's controller runs: its webhook does not respond"
    if error.by_webhook:
        return ""
    if namespace_ends(error) or _NAMESPACE_GONE.search(str(error)):
        return "the namespace is being deleted: create it again once it is gone, or use another one"
    if error.status == 403:
        return "a permission is missing: bind the Role of templates/rbac.yaml.j2; autotune-nb check lists them all"
    if error.status == 401:
        return "the credentials have expired; log in again"
    if error.status == 404:
        return "check that the namespace and OME's CRDs exist"
    return ""
