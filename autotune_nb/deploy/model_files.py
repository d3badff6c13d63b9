"""The paths of a task's model and tokenizer on this machine."""

from __future__ import annotations

from pathlib import Path

from autotune_nb.engines.base import Engine
from autotune_nb.errors import SetupError


def local_model(name: str, engine: Engine) -> str:
    """Return the model's absolute path, or its hub name. Raises SetupError for a path that does not exist."""
    path = Path(name).expanduser()
    if path.exists():
        return str(path.absolute())
    is_path = name.startswith((".", "/", "~")) or path.suffix == ".gguf" or name.count("/") > 1
    if is_path or engine.name == "llama_cpp":
        wants = "; llama.cpp serves a GGUF file, not a hub name" if engine.name == "llama_cpp" else ""
        raise SetupError(f"there is no model at {name!r}{wants}", field="model.id_or_path")
    return name


def default_tokenizer(model: str) -> str:
    """Return a model's tokenizer: its folder, a ``tokenizer`` folder beside its file, or its hub name."""
    path = Path(model)
    if path.is_file():
        for folder in (path.parent / "tokenizer", path.parent):
            if (folder / "tokenizer_config.json").is_file() or (folder / "tokenizer.json").is_file():
                return str(folder)
        raise SetupError(
            f"there is no tokenizer beside {model!r}; give its folder or the hub name of its model",
            field="model.tokenizer",
        )
    return model
