"""The ``config.json`` of a model in a folder of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autotune_nb.engines.base import Engine
from autotune_nb.task.task import Task

#: Where the configurations of multimodal models have those of their language model.
_TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")
#: Flags with which the engine does not read config.json, or changes what it says.
_OTHER_CONFIGS = ("hf_overrides", "hf_config_path", "json_model_override_args", "config_format")
_LARGEST_CONFIG = 10 << 20


def model_folder(task: Task) -> Path | None:
    """Return the folder of a task's model; None if it is not in a folder of this machine."""
    if not task.deploy.on_this_machine or task.model.id_or_path is None:
        return None
    return Path(task.model.id_or_path).expanduser()


def model_config(task: Task, engine: Engine) -> dict[str, Any] | None:
    """Return the configuration of a model's language model as the engine reads it; None if it is unknown."""
    given = {**engine.flags_in(task.engine.raw_args), **task.engine.args, **task.parameters}
    if any(engine.named({name: None}).keys() & set(_OTHER_CONFIGS) for name in given):
        return None
    try:
        folder = model_folder(task)
        file = None if folder is None else folder / "config.json"
        if file is None or not file.is_file() or file.stat().st_size > _LARGEST_CONFIG:
            return None
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError, RecursionError):
        return None
    # As the engines do, the language model's configuration before that of the whole.
    while isinstance(config, dict):
        inner = next((config[key] for key in _TEXT_CONFIGS if isinstance(config.get(key), dict)), None)
        if inner is None:
            break
        config = inner
    return config if isinstance(config, dict) else None
