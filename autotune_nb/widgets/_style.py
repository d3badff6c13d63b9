"""The stylesheet of all widgets; it uses JupyterLab's colours, so that it fits the light and the dark theme."""

from __future__ import annotations

import ipywidgets

#: Falls back on the page's own colours in front ends without JupyterLab's variables.
CSS = """
.at-root { color: var(--jp-ui-font-color1, inherit); font-size: 13px; max-width: 1200px; }
.at-root h3, .at-root h4 { margin: 8px 0 2px 0; font-size: 14px; font-weight: 600; }
.at-root table { border-collapse: collapse; width: 100%; }
.at-root th { text-align: left; font-weight: 600; }
.at-root th, .at-root td { padding: 2px 10px 2px 0; vertical-align: top; border-bottom: 1px solid
  var(--jp-border-color2, #8886); }
.at-root .widget-html-content { line-height: 1.45; }
.at-monitor-table tr:nth-child(odd) td { border-bottom: none; padding-bottom: 0; white-space: nowrap; }
.at-monitor-table tr:nth-child(even) td { overflow-wrap: anywhere; font-size: 12px; }
.at-monitor-table .widget-html-content { overflow-x: auto; }
:is(.at-monitor-progress, .at-monitor-notices, .at-monitor-running, .at-monitor-skipped, .at-monitor-details,
  .at-steer-edits, .at-steer-message) .widget-html-content { overflow-wrap: anywhere; }
.at-root td.n, .at-root th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.at-root tr.best td { font-weight: 600; background: var(--jp-layout-color2, #8882); }
.at-root pre { background: var(--jp-layout-color2, #8882); color: inherit; padding: 4px 8px; margin: 2px 0;
  max-height: 9em; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; }
/* Mixed with the text's colour: a theme's signal colours are too pale on a light or a dark background. */
.at-error { color: color-mix(in srgb, var(--jp-error-color1, #d32f2f) 65%, var(--jp-ui-font-color1, #777));
  overflow-wrap: anywhere; }
.at-warn { color: color-mix(in srgb, var(--jp-warn-color1, #f57c00) 50%, var(--jp-ui-font-color1, #777)); }
.at-ok { color: color-mix(in srgb, var(--jp-success-color1, #388e3c) 50%, var(--jp-ui-font-color1, #777)); }
.at-dim { color: var(--jp-ui-font-color2, inherit); }
.at-sparks { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 12px; line-height: 1.2; }
.at-banner { border-left: 4px solid var(--jp-error-color1, #d32f2f); padding: 4px 10px; margin: 4px 0; }
.at-root progress { width: 100%; height: 10px; }
.at-root .js-plotly-plot text { fill: var(--jp-ui-font-color1, #777) !important; }
.at-root .js-plotly-plot .hoverlayer text { fill: #fff !important; }
.at-form-section { border-top: 1px solid var(--jp-border-color2, #8886); padding: 2px 0 8px 0; overflow: hidden; }
.at-form-grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 350px), 1fr)); gap: 2px 16px;
  overflow: hidden; }
.at-form-grid > * { min-width: 0; }
.at-form-wide { grid-column: 1 / -1; }
.at-form-parameter { padding: 3px 0; overflow: hidden; }
.at-form-parameter + .at-form-parameter { border-top: 1px dotted var(--jp-border-color2, #8886); }
.at-form-button.jupyter-button { flex: none; width: auto; align-self: flex-start; min-width: 32px; padding: 0 10px; }
.at-form-cells > * { flex: 1 1 0; min-width: 0; }
.at-form-cells > .widget-checkbox { flex: none; }
.at-form :is(input, select, textarea, button):focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2);
  outline-offset: -1px; }
.at-form .widget-textarea { height: auto; }
.at-form-rows { gap: 4px; padding: 4px 0; }
.at-form-help { font-size: 12px; }
.at-form-mono input, .at-form-code-text textarea { font-family: var(--jp-code-font-family, monospace); }
.at-form .widget-html, .at-form .widget-html-content { line-height: 18px; height: auto; }
"""


def stylesheet(more: str = "") -> ipywidgets.HTML:
    """Return the stylesheet, with ``more`` rules, as a widget."""
    return ipywidgets.HTML(f"<style>{CSS}{more}</style>", layout=ipywidgets.Layout(height="0", margin="0"))
