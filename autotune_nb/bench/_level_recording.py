"""Makes genai-bench record when requests begin, stream and end, leave the first ones out, and end a level when it may.

``_scripts.py`` puts its source into the scripts that run genai-bench, so it imports nothing else of this package.
"""

import functools
import importlib
import json
import math
import random
import time
from types import SimpleNamespace
from typing import Any

from autotune_nb.bench._steady_state import LevelEnd, LevelRecord, RequestRecord
from autotune_nb.trial.binomial import is_decided

_POLL_S = 0.1
_SEED_STEP = 1_000_003


def seed_prompts(seed: int) -> None:
    """Seed the random numbers with which genai-bench chooses its prompts."""
    import numpy

    random.seed(seed % 2**32)
    numpy.random.seed(seed % 2**32)


class Recorder:
    """The record of the level that runs, and the records of the requests that are in flight."""

    def __init__(self) -> None:
        self.level = LevelRecord(1, time.monotonic())
        self.end: LevelEnd | None = None
        self.ended = math.inf
        self._requests: dict[Any, RequestRecord] = {}
        self.seed = self._num_levels = 0
        #: When levels may end: that of ``_arguments.level_plan``.
        self.plan: dict[str, Any] = {}
        #: The record of each request in the list of genai-bench's metrics.
        self.of_metrics: list[RequestRecord | None] = []
        self.steady: dict[str, float] = {}

    def begin_level(self, users: int, name: tuple[str, int]) -> None:
        # Each level has its own prompts, the same in every trial, however many requests the one before had.
        self._num_levels += 1
        seed_prompts(self.seed + (self._num_levels - 1) * _SEED_STEP)
        self.level = LevelRecord(users, time.monotonic(), name)
        self.end, self.ended = None, math.inf
        self.of_metrics, self.steady = [], {}
        self._requests.clear()

    def begin_request(self, payload: Any) -> RequestRecord:
        """Record a request that is sent now; the first one of each user asks for fewer tokens."""
        from gevent import getcurrent

        record = self.level.begin(time.monotonic())
        self._requests[getcurrent()] = record
        limit = payload.get("max_tokens") if isinstance(payload, dict) and payload.get("stream") else None
        # A server refuses fewer tokens than min_tokens.
        if isinstance(limit, int) and "min_tokens" not in payload:
            payload["max_tokens"] = self.level.first_tokens(record, limit)
        return record

    def end_request(self, metrics: Any) -> None:
        """Record the end of the request of this greenlet, and its metrics."""
        from gevent import getcurrent

        record = self._requests.pop(getcurrent(), None)
        if record is None:
            self.of_metrics.append(None)
            return
        record.end(
            time.monotonic(),
            tokens_in=metrics.num_input_tokens or 0,
            tokens_out=metrics.num_output_tokens or 0,
            failed=bool(metrics.error_code),
        )
        self.of_metrics.append(record)
        if self.end is not None and not record.failed and self.level.is_scored(record):
            self.end.count(metrics)


RECORDER = Recorder()


def record_levels() -> None:
    """Adapt genai-bench. ``RECORDER.plan`` must be set before a level runs."""
    import gevent
    from genai_bench.metrics import aggregated_metrics_collector as collector

    kind = collector.AggregatedMetricsCollector
    begin, add, aggregate = kind.set_run_metadata, kind.add_single_request_metrics, kind.aggregate_metrics_data

    @functools.wraps(begin)
    def set_run_metadata(self: Any, iteration: int, scenario_str: str, *args: Any, **named: Any) -> Any:
        found = begin(self, iteration, scenario_str, *args, **named)
        in_batches = self.aggregated_metrics.iteration_type == "batch_size"
        RECORDER.begin_level(1 if in_batches else iteration, (scenario_str, iteration))
        return found

    @functools.wraps(add)
    def add_single_request_metrics(self: Any, metrics: Any) -> Any:
        found = add(self, metrics)
        RECORDER.end_request(metrics)
        return found

    @functools.wraps(aggregate)
    def aggregate_metrics_data(self: Any, start_time: float, end_time: float, *args: Any, **named: Any) -> Any:
        everything, level = self.all_request_metrics, RECORDER.level
        RECORDER.steady = level.steady(min(end_time, RECORDER.ended))
        records = RECORDER.of_metrics
        scored = [
            one
            for one, record in zip(everything, records, strict=False)
            if record is None or level.is_scored(record) or one.error_code
        ]
        if RECORDER.steady["scored_requests"]:
            self.all_request_metrics = scored
        try:
            return aggregate(self, start_time, end_time, *args, **named)
        finally:
            self.all_request_metrics = everything

    def dump(data: Any, file: Any, **named: Any) -> None:
        requests = data.get("individual_request_metrics") or []
        stamps = map(RECORDER.level.stamps, RECORDER.of_metrics)
        stamped = [{**one, **stamp} for one, stamp in zip(requests, stamps, strict=False)]
        stamped += requests[len(stamped) :]
        json.dump({**data, "individual_request_metrics": stamped, "steady": RECORDER.steady}, file, **named)

    def manage_run_time(max_time_per_run: int, max_requests_per_run: int, environment: Any) -> int:
        plan, scenario = RECORDER.plan, RECORDER.level.name[0]
        bounding = [one for one, of in zip(plan["limits"], plan["limits_of"], strict=True) if of in ("", scenario)]
        RECORDER.end = LevelEnd({**plan, "limits": bounding}, max_time_per_run, max_requests_per_run, is_decided)
        while not RECORDER.end.reached(RECORDER.level, time.monotonic()):
            gevent.sleep(_POLL_S)
        RECORDER.ended = time.monotonic()
        return math.ceil(RECORDER.ended - RECORDER.level.began)

    kind.set_run_metadata = set_run_metadata
    kind.add_single_request_metrics = add_single_request_metrics
    kind.aggregate_metrics_data = aggregate_metrics_data
    # It is called once a level, to write its file.
    collector.json = SimpleNamespace(dump=dump)
    importlib.import_module("genai_bench.cli.cli").manage_run_time = manage_run_time  # type: ignore[attr-defined]
