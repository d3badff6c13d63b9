"""A button that copies a text to the clipboard of the page."""

from __future__ import annotations

import anywidget
import traitlets

_MODULE = """
export default {
  render({model, el}) {
    const button = document.createElement("button");
    button.className = "jupyter-button widget-button at-copy";
    el.append(button);
    const show = () => {
      button.textContent = model.get("label");
      button.title = model.get("text");
      // Not the element around it, whose style ipywidgets sets from the layout, possibly later.
      button.style.display = model.get("text") ? "" : "none";
    };
    button.addEventListener("click", async () => {
      const text = model.get("text");
      try { await navigator.clipboard.writeText(text); } catch {
        // Pages without https have no clipboard.
        const area = document.createElement("textarea");
        area.value = text;
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
        button.focus();
      }
      button.textContent = "Copied";
      setTimeout(show, 1500);
    });
    model.on("change:text", show);
    show();
  },
};
"""


class CopyButton(anywidget.AnyWidget):
    """Copies ``text``; it is hidden while that is empty."""

    _esm = _MODULE
    text = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
