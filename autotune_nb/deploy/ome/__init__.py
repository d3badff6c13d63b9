"""Trials as InferenceServices of OME, on Kubernetes."""
