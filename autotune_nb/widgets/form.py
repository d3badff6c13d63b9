"""The form for a task: its fields with their errors, an estimate of the run, and a button that starts it."""

from __future__ import annotations

import html
import json
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets
import yaml

from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.errors import TaskError
from autotune_nb.runner.exclusions import excluded_values
from autotune_nb.task.python_code import task_code
from autotune_nb.task.task import Task
from autotune_nb.widgets._background import LatestJob
from autotune_nb.widgets._draft import initial_data, offered_starts, start_note
from autotune_nb.widgets._form_style import FORM_CSS
from autotune_nb.widgets._front_end import has_front_end
from autotune_nb.widgets._history import History
from autotune_nb.widgets._layout import WidgetStyles, errors_html
from autotune_nb.widgets._run_bar import RunBar
from autotune_nb.widgets._sections import TaskFields
from autotune_nb.widgets._style import stylesheet
from autotune_nb.widgets._task_check import Checked, check, retry_system_error
from autotune_nb.widgets._toolbar import Toolbar, show_result

if TYPE_CHECKING:
    from autotune_nb.run import Run


class TaskForm:
    """A form to edit a task and start a run.

    ``task_or_engine`` is a Task, a task file, the name of a task that comes with the package, the folder of a study to
    search on around its best, or the name of an engine for a new task. ``task`` is the validated Task, ``run`` the run
    that the Start button started, ``box`` the widget.
    """

    def __init__(self, task_or_engine: Task | str | Path | None = None) -> None:
        self.run: Run | None = None
        self._styles = styles = WidgetStyles()
        self._drawing = threading.RLock()
        self._latest = LatestJob()
        self._starter = LatestJob()
        self._version = 0
        self._search_result: tuple[str, tuple[TaskError, ...]] = ("", ())
        self._own_files: set[Path] = set()
        styles.report_error = self._report_error
        self._toolbar = Toolbar(
            styles,
            offered_starts(),
            opened=self._open,
            saved=self._save,
            overwritten=self._overwrite,
            code=self._toggle_code,
            moved=self._move,
        )
        self._status = styles.note("", "at-form-status")
        self._space = styles.note("", "at-form-space")
        self._code = ipywidgets.Textarea(
            rows=16,
            description="code",
            tooltip="code that creates this task",
            layout=styles.full,
            style=styles.bare,
        )
        self._code.add_class("at-form-bare")
        self._code.add_class("at-form-code-text")
        self._code_box = ipywidgets.VBox(layout=styles.full)
        self._body = ipywidgets.Box(layout=styles.grid)
        self._body.add_class("at-form-cards")
        self._bar = RunBar(styles, self._press_start)
        self._monitor_box = ipywidgets.VBox(layout=styles.full)
        parts = [self._toolbar.box, self._code_box, self._status, self._body, self._space, self._bar.box]
        edited = ipywidgets.VBox(parts, layout=styles.full)
        edited.add_class("at-form-edited")
        self.box = ipywidgets.VBox([stylesheet(FORM_CSS), edited, self._monitor_box])
        self.box.add_class("at-root")
        self.box.add_class("at-form")
        data = initial_data(task_or_engine)
        self._fields = TaskFields(styles, data, self._edited)
        self._history = History(self._fields.data)
        self._show_fields()

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
        """Open what the form can start from, such as a task file. Raises TaskError, and the form stays unchanged."""
        self._replace(initial_data(path))
        file = Path(path).expanduser().absolute()
        if file.is_file():
            self._toolbar.file.value = str(path)
            self._own_files.add(file)

    def save(self, path: str | Path) -> Path:
        """Write the task to a file, as ``Task.save``. Raises TaskError if it is invalid."""
        file = self.task.save(path)
        self._own_files.add(file.absolute())
        return file

    def code(self) -> str:
        """Return Python code that creates the same task. Raises TaskError if it is invalid."""
        return task_code(self.task)

    def _replace(self, data: dict[str, Any]) -> None:
        """Show another task; the sections that are unfolded stay so."""
        with self._drawing:
            old = self._fields
            self._fields = TaskFields(self._styles, data, self._edited, opened=old.opened)
            self._show_fields()
            old.close()

    def _show_fields(self) -> None:
        self._body.children = self._fields.boxes
        self._edited()

    def _move(self, steps: int) -> None:
        """Undo or redo edits."""
        self._replace(self._history.move(steps))

    def _edited(self) -> None:
        """Run the quick checks at once and the full check in a background thread."""
        with self._drawing:
            self._version += 1
            version, data = self._version, self._fields.data
            self._history.record(data)
            self._toolbar.undo.disabled = not self._history.can_undo
            self._toolbar.redo.disabled = not self._history.can_redo
            # The buttons' messages are about the previous state.
            self._toolbar.clear()
            self._bar.message.value = ""
            self._bar.study.placeholder = f"runs/{data.get('name', '')}"
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
        self._status.value = errors_html([str(error) for error in hidden])
        self._bar.show(problems, checked.estimate, timed=checked.timed, complete=complete)
        if problems and not complete:
            return
        if complete:
            excluded = [*checked.summary, *map(str, checked.exclusions)]
            self._space.value = "".join(f'<div class="at-dim">{html.escape(line)}</div>' for line in excluded)
            self._fields.parameters.show_exclusions(excluded_values(checked.exclusions))
        if complete and self._code_box.children and not problems:
            self._code.value = task_code(retry_system_error(lambda: Task.parse(self._fields.data)))

    def _report_error(self, message: str) -> None:
        self._status.value = errors_html([message])

    def _open(self) -> str:
        start = str(self._toolbar.source.value).strip()
        if not start:
            raise TaskError("name what to start from: an engine, a task, a task file or a study's folder")
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            self.load(start)
        return "; ".join([start_note(start, self._fields.data), *(str(note.message) for note in notes)])

    def _file(self) -> Path:
        path = str(self._toolbar.file.value).strip()
        if not path:
            raise TaskError("name a task file first, such as tasks/mine.yaml")
        return Path(path).expanduser().absolute()

    def _save(self) -> str:
        path, task = self._file(), self.task
        if path.exists() and path not in self._own_files:
            self._toolbar.ask_to_replace(path)
            return ""
        self._own_files.add(task.save(path))
        return f"saved as {path}"

    def _overwrite(self) -> str:
        return f"saved as {self.save(self._file())}"

    def _toggle_code(self) -> str:
        if self._code_box.children:
            self._code_box.children = ()
        else:
            self._code.value = self.code()
            self._code_box.children = (self._code,)
        return ""

    def _press_start(self) -> None:
        # The first start imports the modules that run trials, which takes seconds, so it runs in a thread.
        self._bar.state.value = ""
        self._bar.message.value = '<div class="at-dim" role="status">starting…</div>'
        self._starter.submit(lambda: show_result(self._bar.message, self._start))

    def _start(self) -> str:
        # Imported here, since a form that starts no run does not need it.
        from autotune_nb.session import tune

        task = self.task
        folder = str(self._bar.study.value).strip() or f"runs/{task.name}"
        self.run = tune(task, study=folder)
        from autotune_nb.widgets.monitor import Monitor

        self._monitor_box.children = (Monitor(self.run).box,)
        self._bar.state.value = ""
        return f"started in {folder}, with its monitor below; the form's .run is the run"

    def _wait_idle(self, timeout_s: float = 10.0) -> bool:
        """Wait until all edits are checked and the run has started."""
        return self._starter.wait_idle(timeout_s) and self._latest.wait_idle(timeout_s)

    def __repr__(self) -> str:
        return f"<TaskForm {self._fields.data.get('name', '')!r}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        data = self._fields.data
        problems = [str(error) for error in self.problems]
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        plain = "\n".join([repr(self), *problems])
        if has_front_end():
            return {**self.box._repr_mimebundle_(), "text/plain": plain}
        return {"text/plain": f"{plain}\n{text}", "text/html": f"<pre>{html.escape(text)}</pre>{errors_html(problems)}"}


def _space_key(data: dict[str, Any]) -> str:
    return json.dumps([data.get(key) for key in ("parameters", "rules", "engine", "strategy")], default=str)
