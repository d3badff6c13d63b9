"""The task: the whole request, from its file to the points of its search space.

Pydantic models of a task's sections, reading and writing task files (the prototype's too), and errors that name the
field. An engine's own flags and rules are in ``engines``; nothing here starts or reads anything but task files.
"""

from autotune_nb.task.file import PrototypeWarning
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.task.workload import Workload

__all__ = ["Point", "PrototypeWarning", "SearchSpace", "Task", "Workload"]
