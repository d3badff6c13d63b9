"""Text widgets of the monitor: a text is sent only if it changed."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets


def text_widget(name: str) -> ipywidgets.HTML:
    """Return an empty text widget with the CSS class ``at-monitor-NAME``."""
    widget = ipywidgets.HTML()
    widget.add_class(f"at-monitor-{name}")
    return widget


def send_texts(texts: Mapping[ipywidgets.HTML, str]) -> int:
    """Set the texts that changed and return about how many bytes were sent."""
    changed = {widget: text for widget, text in texts.items() if widget.value != text}
    for widget, text in changed.items():
        widget.value = text
    return sum(len(text) + 200 for text in changed.values())
