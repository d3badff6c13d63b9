"""The form for a task: its fields with their errors, an estimate of the run, and a button that starts it."""

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
from autotune_nb.runner.exclusions import excluded_values
from autotune_nb.task.file import task_data
from autotune_nb.task.python_code import task_code
from autotune_nb.task.task import Task
from autotune_nb.widgets._background import LatestJob
from autotune_nb.widgets._draft import initial_data
from autotune_nb.widgets._front_end import has_front_end
from autotune_nb.widgets._layout import WidgetStyles, errors_html
from autotune_nb.widgets._sections import TaskFields
from autotune_nb.widgets._style import stylesheet
from autotune_nb.widgets._task_check import Checked, check, retry_system_error

if TYPE_CHECKING:
    from autotune_nb.run import Run


class TaskForm:
    """A form to edit a task and start a run.

    ``task_or_engine`` is a Task, a task file, the name of a task that comes with the package, or the name of an engine
    for a new task. ``task`` is the validated Task, ``run`` the run that the Start button started, ``box`` the widget.
    """

    def __init__(self, task_or_engine: Task | str | Path | None = None) -> None:
        self.run: Run | None = None
        self._styles = WidgetStyles()
        self._drawing = threading.RLock()
        self._latest = LatestJob()
        self._starter = LatestJob()
        self._version = 0
        self._search_result: tuple[str, tuple[TaskError, ...]] = ("", ())
        self._own_files: set[Path] = set()
        self._may_overwrite: Path | None = None
        self._summary_lines: list[str] = []
        styles = self._styles
        styles.report_error = self._report_error
        self._status = styles.note("", "at-form-status")
        self._space = styles.note("", "at-form-space")
        self._estimate = styles.note("", "at-form-estimate")
        self._body = ipywidgets.VBox(layout=styles.full)
        self.box = ipywidgets.VBox([stylesheet(), self._status, self._body, self._file_section(), self._run_section()])
        self.box.add_class("at-root")
        self.box.add_class("at-form")
        self._fields = TaskFields(styles, initial_data(task_or_engine), self._edited)
        self._show_fields()

    def _file_section(self) -> Any:
        """Create the section with the task file and the code."""
        styles = self._styles
        self._path = self._line("task file", "tasks/mine.yaml, or the name of one that comes with the package", "file")
        self._file_message = styles.note("", "at-form-filed")
        self._code = ipywidgets.Textarea(
            rows=16, tooltip="code that creates this task", layout=styles.full, style=styles.bare
        )
        self._code.add_class("at-form-code-text")
        self._code_box = ipywidgets.VBox(layout=styles.full)
        buttons = [
            styles.button(
                "Load", lambda: self._run_action(self._file_message, self._load), "at-form-load", tooltip="open a file"
            ),
            styles.button(
                "Save",
                lambda: self._run_action(self._file_message, self._save),
                "at-form-save",
                tooltip="write the file",
            ),
            styles.button(
                "As code",
                lambda: self._run_action(self._file_message, self._toggle_code),
                "at-form-code",
                tooltip="show the code that creates the same task",
            ),
        ]
        line = ipywidgets.HBox([self._path, *buttons], layout=styles.line)
        return self._section("Task file", [line, self._file_message, self._code_box])

    def _run_section(self) -> Any:
        """Create the section with the estimate and the Start button."""
        styles = self._styles
        self._study = self._line("study folder", "", "study")
        self._start_message = styles.note("", "at-form-started")
        self._monitor_box = ipywidgets.VBox(layout=styles.full)
        start = styles.button("Start", self._press_start, "at-form-start", tooltip="start the run in the background")
        start.button_style = "primary"
        line = ipywidgets.HBox([self._study, start], layout=styles.line)
        return self._section("Run", [self._estimate, line, self._start_message, self._monitor_box])

    def _section(self, title: str, children: list[Any]) -> Any:
        box = ipywidgets.VBox([self._styles.note(f"<h4>{title}</h4>"), *children], layout=self._styles.full)
        box.add_class("at-form-section")
        return box

    def _line(self, label: str, placeholder: str, name: str) -> Any:
        widget = ipywidgets.Text(
            description=label,
            placeholder=placeholder,
            tooltip=label,
            continuous_update=False,
            layout=self._styles.full,
            style=self._styles.label,
        )
        widget.add_class(f"at-form-{name}")
        return widget

    @property
    def task(self) -> Task:
        """The task as currently edited. Raises TaskError if it is invalid."""
        read_errors = self._fields.read_errors
        if read_errors:
            raise read_errors[0]
        task = retry_system_error(lambda: Task.parse(self._fields.data))
        retry_system_error(lambda: space_for(task, engine_for(task)))
        return task

    @property
    def problems(self) -> list[TaskError]:
        """All errors of the task, each with its field; empty if the task is valid."""
        return self._with_read_errors(check(self._fields.data))

    def _with_read_errors(self, checked: Checked) -> list[TaskError]:
        read_errors = self._fields.read_errors
        places = {error.field for error in read_errors}
        return [*read_errors, *(error for error in checked.problems if error.field not in places)]

    def load(self, path: str | Path) -> None:
        """Open a task file. Raises TaskError, and the form stays unchanged."""
        data = task_data(Task.load(path), expanded=True)
        with self._drawing:
            old = self._fields
            self._fields = TaskFields(self._styles, data, self._edited)
            self._show_fields()
            old.close()
        self._path.value = str(path)
        self._own_files.add(Path(path).expanduser().absolute())

    def save(self, path: str | Path) -> Path:
        """Write the task to a file, as ``Task.save``. Raises TaskError if it is invalid."""
        file = self.task.save(path)
        self._own_files.add(file.absolute())
        return file

    def code(self) -> str:
        """Return Python code that creates the same task. Raises TaskError if it is invalid."""
        return task_code(self.task)

    def _show_fields(self) -> None:
        boxes = self._fields.boxes
        # The size of the space is shown below the parameters and the rules.
        self._body.children = (*boxes[:4], self._space, *boxes[4:])
        self._edited()

    def _edited(self) -> None:
        """Run the quick checks at once and the full check in a background thread."""
        with self._drawing:
            self._version += 1
            version, data = self._version, self._fields.data
            self._may_overwrite = None
            # The buttons' messages are about the previous state.
            self._file_message.value = self._start_message.value = ""
            self._study.placeholder = f"runs/{data.get('name', '')}"
            quick = check(data, search=False)
            key = _space_key(data)
            # The result of the last search applies until something changes that it depends on.
            search_result = self._search_result[1] if self._search_result[0] == key else ()
            self._show(Checked((*quick.problems, *search_result)), complete=False)
        self._latest.submit(lambda: self._check_fully(version, data, quick, key))

    def _check_fully(self, version: int, data: dict[str, Any], quick: Checked, key: str) -> None:
        try:
            checked = check(data)
        except Exception as error:  # noqa: BLE001 - an exception in a thread is not shown
            checked = Checked((*quick.problems, TaskError(f"cannot be checked: {type(error).__name__}: {error}")))
        known = {(error.field, error.message) for error in quick.problems}
        with self._drawing:
            if version == self._version:
                self._search_result = (key, tuple(e for e in checked.problems if (e.field, e.message) not in known))
                self._show(checked, complete=True)

    def _show(self, checked: Checked, *, complete: bool) -> None:
        problems = self._with_read_errors(checked)
        hidden = self._fields.show_errors(problems)
        count = f"{len(problems)} error{'s' * (len(problems) != 1)}"
        self._status.value = errors_html([str(error) for error in hidden])
        if problems:
            state = f'<div class="at-error">{count}: {html.escape(str(problems[0]))}</div>'
        elif complete:
            state = '<div class="at-ok">ready to start</div>'
        else:
            return
        if complete:
            self._summary_lines = [f"<div>{html.escape(line)}</div>" for line in checked.summary]
            excluded = [f'<div class="at-dim">{html.escape(str(one))}</div>' for one in checked.exclusions]
            self._space.value = "".join([*self._summary_lines[:1], *excluded])
            self._fields.parameters.show_exclusions(excluded_values(checked.exclusions))
        self._estimate.value = "".join([*self._summary_lines, state])
        if complete and self._code_box.children and not problems:
            self._code.value = task_code(retry_system_error(lambda: Task.parse(self._fields.data)))

    def _report_error(self, message: str) -> None:
        self._status.value = errors_html([message])

    def _run_action(self, where: Any, action: Callable[[], str]) -> None:
        """Call a button's action and show its result or its error: Jupyter shows no exception of a callback."""
        try:
            text = action()
            where.value = f'<div class="at-ok" role="status">{html.escape(text)}</div>' if text else ""
        except (AutotuneError, OSError) as error:
            where.value = errors_html([str(error)])
        except Exception as error:  # noqa: BLE001 - any error is shown
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
        return "; ".join([f"opened {path}", *(str(note.message) for note in notes)])

    def _save(self) -> str:
        path = Path(self._named_file()).expanduser().absolute()
        task = self.task
        if path.exists() and path not in self._own_files and self._may_overwrite != path:
            self._may_overwrite = path
            raise TaskError(f"{path} already exists; press Save again to overwrite it")
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
        # The first start imports the modules that run trials, which takes seconds, so it runs in a thread.
        self._start_message.value = '<div class="at-dim" role="status">starting…</div>'
        self._starter.submit(lambda: self._run_action(self._start_message, self._start))

    def _start(self) -> str:
        # Imported here, since a form that starts no run does not need it.
        from autotune_nb.session import tune

        task = self.task
        folder = str(self._study.value).strip() or f"runs/{task.name}"
        self.run = tune(task, study=folder)
        from autotune_nb.widgets.monitor import Monitor

        self._monitor_box.children = (Monitor(self.run).box,)
        return f"started in {folder}; the form's .run is the run"

    def _wait_idle(self, timeout_s: float = 10.0) -> bool:
        """Wait until all edits are checked and the run has started."""
        return self._starter.wait_idle(timeout_s) and self._latest.wait_idle(timeout_s)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        data = self._fields.data
        problems = [str(error) for error in self.problems]
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        plain = "\n".join([f"<TaskForm {data.get('name', '')!r}>", *problems])
        if has_front_end():
            return {**self.box._repr_mimebundle_(), "text/plain": plain}
        return {"text/plain": f"{plain}\n{text}", "text/html": f"<pre>{html.escape(text)}</pre>{errors_html(problems)}"}


def _space_key(data: dict[str, Any]) -> str:
    return json.dumps([data.get(key) for key in ("parameters", "rules", "engine", "strategy")], default=str)
