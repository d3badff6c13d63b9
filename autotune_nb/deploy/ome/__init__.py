"""Trials as InferenceServices of OME, on Kubernetes.

Manifests, preflight checks, readiness, diagnosis and teardown of InferenceServices belong here, API requests and
watches in ``cluster``, benchmarks in ``bench``.
"""

__all__ = ["check_result", "deployer", "endpoint", "manifest", "model_and_runtime", "preflight"]
