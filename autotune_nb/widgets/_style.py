"""The stylesheet of all widgets; it uses JupyterLab's colours, so that it fits the light and the dark theme."""

from __future__ import annotations

import ipywidgets

#: The characters of the icons that buttons have, in the fonts of Font Awesome 4 and 5.
ICONS = {
    "arrow-down": "f063",
    "arrow-up": "f062",
    "caret-down": "f0d7",
    "caret-right": "f0da",
    "compress": "f066",
    "edit": "f044",
    "forward": "f04e",
    "pause": "f04c",
    "play": "f04b",
    "plus": "f067",
    "random": "f074",
    "repeat": "f01e",
    "search": "f002",
    "stop": "f04d",
    "times": "f00d",
    "undo": "f0e2",
}
#: Without a text for what has no words, a screen reader would read the character as part of the button's name.
_ICON_CSS = "".join(f'.at-root .fa-{name}::before {{ content: "\\{code}" / ""; }}\n' for name, code in ICONS.items())

#: Falls back on the page's own colours in front ends without JupyterLab's variables.
CSS = """
.at-root { color: var(--jp-ui-font-color1, inherit); font-size: 13px; max-width: 1400px; }
.at-root h3, .at-root h4 { margin: 8px 0 2px 0; font-size: 14px; font-weight: 600; }
.at-root table { border-collapse: collapse; width: 100%; }
.at-root th { text-align: left; font-weight: 600; }
.at-root th, .at-root td { padding: 2px 10px 2px 0; vertical-align: top; border-bottom: 1px solid
  var(--jp-border-color2, #8886); }
.at-root .widget-html-content { line-height: 1.45; }
:is(.at-monitor-progress, .at-monitor-notices, .at-monitor-running, .at-monitor-skipped, .at-monitor-edits,
  .at-trial-message) .widget-html-content { overflow-wrap: anywhere; }
.at-root td.n, .at-root th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.at-root tr.best:not(.at-table *) td { font-weight: 600; background: var(--jp-layout-color2, #8882); }
.at-root pre { background: var(--jp-layout-color2, #8882); color: inherit; padding: 4px 8px; margin: 2px 0;
  max-height: 9em; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; }
/* Mixed with the text's colour: a theme's signal colours are too pale on a light or a dark background. */
.at-error { color: color-mix(in srgb, var(--jp-error-color1, #d32f2f) 65%, var(--jp-ui-font-color1, #777));
  overflow-wrap: anywhere; }
.at-warn { color: color-mix(in srgb, var(--jp-warn-color1, #f57c00) 50%, var(--jp-ui-font-color1, #777)); }
.at-ok { color: color-mix(in srgb, var(--jp-success-color1, #388e3c) 50%, var(--jp-ui-font-color1, #777)); }
.at-dim { color: var(--jp-ui-font-color2, inherit); }
.at-sparks { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 12px; line-height: 1.2; }
/* ipywidgets removes the outline of lists to choose from with !important. */
.at-root :is(input, select, textarea, button):focus-visible { outline-offset: -1px;
  outline: 2px solid var(--jp-brand-color1, #1976d2) !important; }
.at-banner { border-left: 4px solid var(--jp-error-color1, #d32f2f); padding: 4px 10px; margin: 4px 0; }
.at-root progress { width: 100%; height: 10px; }
.at-monitor { gap: 4px; }
.at-monitor > * { margin: 0; flex: none; }
.at-monitor .widget-html, .at-monitor .widget-html-content { height: auto; min-width: 0; }
.at-monitor .widget-html-content { flex: 1 1 100%; }
.at-monitor-beside { flex: none; align-items: center; }
.at-monitor-beside .at-copy { width: auto; }
.at-row { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 14px; }
.at-root .at-row h3 { margin: 0; font-size: 16px; }
.at-root .at-row progress { width: 160px; height: 8px; align-self: center;
  accent-color: var(--jp-brand-color1, #1976d2); }
.at-best { font-size: 14px; }
.at-best span { white-space: nowrap; }
.at-read { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.at-line { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; max-width: 100%; min-width: 0; }
.at-row > .at-line { flex: 1 1 200px; }
.at-log { font-family: var(--jp-code-font-family, monospace); font-size: 12px; }
.at-live { display: inline-flex; align-items: center; gap: 6px; white-space: nowrap; }
.at-monitor-header { flex-flow: row wrap; justify-content: space-between; align-items: flex-start; }
.at-monitor-header > .at-monitor-progress { flex: 1 1 600px; min-width: 0; margin: 0; }
.at-monitor-header > .at-monitor-errors { order: 3; flex: 1 1 100%; margin: 0; }
.at-monitor-strip { border-left: 3px solid var(--jp-brand-color1, #1976d2); padding-left: 8px; }
.at-monitor-strip .widget-html { margin: 0; }
.at-root .at-monitor-strip pre.at-full { max-height: 300px; }
.at-root .at-disclosure { background: none; color: inherit; font-weight: 600; text-align: left; padding: 0 6px 0 0;
  align-self: flex-start; }
.at-root .at-disclosure i { width: 1em; }
.at-monitor :is(.at-monitor-notices .widget-html-content > div, .at-monitor-skipped .widget-html-content) {
  max-height: 3em; overflow: auto; }
.jupyter-widgets.at-monitor-charts > :is(.jupyter-widget-TabPanel-tabContents, .widget-tab-contents) {
  padding: 2px 8px; }
.at-monitor-charts { --jp-widgets-horizontal-tab-width: auto; }
/* Of a narrow page the tabs take two lines; no title is cut off. */
.at-monitor-charts :is(.lm-TabBar-content, .p-TabBar-content) { flex-wrap: wrap; }
.at-root .at-monitor-charts :is(.lm-TabBar-tab, .p-TabBar-tab) { flex: 0 0 auto; }
.at-chart { width: 100%; }
.at-chart-caption { font-weight: 600; padding: 2px 0; }
/* All of it fits a window of 900 pixels; a higher one has room for more. */
.at-chart-plot { height: clamp(200px, 24vh, 340px); width: 100%; }
.at-monitor-configurations { --at-table-height: clamp(180px, 100vh - 720px, 520px); }
.at-chart-announced:not(:empty) { height: 120px; display: flex; align-items: center; justify-content: center;
  text-align: center; color: var(--jp-ui-font-color2, inherit); padding: 0 10%; }
"""


def stylesheet(more: str = "") -> ipywidgets.HTML:
    """Return the stylesheet, with ``more`` rules, as a widget."""
    return ipywidgets.HTML(f"<style>{CSS}{_ICON_CSS}{more}</style>", layout=ipywidgets.Layout(height="0", margin="0"))
