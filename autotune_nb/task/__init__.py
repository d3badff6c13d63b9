"""Tasks: reading and validating task files, and the search space that a task defines.

It holds the pydantic models of a task's sections, the conversion of the prototype's task files, and validation errors
that name the field. Flags and rules of an engine are in ``engines``. Nothing here starts a process or reads anything
but task files.
"""

from autotune_nb.task.file import PrototypeWarning
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.task.workload import Workload

__all__ = ["Point", "PrototypeWarning", "SearchSpace", "Task", "Workload"]
