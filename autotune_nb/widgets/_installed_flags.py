"""Asks the installed engine for its flags, in a thread, and shows how they differ from the catalog."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Sequence

import ipywidgets

from autotune_nb.engines.base import Engine
from autotune_nb.engines.installed import ask_program, keep, kept_schema, with_schema
from autotune_nb.engines.registry import engine_named, program_words
from autotune_nb.engines.schema import EngineSchema
from autotune_nb.errors import AutotuneError
from autotune_nb.widgets._background import LatestJob
from autotune_nb.widgets._layout import WidgetStyles, errors_html


class InstalledFlags:
    """The engine of a form: its catalog, with the flags of the installed version once that was asked for them.

    ``changed`` is called from a thread when the installed version has answered.
    """

    def __init__(self, styles: WidgetStyles, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._asked: tuple[str, str | Sequence[str] | None] | None = None
        self._lock = threading.Lock()
        self._current: tuple[EngineSchema | None, Engine] | None = None
        self._message = ""
        self.job = LatestJob()
        self._button = styles.button(
            "Read installed flags",
            self.ask,
            "at-flags-read",
            icon="search",
            tooltip="ask the installed engine for every flag that it accepts; vLLM takes a minute or two",
        )
        self._note = styles.note("", "at-form-installed")
        self.box = ipywidgets.VBox(
            [ipywidgets.HBox([self._button], layout=styles.line), self._note], layout=styles.full
        )

    def engine(self, kind: str | None, executable: str | Sequence[str] | None, *, local: bool) -> Engine | None:
        """Return the engine with what is kept of its installed version, and show how that differs from the catalog."""
        asked = (kind, executable) if kind is not None and local else None
        if asked != self._asked:
            self._asked, self._message = asked, ""
        self._button.disabled = asked is None
        if kind is None:
            self._show(None)
            return None
        catalog = engine_named(kind)
        schema = self._kept(catalog, executable) if local else None
        self._show(schema)
        with self._lock:
            if self._current is None or self._current[0] is not schema or self._current[1].name != kind:
                self._current = schema, catalog if schema is None else with_schema(catalog, schema)
            return self._current[1]

    def _kept(self, catalog: Engine, executable: str | Sequence[str] | None) -> EngineSchema | None:
        try:
            return kept_schema(catalog.name, program_words(catalog, executable))
        except AutotuneError:
            # It is not installed, or the field is being edited.
            return None

    def ask(self) -> None:
        """Ask in a thread; the form stays usable."""
        asked = self._asked
        if asked is not None:
            self._message = '<div class="at-dim" role="status">reading the flags…</div>'
            self._note.value = self._message
            self.job.submit(lambda: self._ask(*asked))

    def _ask(self, kind: str, executable: str | Sequence[str] | None) -> None:
        try:
            catalog = engine_named(kind)
            keep(ask_program(catalog, program_words(catalog, executable)))
            message = ""
        except AutotuneError as error:
            message = errors_html([str(error)])
        except Exception as error:  # noqa: BLE001 - an exception in a thread is not shown
            message = errors_html([f"{type(error).__name__}: {error}"])
        if self._asked == (kind, executable):
            self._message = message
            self._changed()

    def _show(self, schema: EngineSchema | None) -> None:
        text = html.escape(schema_text(schema)) if schema is not None else ""
        self._note.value = self._message + (f'<div class="at-dim">{text}</div>' if text else "")


def schema_text(schema: EngineSchema) -> str:
    """Return in a sentence or two how an installed version differs from the catalog."""
    catalog = engine_named(schema.engine)
    lines = [f"{schema.title}, as installed: {len(schema.flags)} flags are offered."]
    lacking = schema.lacks(catalog.flags)
    if lacking:
        lines.append(f"It does not have {', '.join(lacking)}.")
    known = [flag for flag in (*catalog.flags, *catalog.other_flags) if flag.name not in lacking]
    renamed = [
        f"{flag.name} ({found.spellings[0]})"
        for flag in known
        if schema.exact(flag.name) is None and (found := next(filter(None, map(schema.exact, flag.former)), None))
    ]
    if renamed:
        lines.append(f"It has another name for {', '.join(renamed)}.")
    return " ".join(lines)
