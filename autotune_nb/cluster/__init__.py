"""The Kubernetes API: one client, one watch per kind, a study's session, and the names and labels of its objects.

The only folder that imports kubernetes. InferenceServices belong in ``deploy.ome``, Jobs and BenchmarkJobs in
``bench``; both use this folder. Importing ``cluster.client`` takes a second, so nothing imports it before a task needs
a cluster.
"""

__all__ = [
    "api_errors",
    "cleanup",
    "client",
    "executor_choice",
    "kinds",
    "leftovers",
    "names",
    "owned_object",
    "pod_errors",
    "port_forward",
    "quantity",
    "service",
    "session",
    "templates",
    "watch",
]
