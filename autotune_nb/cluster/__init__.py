"""The Kubernetes API as this package uses it: plain objects, one client, one watch per kind."""
