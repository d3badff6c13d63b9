"""Deploys recorded configurations: it starts nothing, but takes the recorded time or fails as recorded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autotune_nb.deploy.base import DeployRequest, Endpoint
from autotune_nb.engines.base import Engine
from autotune_nb.errors import DeployError, Failure, FailureKind, SetupError
from autotune_nb.recorded.replay import Replay
from autotune_nb.secrets.references import environment_words
from autotune_nb.task.external_results import is_imported
from autotune_nb.task.parameters import Value
from autotune_nb.task.task import Task


@dataclass(frozen=True)
class _Replayed:
    """A replayed engine, which never dies."""

    endpoint: Endpoint

    async def died(self) -> None:
        await asyncio.Event().wait()

    async def require_same_engine(self) -> None:
        pass

    async def require_answer(self, ask: Callable[[], Awaitable[None]]) -> None:
        pass


class ReplayDeployer:
    """Deploys the configurations of a recorded table in simulated time.

    Without ``replay`` it only computes command lines.
    """

    def __init__(self, task: Task, engine: Engine, replay: Replay | None = None) -> None:
        self._task = task
        self._engine = engine
        self._given = replay
        self._model = task.model.served_name or task.model.id_or_path or "random-weights"

    @property
    def _replay(self) -> Replay:
        assert self._given is not None, "created for command lines only"
        return self._given

    def check(self) -> None:
        """Raise SetupError if the table lacks the baseline or a level of the task."""
        table, levels = self._replay.table, self._task.workload.levels
        missing = [level for level in levels if level not in table.levels]
        if not table.levels:
            count = len(table.configurations)
            message = f"{table.name} has no measured level: each of its {count} configurations failed"
            raise SetupError(message, field="deploy.table")
        if missing:
            known = "; ".join(map(str, table.levels))
            raise SetupError(
                f"{table.name} has no level {missing[0]}; its levels are {known}: change workload to these",
                field="deploy.table",
            )
        if self._task.budget.baseline and table.find(recorded_params(self._task, self._replay, {})) is None:
            raise SetupError(
                f"{table.name} has no configuration without parameters, the engine's default; set it to false",
                field="budget.baseline",
            )

    async def prepare(self) -> None:
        self.check()

    @property
    def tokenizer(self) -> str:
        return self._task.model.tokenizer or self._model

    async def sweep(self) -> list[str]:
        return []

    def command(self, params: Mapping[str, Value]) -> list[str]:
        """Return the command line of a configuration: as it was recorded, or computed from the task."""
        if is_imported(self._task):
            return []
        if self._given is not None:
            recorded = self._given.table.find(recorded_params(self._task, self._given, params))
            if recorded is not None and recorded.command:
                return list(recorded.command)
        argv = self._engine.argv(
            program=self._engine.program,
            model=self._model,
            served_name=self._model,
            host=self._task.deploy.host,
            port=self._task.deploy.port or self._engine.default_port,
            params=params,
            space=self._task.parameters,
            args=self._task.engine.args,
            raw_args=self._task.engine.raw_args,
        )
        return [*environment_words(self._task.engine.env), *argv]

    def manifest(self, params: Mapping[str, Value]) -> str | None:
        return None

    @contextlib.asynccontextmanager
    async def deploy(self, request: DeployRequest) -> AsyncIterator[_Replayed]:
        replay = self._replay
        started = replay.start(request.trial, recorded_params(self._task, replay, request.params))
        if started is None:
            message = f"{replay.table.name} has no such configuration"
            hint = "a replay can only try recorded configurations"
            raise DeployError(Failure(FailureKind.CONFIGURATION, "deploy", message, hint=hint))
        url, start = started
        try:
            await replay.clock.sleep(start.configuration.startup_s)
            failure = start.configuration.failure
            if failure is not None and failure.phase == "deploy":
                raise DeployError(failure)
            gpus = start.configuration.gpus or 0
            command = tuple(self.command(request.params))
            yield _Replayed(Endpoint(url, self._model, self.tokenizer, command, gpus, replayed=True))
        finally:
            replay.end(url)

    def hurry(self) -> None:
        """Do nothing: there is no engine to kill."""

    async def fingerprint(self) -> dict[str, Any]:
        return {"engine": self._engine.name, "replayed": self._replay.table.name}

    async def close(self) -> list[str]:
        return []


def recorded_params(task: Task, replay: Replay, params: Mapping[str, Value]) -> dict[str, Value]:
    """Return a configuration as the table has it: with flags that the task fixes and the table lists as parameters."""
    table = replay.table
    fixed = {name: value for name, value in task.engine.args.items() if name in table.parameter_names}
    # A table's own default may have been measured without the flags that the task fixes.
    return {**fixed, **params} if params or table.find(fixed) is not None else {}
