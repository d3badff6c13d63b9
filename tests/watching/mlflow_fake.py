"""A stand-in for MLflow's client and server: what its REST API stores, in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace as Namespace
from typing import Any


class FakeMlflow:
    """Takes the place of the client that ``connect`` returns. While ``away``, every request fails."""

    def __init__(self) -> None:
        self.away = False
        self.requests = 0
        self.experiments: dict[str, Any] = {}
        self.runs: dict[str, Any] = {}
        self.metrics: dict[str, set[tuple[Any, ...]]] = {}
        self.artifacts: dict[str, dict[str, str]] = {}
        #: The number of the request that is stored, but whose reply is lost.
        self.reply_lost_at = -1

    def _request(self) -> None:
        self.requests += 1
        if self.away:
            raise ConnectionError("Max retries exceeded: connection refused")

    def _reply(self) -> None:
        if self.requests == self.reply_lost_at:
            raise ConnectionError("the reply was lost")

    def get_experiment_by_name(self, name: str) -> Any:
        self._request()
        return self.experiments.get(name)

    def create_experiment(self, name: str) -> str:
        self._request()
        self.experiments[name] = Namespace(experiment_id=f"x{len(self.experiments)}", lifecycle_stage="active")
        return str(self.experiments[name].experiment_id)

    def search_runs(self, experiment_ids: list[str], filter_string: str, **_: Any) -> list[Any]:
        self._request()
        tag, value = re.fullmatch(r"tags\.`(.+)` = '(.+)'", filter_string).groups()  # type: ignore[union-attr]
        return [
            run for run in self.runs.values() if run.experiment in experiment_ids and run.data.tags.get(tag) == value
        ]

    def create_run(
        self, experiment_id: str, start_time: int = 0, tags: dict[str, str] | None = None, run_name: str = ""
    ) -> Any:
        self._request()
        info = Namespace(run_id=f"r{len(self.runs)}", status="RUNNING", run_name=run_name, start_time=start_time)
        data = Namespace(tags=dict(tags or {}), params={}, metrics={})
        run = self.runs[info.run_id] = Namespace(info=info, data=data, experiment=experiment_id)
        self._reply()
        return run

    def get_run(self, run_id: str) -> Any:
        self._request()
        return self.runs[run_id]

    def log_batch(self, run_id: str, metrics: Iterable[Any], params: Iterable[Any], tags: Iterable[Any]) -> None:
        self._request()
        data = self.runs[run_id].data
        for name, value in params:
            if data.params.setdefault(name, value) != value:
                raise ValueError(f"the value of {name} cannot be changed")
        data.tags |= dict(tags)
        data.metrics |= {name: value for name, value, *_ in metrics}
        self.metrics.setdefault(run_id, set()).update(map(tuple, metrics))

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        self._request()
        self.artifacts.setdefault(run_id, {})[artifact_file] = text

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        text = Path(local_path).read_text(errors="replace")
        self.log_text(run_id, text, f"{artifact_path or '.'}/{Path(local_path).name}")

    def update_run(self, run_id: str, status: str) -> None:
        self._request()
        self.runs[run_id].info.status = status

    def set_terminated(self, run_id: str, status: str = "FINISHED", end_time: int = 0) -> None:
        self._request()
        self.runs[run_id].info.status = status

    def parent(self) -> Any:
        (found,) = [run for run in self.runs.values() if "mlflow.parentRunId" not in run.data.tags]
        return found

    def trials(self) -> dict[str, Any]:
        """Return the runs of trials by their numbers; fails if a trial has two."""
        children = [run for run in self.runs.values() if "mlflow.parentRunId" in run.data.tags]
        found = {run.data.tags["autotune_nb.trial"]: run for run in children}
        assert len(found) == len(children), "a trial was sent twice"
        return found
