"""The form that makes a task: every field, what is wrong with it, what it would take, and a button that starts it."""

from __future__ import annotations

import html
import json
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets
import yaml

from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.errors import AutotuneError, TaskError
from autotune_nb.task.file import task_data
from autotune_nb.task.python_code import code_of
from autotune_nb.task.task import Task
from autotune_nb.widgets._background import Latest
from autotune_nb.widgets._draft import opened
from autotune_nb.widgets._front_end import front_end
from autotune_nb.widgets._layout import Look, errors_html
from autotune_nb.widgets._sections import TaskFields
from autotune_nb.widgets._style import stylesheet
from autotune_nb.widgets._task_check import Checked, check, patiently

if TYPE_CHECKING:
    from autotune_nb.run import Run


class TaskForm:
    """A form for a task; display it, or its ``box``.

    Opens a Task, a task file, a task that comes with the package, or an engine's name for a new one. ``task`` is the
    validated Task; ``run`` is what its Start button started.
    """

    def __init__(self, task_or_engine: Task | str | Path | None = None) -> None:
        self.run: Run | None = None
        self._look = Look()
        self._drawing = threading.RLock()
        self._latest = Latest()
        self._starter = Latest()
        self._version = 0
        self._searched: tuple[str, tuple[TaskError, ...]] = ("", ())
        self._own_files: set[Path] = set()
        self._may_overwrite: Path | None = None
        self._lines: list[str] = []
        look = self._look
        look.trouble = self._trouble
        self._status = look.note("", "at-form-status")
        self._space = look.note("", "at-form-space")
        self._estimate = look.note("", "at-form-estimate")
        self._body = ipywidgets.VBox(layout=look.full)
        self.box = ipywidgets.VBox([stylesheet(), self._status, self._body, self._files(), self._starting()])
        self.box.add_class("at-root")
        self.box.add_class("at-form")
        self._fields = TaskFields(look, opened(task_or_engine), self._edited)
        self._opened()

    def _files(self) -> Any:
        """The section that loads, saves and shows the code."""
        look = self._look
        self._path = self._line("task file", "tasks/mine.yaml, or the name of one that comes with the package", "file")
        self._filed = look.note("", "at-form-filed")
        self._code = ipywidgets.Textarea(rows=16, tooltip="the task as code", layout=look.full, style=look.bare)
        self._code.add_class("at-form-code-text")
        self._code_box = ipywidgets.VBox(layout=look.full)
        buttons = [
            look.button("Load", lambda: self._tell(self._filed, self._load), "at-form-load", tooltip="open a file"),
            look.button("Save", lambda: self._tell(self._filed, self._save), "at-form-save", tooltip="write the file"),
            look.button(
                "As code",
                lambda: self._tell(self._filed, self._toggle_code),
                "at-form-code",
                tooltip="the cell that makes the same task",
            ),
        ]
        line = ipywidgets.HBox([self._path, *buttons], layout=look.line)
        return self._section("Task file", [line, self._filed, self._code_box])

    def _starting(self) -> Any:
        """The section that says what it takes and starts it."""
        look = self._look
        self._study = self._line("study folder", "", "study")
        self._started = look.note("", "at-form-started")
        self._below = ipywidgets.VBox(layout=look.full)
        start = look.button("Start", self._press_start, "at-form-start", tooltip="tune, in the background")
        start.button_style = "primary"
        line = ipywidgets.HBox([self._study, start], layout=look.line)
        return self._section("Run", [self._estimate, line, self._started, self._below])

    def _section(self, title: str, children: list[Any]) -> Any:
        box = ipywidgets.VBox([self._look.note(f"<h4>{title}</h4>"), *children], layout=self._look.full)
        box.add_class("at-form-section")
        return box

    def _line(self, label: str, placeholder: str, name: str) -> Any:
        widget = ipywidgets.Text(
            description=label,
            placeholder=placeholder,
            tooltip=label,
            continuous_update=False,
            layout=self._look.full,
            style=self._look.label,
        )
        widget.add_class(f"at-form-{name}")
        return widget

    @property
    def task(self) -> Task:
        """The task as it stands in the form. Raises TaskError for what is wrong with it."""
        unread = self._fields.unread
        if unread:
            raise unread[0]
        task = patiently(lambda: Task.parse(self._fields.data))
        patiently(lambda: space_for(task, engine_for(task)))
        return task

    @property
    def problems(self) -> list[TaskError]:
        """Everything that is wrong, each with its field; empty where ``task`` is a Task."""
        return self._with_unread(check(self._fields.data))

    def _with_unread(self, checked: Checked) -> list[TaskError]:
        unread = self._fields.unread
        places = {error.field for error in unread}
        return [*unread, *(error for error in checked.problems if error.field not in places)]

    def load(self, path: str | Path) -> None:
        """Open a task file. Raises TaskError, and then the form stays as it was."""
        data = task_data(Task.load(path))
        with self._drawing:
            old = self._fields
            self._fields = TaskFields(self._look, data, self._edited)
            self._opened()
            old.close()
        self._path.value = str(path)
        self._own_files.add(Path(path).expanduser().absolute())

    def save(self, path: str | Path) -> Path:
        """Write the task to a file, as ``Task.save``. Raises TaskError where it is not valid yet."""
        file = self.task.save(path)
        self._own_files.add(file.absolute())
        return file

    def code(self) -> str:
        """The cell that makes the same task. Raises TaskError where it is not valid yet."""
        return code_of(self.task)

    def _opened(self) -> None:
        boxes = self._fields.boxes
        # The size of the space stands below what makes it: the parameters and the rules.
        self._body.children = (*boxes[:4], self._space, *boxes[4:])
        self._edited()

    def _edited(self) -> None:
        """Check what can be checked at once, and have the rest looked at in a thread of its own."""
        with self._drawing:
            self._version += 1
            version, data = self._version, self._fields.data
            self._may_overwrite = None
            # What a button said is of the task as it was.
            self._filed.value = self._started.value = ""
            self._study.placeholder = f"runs/{data.get('name', '')}"
            quick = check(data, search=False)
            key = _space_key(data)
            # What a search found stays shown as long as nothing has changed that it depends on.
            searched = self._searched[1] if self._searched[0] == key else ()
            self._show(Checked((*quick.problems, *searched)), counted=False)
        self._latest.submit(lambda: self._look_closer(version, data, quick, key))

    def _look_closer(self, version: int, data: dict[str, Any], quick: Checked, key: str) -> None:
        try:
            checked = check(data)
        except Exception as error:  # noqa: BLE001 - a thread's error would be seen by nobody
            checked = Checked((*quick.problems, TaskError(f"cannot be checked: {type(error).__name__}: {error}")))
        known = {(error.field, error.message) for error in quick.problems}
        with self._drawing:
            if version == self._version:
                self._searched = (key, tuple(e for e in checked.problems if (e.field, e.message) not in known))
                self._show(checked, counted=True)

    def _show(self, checked: Checked, *, counted: bool) -> None:
        problems = self._with_unread(checked)
        hidden = self._fields.tell(problems)
        many = f"{len(problems)} thing{'s' * (len(problems) != 1)} to put right"
        self._status.value = errors_html([str(error) for error in hidden])
        if problems:
            state = f'<div class="at-error">{many}: {html.escape(str(problems[0]))}</div>'
        elif counted:
            state = '<div class="at-ok">ready to start</div>'
        else:
            return
        if counted:
            self._lines = [f"<div>{html.escape(line)}</div>" for line in checked.told]
            self._space.value = "".join(self._lines[:1])
        self._estimate.value = "".join([*self._lines, state])
        if counted and self._code_box.children and not problems:
            self._code.value = code_of(patiently(lambda: Task.parse(self._fields.data)))

    def _trouble(self, message: str) -> None:
        self._status.value = errors_html([message])

    def _tell(self, where: Any, action: Callable[[], str]) -> None:
        """Do what a button asks for and say how it went: an error in a widget's callback would be seen by nobody."""
        try:
            told = action()
            where.value = f'<div class="at-ok" role="status">{html.escape(told)}</div>' if told else ""
        except (AutotuneError, OSError) as error:
            where.value = errors_html([str(error)])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            where.value = errors_html([f"{type(error).__name__}: {error}"])

    def _named_file(self) -> str:
        path = str(self._path.value).strip()
        if not path:
            raise TaskError("name a task file first, such as tasks/mine.yaml")
        return path

    def _load(self) -> str:
        path = self._named_file()
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            self.load(path)
        return "; ".join([f"{path} is open", *(str(note.message) for note in notes)])

    def _save(self) -> str:
        path = Path(self._named_file()).expanduser().absolute()
        task = self.task
        if path.exists() and path not in self._own_files and self._may_overwrite != path:
            self._may_overwrite = path
            raise TaskError(f"{path} exists and is not from here; press Save again to write over it")
        self._own_files.add(task.save(path))
        return f"saved as {path}"

    def _toggle_code(self) -> str:
        if self._code_box.children:
            self._code_box.children = ()
        else:
            self._code.value = self.code()
            self._code_box.children = (self._code,)
        return ""

    def _press_start(self) -> None:
        # The first start loads all that runs trials, which takes seconds: no cell is to wait for that.
        self._started.value = '<div class="at-dim" role="status">starting…</div>'
        self._starter.submit(lambda: self._tell(self._started, self._start))

    def _start(self) -> str:
        # A form that starts nothing need not load what runs trials.
        from autotune_nb.session import tune

        task = self.task
        folder = str(self._study.value).strip() or f"runs/{task.name}"
        self.run = tune(task, study=folder)
        from autotune_nb.widgets.monitor import Monitor

        self._below.children = (Monitor(self.run).box,)
        return f"working on {folder}; the form's .run is the handle of it"

    def _settled(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything that was typed is checked and counted, and what was started has begun."""
        return self._starter.settled(timeout_s) and self._latest.settled(timeout_s)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        data = self._fields.data
        problems = [str(error) for error in self.problems]
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        plain = "\n".join([f"<TaskForm {data.get('name', '')!r}>", *problems])
        if front_end():
            return {**self.box._repr_mimebundle_(), "text/plain": plain}
        return {"text/plain": f"{plain}\n{text}", "text/html": f"<pre>{html.escape(text)}</pre>{errors_html(problems)}"}


def _space_key(data: dict[str, Any]) -> str:
    return json.dumps([data.get(key) for key in ("parameters", "rules", "engine", "strategy")], default=str)
