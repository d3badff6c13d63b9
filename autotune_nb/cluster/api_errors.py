"""What it means that a request was refused or never answered."""

from __future__ import annotations

import re

from autotune_nb.errors import ClusterError

#: As the API server puts it, for whoever makes an object and whoever makes a pod of one.
QUOTA = "exceeded quota"
#: A namespace's quota is asked again so often.
QUOTA_PAUSE_S = 2.0
_REQUEST = re.compile(r"^[A-Z]+ \S+: (?:\d+: )?")


def plain(error: ClusterError) -> str:
    """The server's own words."""
    return _REQUEST.sub("", str(error))


def lost(error: ClusterError) -> bool:
    """Whether a request to make something may have had its effect all the same."""
    # Where it failed was looking for that effect, nobody knows.
    looking = str(error).startswith("GET ")
    return looking or ((error.status == 0 or error.status >= 500) and "failed calling webhook" not in str(error))


def over_quota(error: ClusterError) -> bool:
    return error.status == 403 and QUOTA in str(error)


def waits_for_quota(who: str, error: ClusterError) -> str:
    return f"{who} waits for quota: {plain(error)}"


def no_quota(within_s: float, error: ClusterError) -> tuple[str, str]:
    """What to say once the wait for quota is over, and what to try."""
    hint = "raise the quota, lower deploy.parallel, or raise deadlines.pending_s"
    return f"no quota within {within_s:g} s: {plain(error)}", hint


def advice(error: ClusterError) -> str:
    """What to try after a refusal; empty where its words say it all."""
    if "failed calling webhook" in str(error):
        return "see whether OME's controller runs: its webhook does not answer"
    if error.by_webhook:
        return ""
    if error.status == 403:
        return "a permission is missing: bind the Role of templates/rbac.yaml.j2; autotune-nb check tells what else"
    if error.status == 401:
        return "the credentials have run out; log in again"
    if error.status == 404:
        return "see that the namespace and OME's CRDs are there"
    return ""
