"""Plotly's FigureWidget, mended: a view that is gone must not break those that are left.

Plotly 6 and 7 leave a removed view's listeners on the model. The next update then fails in the view that is gone (its
cell was run again, or its output cleared), and no view after it hears of the update at all.
"""

from __future__ import annotations

import re

import plotly.graph_objects as go

_EXPORT = re.compile(r"(export\s*\{[^}]*?)([\w$]+) as default(,?[^}]*\})")
#: Every view gets its own ear on the model, which is deaf once the view is gone, and whose failure stays its own.
_WRAPPER = """
export default () => {
  const plotly = atPlotly();
  let view = null;
  return {
    initialize(context) {
      const model = context.model;
      const own = {
        get: name => model.get(name),
        set: (name, value) => model.set(name, value),
        save_changes: () => model.save_changes(),
        on(name, heard) {
          const mine = view;
          model.on(name, (...told) => {
            if (mine?.gone) return;
            try { heard(...told); } catch (error) { if (mine === null) throw error; console.warn(error); }
          });
        },
      };
      return plotly.initialize({...context, model: own});
    },
    render(context) {
      const mine = view = {gone: false};
      try {
        const remove = plotly.render(context);
        // Plotly draws at 700 pixels, and looks again only when the window changes its size.
        let width = 0;
        const watch = new ResizeObserver(([seen]) => {
          const now = Math.round(seen.contentRect.width);
          if (now && now !== width) { width = now; window.dispatchEvent(new Event("resize")); }
        });
        watch.observe(context.el);
        return () => { mine.gone = true; watch.disconnect(); remove?.(); };
      } finally { view = null; }
    },
  };
};
"""


def mended(bundle: str) -> str:
    """Plotly's module with its views kept apart; unchanged where it no longer looks as it did."""
    at = bundle.rfind("export{") if "export{" in bundle else bundle.rfind("export {")
    if at < 0 or not (found := _EXPORT.match(bundle, at)):
        return bundle
    before, name, after = found.groups()
    kept = f"{before.rstrip().rstrip(',')}{after}"
    return f"{bundle[:at]}{kept};\nconst atPlotly = {name};{_WRAPPER}{bundle[found.end() :].lstrip(';')}"


def figure_widget(figure: go.Figure) -> go.FigureWidget:
    """A FigureWidget of a figure. Raises ImportError without anywidget."""
    if not hasattr(go.FigureWidget, "_esm"):
        # Plotly's stand-in for it, which says what is missing.
        return go.FigureWidget(figure)
    # Its instances know what it is by the name of their class.
    kept_apart = type("FigureWidget", (go.FigureWidget,), {"_esm": mended(str(go.FigureWidget._esm))})
    return kept_apart(figure)
