"""The dataset whose rows are the prompts of a workload."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from autotune_nb.task.parameters import Value
from autotune_nb.task.section import Section

#: The names' endings of the files that are read here; everything else is a folder or the name of a model hub.
FILE_SUFFIXES = (".csv", ".json", ".jsonl", ".txt")


class Dataset(Section):
    """Prompts of one's own, from a file, or with images from a folder or a model hub."""

    path: str | None = Field(
        None, min_length=1, description="prompts: a CSV, JSON, JSONL or text file, a folder, or a hub's name"
    )
    column: str | None = Field(
        None, min_length=1, description="the column with the prompts; of nested rows such as conversations.0.value"
    )
    prompt: str | None = Field(
        None, min_length=1, description="or a template of the prompt, such as Answer in one word: {question}"
    )
    image_column: str | None = Field(None, min_length=1, description="the column with the images")
    config: dict[str, Value] = Field(
        default_factory=dict, description="of a folder or a hub's name: arguments of load_dataset, such as split: train"
    )

    @property
    def is_file(self) -> bool:
        """Whether it is a file of rows, by its name."""
        return self.path is not None and Path(self.path).suffix.lower() in FILE_SUFFIXES

    @model_validator(mode="after")
    def _fields_fit(self) -> Dataset:
        if self.path is None:
            given = [name for name in ("column", "prompt", "image_column", "config") if getattr(self, name)]
            if given:
                raise ValueError(f"{given[0]} is given without path, the file or the name of the dataset")
        elif self.column is not None and self.prompt is not None:
            raise ValueError("give column or prompt: the template has the columns of the prompt in braces")
        elif self.is_file and self.config:
            raise ValueError("config are arguments for a folder or a hub's name, and path is a file: omit config")
        elif self.is_file and self.image_column is not None:
            raise ValueError(
                f"images are read from a folder or a hub's name, not from a file such as {self.path}; give the folder"
            )
        elif not self.is_file and self.image_column is None:
            _require_column(self)
        return self


def _require_column(dataset: Dataset) -> None:
    """Raise ValueError if a folder or a name of a hub lacks what only files can do without."""
    if dataset.prompt is not None:
        raise ValueError("a template is filled in for the rows of a file, or with image_column: give column")
    if dataset.column is None:
        raise ValueError(
            f"{dataset.path} is a folder or a hub's name and needs column; a file ends in {', '.join(FILE_SUFFIXES)}"
        )
