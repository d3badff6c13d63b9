"""The stylesheet of the form."""

from __future__ import annotations

#: The arrow of a list to choose from, for a dark theme; a line break within it would end the stylesheet.
_LIGHT_ARROW = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 18 18'%3E%3Cpath fill='%23ddd' "
    "d='M5.2 5.9 9 9.7l3.8-3.8L14 7.1l-5 5-5-5z'/%3E%3C/svg%3E"
)
#: An output's ancestors in a cell hide what overflows, which would keep the bar from sticking to the notebook's view.
FORM_CSS = """
:is(.jp-Cell, .jp-Cell *):not(.jp-mod-outputsScrolled, .jp-mod-outputsScrolled *):has(.at-form) {
  overflow: visible !important; }
.at-form { container-type: inline-size; }
.at-form.widget-vbox, .at-form .widget-vbox { overflow: visible; }
.at-form-cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 0 28px;
  overflow: visible; }
.at-form-section { border-top: 1px solid var(--jp-border-color2, #8886); padding: 2px 0 6px 0; min-width: 0; }
.at-form-cards.widget-box { margin-top: 6px; }
.at-form-grid { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1px 16px; overflow: hidden; }
.at-form-wide > .at-form-grid { grid-template-columns: repeat(auto-fill, minmax(min(100%, 350px), 1fr)); }
.at-form-grid > * { min-width: 0; }
.at-form-grid > .widget-vbox > .widget-html { padding-left: 173px; }
.at-form-bare > .widget-label { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  margin: 0; padding: 0; }
.at-form-wide { grid-column: 1 / -1; }
.at-form-parameter + .at-form-parameter { border-top: 1px dotted var(--jp-border-color2, #8886); }
.at-form-parameter-line { display: grid; gap: 6px; align-items: center;
  grid-template-columns: minmax(130px, 190px) 84px minmax(0, 1fr) minmax(0, 1fr) auto auto; }
.at-form-section:has(.at-form-long-name) .at-form-parameter-line {
  grid-template-columns: minmax(130px, 340px) 84px minmax(0, 1fr) minmax(0, 0.7fr) auto auto; }
.at-form-parameter { overflow: hidden; }
.at-form-button.jupyter-button { flex: none; width: auto; align-self: flex-start; min-width: 32px; padding: 0 10px; }
.at-form-fold.jupyter-button { background: none; box-shadow: none; padding: 0 4px; text-align: left; }
.at-form-cells > * { flex: 1 1 0; min-width: 0; }
.at-form-cells > .widget-checkbox { flex: none; }
.at-form :is(input, select, textarea, button) { scroll-margin-bottom: 110px; }
[data-jp-theme-light="false"] .at-form .widget-dropdown > select { --jp-widgets-dropdown-arrow: url("LIGHT_ARROW"); }
.at-form .widget-textarea { height: auto; }
.at-form-rows { gap: 2px; }
.at-form-help { font-size: 12px; }
.at-form-about .widget-html-content { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.at-form-mono input, .at-form-code-text textarea { font-family: var(--jp-code-font-family, monospace); }
.at-form .widget-html, .at-form .widget-html-content { line-height: 18px; height: auto; }
.at-form-bar { position: sticky; bottom: 0; z-index: 2; background: var(--jp-layout-color1, Canvas);
  border-top: 2px solid var(--jp-border-color1, #888); padding: 4px 0; }
.at-form-bar-line > .widget-html { flex: 1 1 420px; width: auto; }
.at-form-question > .widget-html { width: auto; }
.at-facts { display: flex; flex-wrap: wrap; gap: 0 20px; }
.at-fact b { font-variant-numeric: tabular-nums; }
@container (max-width: 760px) {
  .at-form-about { display: none; }
  .at-form-section:has(.at-form-long-name) .at-form-parameter-line {
    grid-template-columns: minmax(80px, 1fr) 84px minmax(200px, 1fr) auto auto; }
  .at-form-parameter-line { grid-template-columns: minmax(80px, 190px) 84px minmax(0, 1fr) auto auto; } }
/* On a low screen, or magnified, the bar leaves room for the fields. */
@media (max-height: 600px) {
  .at-fact .at-dim { display: none; }
  .at-form-bar .at-form-bar-line { flex-wrap: nowrap; }
  .at-form-bar-line > .widget-html { flex: 1 1 100px; }
  .at-form-study > .widget-label { display: none; } }
""".replace("LIGHT_ARROW", _LIGHT_ARROW)
