"""Starting points for a model and a GPU: the best configurations of the studies that are nearest to them."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune_nb.errors import AutotuneError, StudyError, TaskError
from autotune_nb.handle import StudyHandle
from autotune_nb.history.comparability import property_values
from autotune_nb.history.study_table import study_folders
from autotune_nb.opened import OpenedStudy
from autotune_nb.run import live_run
from autotune_nb.study import StudyFolder
from autotune_nb.task.external_results import is_imported
from autotune_nb.task.sections import engine_name
from autotune_nb.trial.configuration import Configuration, configuration_key, configurations
from autotune_nb.verdict.gains import gains_to_default

if TYPE_CHECKING:
    import pandas as pd

#: So many configurations of one study are recommended.
_OF_A_STUDY = 3
#: Billions of parameters in a model's name, such as 8 in Qwen3-8B.
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)b(?![a-z])", re.IGNORECASE)
_FAMILY = re.compile(r"[a-z]+")


class RecommendationWarning(UserWarning):
    """A study that could not be read is left out of the recommendations."""


@dataclass(frozen=True)
class _Near:
    """How near a study is to what was asked for, from 0 to 1, and why in words."""

    share: float
    text: str


def recommend(
    *,
    model: str | None = None,
    gpu: str | None = None,
    engine: str | None = None,
    studies: str | Path | Iterable[str | Path] = "runs/*",
    n: int = 10,
) -> pd.DataFrame:
    """Return up to ``n`` configurations to start with, from what studies have measured, the most promising first.

    One row per configuration: how ``near`` its study is to the model and the GPU (1 is the same) and why, its value,
    which is the mean of its starts, its ``gain`` over the engine's default there, and its study. The best of the
    nearest studies come first, and different studies before further ones of one.
    ``run.enqueue(frame["params"].iloc[0])`` tries one; as previous studies of a new one,
    ``list(frame["study"].unique())`` is a task's ``warm_start``.

    Raises StudyError if there is no study, TaskError for an invalid number.
    """
    import pandas as pd

    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise TaskError(f"expected a number of configurations from 1 on, not {n!r}", field="n")
    wanted = None if engine is None else engine_name(engine)
    rows: list[dict[str, Any]] = []
    for folder in study_folders(studies):
        try:
            opened: StudyHandle = live_run(StudyFolder(folder).path) or OpenedStudy(folder)
            if wanted in (None, opened.task.engine.kind) and not is_imported(opened.task):
                rows += _rows(opened, folder, model, gpu)
        except (AutotuneError, LookupError, TypeError, ValueError, AttributeError, OSError) as error:
            text = f"{folder} is left out: {type(error).__name__}: {error}"
            warnings.warn(" ".join(text.split()), RecommendationWarning, stacklevel=2)
    if not rows:
        of = "" if wanted is None else f" of {wanted}"
        raise StudyError(f"no study{of} that matches {studies!r} has a configuration that keeps every limit")
    rows.sort(key=lambda row: (row["place"], -row["near"], -(row["gain"] if row["gain"] is not None else -math.inf)))
    frame = pd.DataFrame(rows[:n]).drop(columns="place")
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="rank")
    return frame


def _rows(study: StudyHandle, folder: Path, model: str | None, gpu: str | None) -> list[dict[str, Any]]:
    task, goal = study.task, study.task.goal
    gains = gains_to_default(study.history, goal, task.confirmation)
    own_model = task.model.id_or_path or "random weights"
    gpus = "; ".join(property_values(study.history, "gpus"))
    near = [one for one in (_near_model(model, own_model), _near_gpu(gpu, gpus)) if one is not None]
    return [
        {
            "near": round(math.prod(one.share for one in near), 3),
            "why": "; ".join(one.text for one in near) or "measured",
            "study": str(folder),
            "trial": one.first.number if one.searched is None else one.searched.number,
            "engine": task.engine.kind,
            "version": ", ".join(property_values(study.history, "engine_version")) or None,
            "model": own_model,
            "gpu": gpus or None,
            "figure": goal.figure,
            "value": one.value,
            "gain": gain.share if (gain := gains.get(configuration_key(one.complete[0]))) is not None else None,
            "params": dict(one.params),
            "place": place,
        }
        for place, one in enumerate(_best(study)[:_OF_A_STUDY])
    ]


def _best(study: StudyHandle) -> list[Configuration]:
    """Return the configurations that keep every limit, the one to run first, and then by the means of their starts."""
    goal, chosen = study.task.goal, study.best_configuration
    found = [one.confirmed for one in configurations(study.history).values() if one.feasible and not one.baseline]
    found.sort(key=lambda one: one.value, reverse=goal.better(1.0, 0.0))
    return sorted(found, key=lambda one: chosen is None or one.params != chosen.params)


def _near_model(wanted: str | None, own: str) -> _Near | None:
    if wanted is None:
        return None
    one, other = (name.rstrip("/").rpartition("/")[2].lower() for name in (wanted, own))
    if one == other:
        return _Near(1.0, "the same model")
    sizes = [float(found[1]) if (found := _SIZE.search(name)) else None for name in (one, other)]
    families = [found[0] if (found := _FAMILY.match(name)) else name for name in (one, other)]
    related = families[0] == families[1]
    words = f"{'a model of the same family' if related else 'another model'}, {own}"
    if sizes[0] is None or sizes[1] is None:
        return _Near(0.5 if related else 0.25, words)
    ratio = min(sizes[0], sizes[1]) / max(sizes[0], sizes[1]) if max(sizes[0], sizes[1]) else 1.0
    # A model of the same size of another family is nearer than one of ten times the size of the same family.
    return _Near((0.9 if related else 0.75) * math.sqrt(ratio), words)


def _near_gpu(wanted: str | None, own: str) -> _Near | None:
    if wanted is None:
        return None
    if wanted.lower().replace(" ", "") in own.lower().replace(" ", ""):
        return _Near(1.0, "the same GPU")
    return _Near(0.5, f"another GPU, {own}") if own else _Near(0.4, "an unknown GPU")
