"""What follows runs from outside: metrics, logs, spans, MLflow, and a message when a run ends.

Each is a ``Watcher``: it listens to a run's events, and is closed when the run has ended. None may delay a run or end
it: what fails is reported as a notice. Metrics are computed only when they are read.
"""

__all__ = ["event_log", "metrics", "mlflow_export", "mlflow_tracking", "on_end", "spans", "watcher", "watchers"]
