"""What trials on this machine share: the model, its tokenizer and the GPUs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune_nb.deploy._engine_identity import model_identity, served_version
from autotune_nb.deploy._gpus import GpuSlots, chosen_gpus, largest, unused_text
from autotune_nb.deploy.model_files import default_tokenizer, local_model
from autotune_nb.deploy.ports import require_address, require_free_port
from autotune_nb.deploy.visible_gpus import VARIABLE
from autotune_nb.engines.base import Engine
from autotune_nb.engines.given_flags import gpus_of_trial
from autotune_nb.engines.random_model import write_random_model
from autotune_nb.errors import SetupError
from autotune_nb.secrets.references import bearer, resolved
from autotune_nb.task.parameters import Value
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task


class Host:
    """The model, the tokenizer and the GPUs of this machine that the engines of a task use."""

    def __init__(self, task: Task, engine: Engine, folder: Path) -> None:
        self._task = task
        self._engine = engine
        self._folder = folder
        self.model = task.model.id_or_path or str(folder / "model" / "model.gguf")
        self.tokenizer = task.model.tokenizer or ""
        gpus = task.deploy.gpus
        self.gpus = GpuSlots(None if gpus is None else chosen_gpus(gpus, {}))
        #: The model's identity at the start of the run.
        self._identity: dict[str, Any] | None = None

    def check(self) -> None:
        """Find the tokenizer. Raises SetupError if the model is missing or a GPU is not visible."""
        self.visible_gpus()
        if self._task.model.random_weights is None:
            model = self._existing_model()
            self.tokenizer = self.tokenizer or default_tokenizer(model)

    async def prepare(self) -> None:
        """Find or write the model. Raises SetupError if no trial can run."""
        task = self._task
        shape = task.model.random_weights
        if shape is not None:
            model, tokenizer = await asyncio.to_thread(write_random_model, shape, self._folder / "model")
            self.model, self.tokenizer = str(model), task.model.tokenizer or str(tokenizer)
        else:
            self.model = self._existing_model()
            self.tokenizer = self.tokenizer or default_tokenizer(self.model)
        require_address(task.deploy.host)
        if task.deploy.port is not None:
            require_free_port(task.deploy.port)
        self.gpus = GpuSlots(self.visible_gpus())
        need = self.gpus_needed({})
        if self.gpus.total is not None and need > self.gpus.total:
            raise SetupError(f"a trial needs {need} GPUs, but only {self.gpus.total} are given", field="deploy.gpus")

    def _existing_model(self) -> str:
        path = Path(self.model)
        # It may be in the image, or in a volume.
        if self._task.deploy.kind == "container" and path.is_absolute() and not path.exists():
            if not self.tokenizer:
                raise SetupError(
                    f"there is no model at {self.model!r} on this machine; if it is in the image or in a volume, give "
                    "its tokenizer's folder or hub name",
                    field="model.tokenizer",
                )
            return self.model
        return local_model(self.model, self._engine)

    @property
    def served_name(self) -> str:
        if self._task.model.served_name:
            return self._task.model.served_name
        return Path(self.model).name if self.model.startswith("/") or Path(self.model).exists() else self.model

    def visible_gpus(self) -> list[str] | None:
        """Return the GPUs of all trials; None if they are not managed. Raises SetupError if one is not visible."""
        gpus, own = self._task.deploy.gpus, self._task.engine.env.get(VARIABLE)
        if gpus is None:
            return None
        given = {} if own is None else {VARIABLE: resolved(own, field=f"engine.env.{VARIABLE}")}
        return chosen_gpus(gpus, {**os.environ, **given})

    def gpus_needed(self, params: Mapping[str, Value]) -> int:
        """Return the number of GPUs of a configuration; 0 if they are not managed."""
        if self._task.deploy.gpus is None:
            return 0
        return gpus_of_trial(self._task, self._engine, params)

    def unused_gpus(self, space: SearchSpace) -> str:
        """Return that no trial uses some of ``deploy.gpus``; empty if all may be used. To be called after ``check``."""
        need = self.gpus_needed({name: largest(one) for name, one in space.parameters.items()})
        return unused_text(self.gpus.total or 0, self._task.deploy.parallel, need)

    def argv(self, params: Mapping[str, Value], host: str, port: int, program: Sequence[str]) -> list[str]:
        """Return the engine's command line."""
        spec = self._task.engine
        return self._engine.argv(
            program=program or self._engine.program,
            model=self.model,
            served_name=self.served_name,
            host=host,
            port=port,
            params=params,
            space=self._task.parameters,
            args=spec.args,
            raw_args=spec.raw_args,
        )

    async def model_fingerprint(self) -> dict[str, Any]:
        """Return the model's identity."""
        self._identity = await asyncio.to_thread(model_identity, self.model)
        model = dict(self._identity)
        if self._task.model.random_weights is not None:
            model["random_weights"] = self._task.model.random_weights.model_dump()
        return model

    async def replaced_model(self) -> dict[str, Any] | None:
        """Return the model's identity if it has changed since ``model_fingerprint``."""
        model = await asyncio.to_thread(model_identity, self.model) if self._identity is not None else None
        return model if model != self._identity else None

    async def served_fingerprint(self, url: str, *, version: bool) -> dict[str, Any]:
        """Return what is known once an engine serves: with ``version`` its own version, and a replaced model."""
        found: dict[str, Any] = {}
        if version:
            headers = bearer(self._task.benchmark.api_key)
            reported = await served_version(url, self._engine.version_paths, headers)
            if reported is not None:
                found["engine_version"] = reported
        model = await self.replaced_model()
        if model is not None:
            found["model"] = model
        return found
