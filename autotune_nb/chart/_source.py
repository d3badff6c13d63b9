"""What a chart is drawn from: a study, a run, the folder of a study, a DataFrame, or a file with a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from autotune_nb.errors import StudyError, TaskError
from autotune_nb.handle import StudyHandle
from autotune_nb.results.table_study import read_table_study
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial
from autotune_nb.verdict import chosen_configuration

if TYPE_CHECKING:
    import pandas as pd

Source: TypeAlias = "StudyHandle | pd.DataFrame | str | Path"


@dataclass(frozen=True)
class ChartedStudy:
    """The trials of a chart and the task that they belong to."""

    task: Task
    space: SearchSpace
    trials: tuple[Trial, ...]

    @classmethod
    def of(
        cls, source: Source, objective: str | Sequence[str] | None = None, limits: Sequence[str] = ()
    ) -> ChartedStudy:
        """Read a source. ``objective`` and ``limits`` are those of a table; a study has its own.

        Raises StudyError if there is no study or table, TaskError for an objective or limits beside a study.
        """
        if isinstance(source, str | Path):
            if (file := table_file(source)) is not None:
                return cls._of_table(file, objective, limits)
            # Opening a study takes longer to import than drawing a table.
            from autotune_nb.session import open as open_study

            source = open_study(source)
        if isinstance(source, StudyHandle):
            if objective is not None or limits:
                raise TaskError("a study has its objective and limits; give others with a table, as run.trials is one")
            return cls(source.task, source.steering.full_space, source.history)
        # Those of other packages have columns, too.
        if not all(hasattr(source, name) for name in ("columns", "index", "reset_index")):
            raise StudyError(
                f"expected a study, a run, the path of either or of a CSV file, or a pandas DataFrame, "
                f"not {source!r:.80}"
            )
        return cls._of_table(source, objective, limits)

    @classmethod
    def _of_table(
        cls, table: pd.DataFrame | Path, objective: str | Sequence[str] | None, limits: Sequence[str]
    ) -> ChartedStudy:
        goals = None if objective is None else _texts(objective, "objective", "maximize output_tokens_per_s")
        given = _texts(limits if limits is not None else (), "limits", "ttft_p99_s <= 0.5")
        found = read_table_study(table, objective=goals, limits=given)
        return cls(found.task, found.space, found.trials)

    @property
    def history(self) -> tuple[Trial, ...]:
        """The trials, under their name in a study."""
        return self.trials

    @property
    def goal(self) -> Objective:
        return self.task.goal

    @cached_property
    def best(self) -> Trial | None:
        """The trial of the best configuration, or None."""
        found = chosen_configuration(self.trials, self.goal, self.task.confirmation)
        return found.trial if found is not None else None

    @cached_property
    def importances(self) -> Mapping[str, float]:
        # Optuna takes a second to import.
        from autotune_nb.study.importance import importances

        return importances(self.trials, self.space, self.goal)


def table_file(source: str | Path) -> Path | None:
    """Return the file of a path; None if it is none, such as the folder of a study, or no path at all."""
    try:
        path = Path(source).expanduser()
        return path if path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        # A null byte, too many characters, or the home of an unknown user.
        return None


def _texts(given: str | Sequence[str], field: str, example: str) -> list[str]:
    """Return one text or several as a list. Raises TaskError for anything else."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Sequence) or not all(isinstance(one, str) for one in texts):
        raise TaskError(f"expected a text such as {example!r}, or a list of them, not {given!r:.80}", field=field)
    return list(texts)
