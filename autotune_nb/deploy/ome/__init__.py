"""Trials as InferenceServices of OME, on Kubernetes.

Manifests, preflight checks, readiness, diagnosis and teardown of InferenceServices. Requests and watches themselves are
in ``cluster``; benchmarks in the cluster are in ``bench``.
"""

__all__ = ["check_result", "deployer", "endpoint", "manifest", "model_and_runtime", "preflight"]
