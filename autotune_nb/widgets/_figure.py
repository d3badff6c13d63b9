"""Plotly's FigureWidget, mended: it loads in its own time, and a view that is gone does not break those that are left.

anywidget gives a module two seconds to load and then drops every update of its model. Plotly's has 5 MB, which take
longer on a busy machine. So anywidget loads a small module, which loads Plotly's and keeps the updates meanwhile.

Plotly 6 and 7 leave a removed view's listeners on the model. The next update then fails in the view that is gone (its
cell was run again, or its output cleared), and no view after it hears of the update at all.
"""

from __future__ import annotations

import plotly.graph_objects as go
from traitlets import Unicode

#: Every view gets its own ear on the model, which is deaf once the view is gone, and whose failure stays its own.
_MODULE = """
async function load(source) {
  const url = URL.createObjectURL(new Blob([source], {type: "text/javascript"}));
  try { return (await import(url)).default(); } finally { URL.revokeObjectURL(url); }
}
export default () => {
  let plotly = null, loading = null, view = null;
  return {
    initialize(context) {
      const model = context.model, early = [], listeners = [];
      let replayed = {};
      const own = {
        get: name => name in replayed ? replayed[name] : model.get(name),
        set: (name, value) => model.set(name, value),
        save_changes: () => model.save_changes(),
        on(name, heard) {
          const mine = view;
          if (mine === null) listeners.push([name, heard]);
          model.on(name, (...told) => {
            if (mine?.gone) return;
            try { heard(...told); } catch (error) { if (mine === null) throw error; console.warn(error); }
          });
        },
      };
      model.on("all", event => {
        if (plotly !== null) return;
        // Sent at once with a figure that is displayed, and holds every update before it.
        if (event === "change:_widget_data") early.length = 0;
        if (event.startsWith("change:_py2js_")) early.push([event, model.get(event.slice("change:".length))]);
      });
      loading = load(model.get("_plotly")).then(loaded => {
        plotly = loaded;
        plotly.initialize({...context, model: own});
        for (const [event, value] of early) {
          replayed = {[event.slice("change:".length)]: value};
          for (const [name, heard] of listeners) if (name === event) heard();
        }
        replayed = {};
      });
    },
    async render(context) {
      await loading;
      if (context.signal?.aborted) return;
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


def figure_widget(figure: go.Figure) -> go.FigureWidget:
    """A FigureWidget of a figure. Raises ImportError without anywidget."""
    if not hasattr(go.FigureWidget, "_esm"):
        # Plotly's stand-in for it, which says what is missing.
        return go.FigureWidget(figure)
    plotlys = Unicode(str(go.FigureWidget._esm)).tag(sync=True)
    # Its instances know what it is by the name of their class.
    mended = type("FigureWidget", (go.FigureWidget,), {"_esm": _MODULE, "_plotly": plotlys})
    return mended(figure)
