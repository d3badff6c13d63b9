"""Asks the installed engine for its flags, in a thread, and shows how they differ from the catalog."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ipywidgets

from autotune_nb.deploy.container.client import find_client
from autotune_nb.engines.base import Engine
from autotune_nb.engines.installed import (
    ask_image,
    ask_program,
    keep,
    kept_schema,
    kept_schema_of_image,
    with_schema,
)
from autotune_nb.engines.registry import engine_named, program_words
from autotune_nb.engines.schema import EngineSchema
from autotune_nb.errors import AutotuneError
from autotune_nb.widgets._background import LatestJob
from autotune_nb.widgets._layout import WidgetStyles, errors_html


@dataclass(frozen=True)
class Source:
    """Where an engine is installed: as a program of this machine, or in a container's image."""

    kind: str
    executable: str | Sequence[str] | None = None
    image: str | None = None
    runtime: str | None = None

    def kept(self) -> EngineSchema | None:
        """Return what is kept of it."""
        if self.image is not None:
            return kept_schema_of_image(self.kind, self.image)
        try:
            return kept_schema(self.kind, program_words(engine_named(self.kind), self.executable))
        except AutotuneError:
            # It is not installed, or the field is being edited.
            return None

    def asked(self) -> EngineSchema:
        """Return the flags that it prints; may take minutes. Raises AutotuneError."""
        catalog = engine_named(self.kind)
        if self.image is not None:
            return ask_image(catalog, self.image, find_client(self.runtime).words)
        return ask_program(catalog, program_words(catalog, self.executable))


class InstalledFlags:
    """The engine of a form: its catalog, with the flags of the installed version once that was asked for them.

    ``changed`` is called from a thread when the installed version has answered.
    """

    def __init__(self, styles: WidgetStyles, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._source: Source | None = None
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
        self.note = styles.note("", "at-form-installed")
        self.line = ipywidgets.HBox([self._button], layout=styles.fixed)

    def engine(self, kind: str | None, source: Source | None) -> Engine | None:
        """Return the engine with what is kept of its installed version, and show how that differs from the catalog."""
        if source != self._source:
            self._source, self._message = source, ""
        self._button.disabled = source is None
        if kind is None:
            self._show(None)
            return None
        schema = None if source is None else source.kept()
        self._show(schema)
        with self._lock:
            if self._current is None or self._current[0] is not schema or self._current[1].name != kind:
                catalog = engine_named(kind)
                self._current = schema, catalog if schema is None else with_schema(catalog, schema)
            return self._current[1]

    def ask(self) -> None:
        """Ask in a thread; the form stays usable."""
        source = self._source
        if source is not None:
            self._message = '<div class="at-dim" role="status">reading the flags…</div>'
            self.note.value = self._message
            self.job.submit(lambda: self._ask(source))

    def _ask(self, source: Source) -> None:
        try:
            keep(source.asked())
            message = ""
        except AutotuneError as error:
            message = errors_html([str(error)])
        except Exception as error:  # noqa: BLE001 - an exception in a thread is not shown
            message = errors_html([f"{type(error).__name__}: {error}"])
        if self._source == source:
            self._message = message
            self._changed()

    def _show(self, schema: EngineSchema | None) -> None:
        text = html.escape(schema_text(schema)) if schema is not None else ""
        self.note.value = self._message + (f'<div class="at-dim">{text}</div>' if text else "")


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
