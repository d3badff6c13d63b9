"""Lines that a screen reader reads out when they change, and that are not seen."""

from __future__ import annotations

import anywidget
import traitlets

_MODULE = """
export default {
  render({model, el}) {
    const region = document.createElement("div");
    region.setAttribute("role", "status");
    region.setAttribute("aria-live", "polite");
    region.setAttribute("aria-atomic", "false");
    region.className = "at-read";
    el.append(region);
    // The elements stay: what is put into the page with its text is not read out.
    const show = () => model.get("lines").forEach((text, place) => {
      const line = region.children[place] ?? region.appendChild(document.createElement("div"));
      if (line.textContent !== text) line.textContent = text;
    });
    model.on("change:lines", show);
    show();
  },
};
"""


class LiveRegion(anywidget.AnyWidget):
    """Of ``lines``, only those that changed are read out."""

    _esm = _MODULE
    lines = traitlets.List(traitlets.Unicode()).tag(sync=True)
