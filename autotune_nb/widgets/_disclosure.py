"""A button that shows and hides what is below it, with the keyboard too, unlike the heads of ipywidgets' accordion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets


class Disclosure:
    """``box`` has the button, and below it ``inside`` while it is open; ``toggled`` is called after each click.

    ``beside`` are widgets to the right of the button, ``below`` those between it and ``inside``; both are always shown.
    """

    def __init__(
        self,
        title: str,
        inside: Any,
        name: str,
        toggled: Callable[[], None] = lambda: None,
        beside: Sequence[Any] = (),
        below: Sequence[Any] = (),
    ) -> None:
        self.open = False
        self._inside, self._toggled = inside, toggled
        layout = ipywidgets.Layout(width="auto", margin="0")
        self.button = ipywidgets.Button(description=title, icon="caret-right", tooltip="show", layout=layout)
        self.button.add_class("at-disclosure")
        self.button.on_click(self._clicked)
        self._always = (ipywidgets.HBox([self.button, *beside]) if beside else self.button, *below)
        self.box = ipywidgets.VBox(self._always)
        self.box.add_class(name)

    def _clicked(self, _button: Any) -> None:
        self.open = not self.open
        self.button.icon = "caret-down" if self.open else "caret-right"
        self.button.tooltip = "hide" if self.open else "show"
        self.box.children = (*self._always, self._inside) if self.open else self._always
        self._toggled()
