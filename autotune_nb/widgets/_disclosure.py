"""A button that shows and hides what is below it, with the keyboard too, unlike the heads of ipywidgets' accordion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets


class Disclosure:
    """``box`` has the button, and below it ``inside`` while it is open; ``toggled`` is called after each click."""

    def __init__(self, title: str, inside: Any, name: str, toggled: Callable[[], None] = lambda: None) -> None:
        self.open = False
        self._inside, self._toggled = inside, toggled
        layout = ipywidgets.Layout(width="auto", margin="0")
        self.button = ipywidgets.Button(description=title, icon="caret-right", tooltip="show", layout=layout)
        self.button.add_class("at-disclosure")
        self.button.on_click(self._clicked)
        self.box = ipywidgets.VBox([self.button])
        self.box.add_class(name)

    def _clicked(self, _button: Any) -> None:
        self.open = not self.open
        self.button.icon = "caret-down" if self.open else "caret-right"
        self.button.tooltip = "hide" if self.open else "show"
        self.box.children = (self.button, self._inside) if self.open else (self.button,)
        self._toggled()
