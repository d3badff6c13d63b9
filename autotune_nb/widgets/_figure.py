"""Plotly's FigureWidget with two fixes: it may load slowly, and a removed view does not break the others.

anywidget waits two seconds for a module and then drops every update of its model. Plotly's module has 5 MB, which takes
longer on a busy machine. So anywidget loads a small module, which loads Plotly's and buffers the updates meanwhile.

Plotly 6 and 7 leave the listeners of a removed view on the model. The next update then fails in the removed view (its
cell was run again, or its output cleared), and the views after it do not get the update.
"""

from __future__ import annotations

import plotly.graph_objects as go
from traitlets import Unicode

#: Each view's listeners are wrapped: they do nothing once the view is removed, and their errors stop no other view.
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
        on(name, listener) {
          const mine = view;
          if (mine === null) listeners.push([name, listener]);
          model.on(name, (...values) => {
            if (mine?.removed) return;
            try { listener(...values); } catch (error) { if (mine === null) throw error; console.warn(error); }
          });
        },
      };
      model.on("all", event => {
        if (plotly !== null) return;
        // Sent when a figure is displayed; it contains every update before.
        if (event === "change:_widget_data") early.length = 0;
        if (event.startsWith("change:_py2js_")) early.push([event, model.get(event.slice("change:".length))]);
      });
      loading = load(model.get("_plotly")).then(loaded => {
        plotly = loaded;
        plotly.initialize({...context, model: own});
        for (const [event, value] of early) {
          replayed = {[event.slice("change:".length)]: value};
          for (const [name, listener] of listeners) if (name === event) listener();
        }
        replayed = {};
      });
    },
    async render(context) {
      await loading;
      if (context.signal?.aborted) return;
      const mine = view = {removed: false};
      try {
        const remove = plotly.render(context);
        // Plotly draws 700 pixels wide, and measures again only when the window is resized.
        let width = 0;
        const watch = new ResizeObserver(([seen]) => {
          const now = Math.round(seen.contentRect.width);
          if (now && now !== width) { width = now; window.dispatchEvent(new Event("resize")); }
        });
        watch.observe(context.el);
        return () => { mine.removed = true; watch.disconnect(); remove?.(); };
      } finally { view = null; }
    },
  };
};
"""


def figure_widget(figure: go.Figure) -> go.FigureWidget:
    """Return a FigureWidget of a figure. Raises ImportError without anywidget."""
    if not hasattr(go.FigureWidget, "_esm"):
        # Plotly's placeholder, which raises an ImportError that names the missing package.
        return go.FigureWidget(figure)
    plotlys = Unicode(str(go.FigureWidget._esm)).tag(sync=True)
    # Plotly checks the name of the class.
    mended = type("FigureWidget", (go.FigureWidget,), {"_esm": _MODULE, "_plotly": plotlys})
    return mended(figure)
