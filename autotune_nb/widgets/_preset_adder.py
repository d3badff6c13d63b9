"""A field that adds the parameters and rules of a preset to the form, which shows them expanded."""

from __future__ import annotations

import html
from collections.abc import Callable

import ipywidgets

from autotune_nb.errors import TaskError
from autotune_nb.task.preset_expansion import Expansion, PresetUse, expand, preset_names
from autotune_nb.widgets._layout import WidgetStyles, errors_html


class PresetAdder:
    """The name of a preset, what it would set, and a button that adds this to the form."""

    def __init__(self, styles: WidgetStyles, engine: str | None, gpus: int, add: Callable[[Expansion], None]) -> None:
        self._gpus = gpus
        self._add = add
        self._engine = ""
        self.name = ipywidgets.Combobox(
            placeholder="name of a preset",
            description="name of a preset to add",
            ensure_option=False,
            continuous_update=False,
            tooltip="a preset, such as throughput-on-8-gpus with any number, or speculative-eagle: DRAFT-MODEL",
            layout=styles.name,
            style=styles.bare,
        )
        self.name.add_class("at-preset-name")
        self.name.add_class("at-form-bare")
        self.name.observe(lambda _: styles.guarded(self._preview), names="value")
        button = styles.button(
            "Add preset", self.add, "at-preset-add", icon="plus", tooltip="add its parameters and rules; yours stay"
        )
        self.note = styles.note("", "at-form-preset")
        self.line = ipywidgets.HBox([self.name, button], layout=styles.fixed)
        self.engine(engine)

    def engine(self, engine: str | None) -> None:
        """Offer the presets of another engine."""
        if engine != self._engine:
            self._engine = engine or ""
            self.name.options = preset_names(self._engine, max(self._gpus, 2))
            self._preview()

    def _expansion(self) -> Expansion | None:
        name, _, draft_model = str(self.name.value).partition(":")
        if not name.strip():
            return None
        return expand([PresetUse(name=name.strip(), draft_model=draft_model.strip() or None)], self._engine, field="")

    def _preview(self) -> None:
        try:
            expansion = self._expansion()
        except TaskError as error:
            self.note.value = errors_html([str(error)])
            return
        lines = expansion.lines() if expansion is not None else []
        self.note.value = "".join(f'<div class="at-dim">{html.escape(line)}</div>' for line in lines)

    def add(self) -> None:
        """Add what the named preset stands for, or show why there is none such."""
        try:
            expansion = self._expansion()
        except TaskError:
            # It is shown already.
            return
        if expansion is not None:
            self.name.value = ""
            self._add(expansion)
