// How the table of configurations looks: its stylesheet, and its heads in lines.

const ROW_PX = 25, HEAD_LINES = 3, NARROWEST_HEAD = 10;
const STYLE = `
.at-table { font-size: 13px; color: var(--jp-ui-font-color1, inherit); }
.at-table-bar { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: center; padding: 2px 0 4px; }
.at-table-bar input[type=search] { flex: 1 1 220px; max-width: 420px; font: inherit; padding: 2px 6px; color: inherit;
  background: var(--jp-layout-color1, transparent); border: 1px solid var(--jp-border-color1, #8889); }
.at-table-bar .wrong { color: color-mix(in srgb, var(--jp-error-color1, #d32f2f) 65%, var(--jp-ui-font-color1, #777)); }
.at-table-scroll { overflow: auto; max-height: var(--at-table-height, 330px); position: relative;
  border: 1px solid var(--jp-border-color2, #8886); }
/* More specific than the rules for tables of the page or of another widget, whose stylesheet comes later. */
.at-table .at-table-scroll table { border-collapse: separate; border-spacing: 0; table-layout: fixed;
  display: table; overflow: visible; margin: 0; font-size: inherit; }
.at-table .at-table-scroll tr :is(th, td) { padding: 0 4px; height: ${ROW_PX}px; line-height: ${ROW_PX - 1}px;
  box-sizing: border-box; max-width: none; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; text-align: left;
  vertical-align: middle; border: 0; border-bottom: 1px solid var(--jp-border-color3, #8883); }
.at-table .at-table-scroll tr th { position: sticky; top: 0; z-index: 2; padding: 3px 4px; line-height: 14px; font-size: 12px;
  vertical-align: bottom; background: var(--jp-layout-color2, Canvas); font-weight: 600; }
.at-table .at-table-scroll tr :is(td, th).n { text-align: right; font-variant-numeric: tabular-nums; }
/* The row's colour is an image, so that a cell may have a background of its own below it. */
.at-table .at-table-scroll tbody tr td { background: linear-gradient(var(--at-row, transparent), var(--at-row, transparent)); }
.at-table .at-table-scroll tr .pin { position: sticky; left: 0; z-index: 1; background-color: var(--jp-layout-color0, Canvas); }
.at-table .at-table-scroll tr .pin ~ .pin { left: 26px; }
.at-table .at-table-scroll tr th.pin { z-index: 3; background-color: var(--jp-layout-color2, Canvas); }
.at-table tbody tr { cursor: pointer; }
.at-table tbody tr:hover { --at-row: #8882; }
/* Figures only: bold words do not fit the width of their column. */
.at-table tr.best td.n { font-weight: 600; }
.at-table tbody tr.chosen { --at-row: color-mix(in srgb, var(--jp-brand-color1, #1976d2) 18%, transparent); }
.at-table tr:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: -2px; }
.at-table .at-table-scroll tbody tr td.changed { font-weight: 600;
  background-color: color-mix(in srgb, var(--jp-brand-color1, #1976d2) 9%, transparent); }
.at-table .read { display: block; width: 1px; height: 1px; overflow: hidden; }
.at-table td.dim { color: var(--jp-ui-font-color2, GrayText); }
.at-table .error { color: color-mix(in srgb, var(--jp-error-color1, #d32f2f) 65%, var(--jp-ui-font-color1, #777)); }
.at-table .warn { color: color-mix(in srgb, var(--jp-warn-color1, #f57c00) 50%, var(--jp-ui-font-color1, #777)); }
.at-table .ok { color: color-mix(in srgb, var(--jp-success-color1, #388e3c) 50%, var(--jp-ui-font-color1, #777)); }
.at-table td.pin input { display: block; margin: 0 auto; }
.at-table button { font: inherit; color: inherit; background: none; border: 0; padding: 0 2px; cursor: pointer;
  font-weight: inherit; max-width: 100%; overflow: hidden; text-overflow: ellipsis; vertical-align: middle; }
.at-table th button { padding: 0; line-height: inherit; text-align: inherit; }
.at-table th button span { display: block; overflow: hidden; text-overflow: ellipsis; }
.at-table .at-table-scroll tr th.steer { padding-right: 14px; }
.at-table th .steer { position: absolute; right: 1px; bottom: 3px; width: 12px; text-align: center; }
/* The menu is beside its own name, which may be far from the next column. */
.at-table .at-table-scroll tr th.steer:not(.n) { padding-right: 2px; }
.at-table th.steer:not(.n) button { position: static; vertical-align: bottom; }
.at-table th.steer:not(.n) .sort { max-width: calc(100% - 12px); }
.at-table th :is(.unit, .mark) { font-size: 11px; font-weight: 400; }
.at-table th .mark { display: block; overflow: hidden; text-overflow: ellipsis; }
.at-table :is(button, input, summary):focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); }
@media print { .at-table-bar { display: none; } .at-table-scroll { max-height: none; overflow: visible; } }
`;

const titleOf = (column) => (column.unit ? `${column.head}, ${column.unit}` : column.head);

/** Split a head into at most three lines, so that its column is narrow: its name, and its unit from a line of its own on. */
function headLines({head, unit}, width) {
  if (!unit) return {name: linesOf(head, width, HEAD_LINES), unit: []};
  const name = linesOf(head, width, HEAD_LINES - 1);
  return {name, unit: linesOf(unit, Math.max(width, NARROWEST_HEAD), HEAD_LINES - name.length)};
}

/** Split a text into at most `count` lines of about `width` characters. */
function linesOf(title, width, count) {
  const parts = title.match(/[^\s_.-]*[\s_.-]+|[^\s_.-]+/g) ?? [title];
  for (let most = Math.max(width, ...parts.map((part) => part.trimEnd().length)); ; most += 1) {
    const lines = [];
    for (const part of parts) {
      if (lines.length && (lines.at(-1) + part).trimEnd().length <= most) lines[lines.length - 1] += part;
      else lines.push(part);
    }
    if (lines.length <= count) return lines;
  }
}
