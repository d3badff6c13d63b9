// Makes the charts and the table of a report's page interactive. Without scripts, and on paper, the page shows its pictures and its plain table.
// It follows the text of configuration_filter.js and configuration_table.js in one module, after Plotly's script.

const DARK = {
  paper_bgcolor: "#1b1b1b", plot_bgcolor: "#1b1b1b", "font.color": "#dddddd", "xaxis.gridcolor": "#444", "yaxis.gridcolor": "#444",
  "xaxis.zerolinecolor": "#666", "yaxis.zerolinecolor": "#666",
};
const CONFIG = {responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"]};

/** Return the element that shows what is interactive, beside what is shown without scripts. */
function beside(data) {
  const own = document.createElement("div");
  own.className = "at-live";
  data.after(own);
  return own;
}

/** Draw a chart with its data; its picture is shown if that fails. */
async function draw(data, dark) {
  const figure = JSON.parse(data.textContent), own = beside(data);
  try {
    await globalThis.Plotly.newPlot(own, figure.data, figure.layout, CONFIG);
    if (dark.matches) await globalThis.Plotly.relayout(own, DARK);
    data.parentElement.classList.add("at-lively");
    own.setAttribute("role", "group");
    own.setAttribute("aria-label", data.parentElement.querySelector("img")?.alt ?? "chart");
  } catch (error) {
    own.remove();
    console.error(error);
  }
}

/** Return the message of a table with its rows, which a notebook has by column; an older notebook has the rows. */
function withRows(message) {
  if (!message.packed) return message;
  const {numbers, trials, baseline, cells} = message.packed, first = new Set(baseline);
  const columns = cells.map((one) => (Array.isArray(one) ? one : (one.places ?? numbers.map(() => 0)).map((place) => one.words[place])));
  return {...message, rows: numbers.map((number, at) => [number, trials[number] ?? 0, Number(first.has(number)), columns.map((one) => one[at])])};
}

/** Sort a table by the gain over the default, or without a default by the objective. */
function bestFirst(table, columns) {
  const shown = columns.filter((one) => !one.hidden);
  const by = shown.find((one) => one.key === "gain") ?? shown.find((one) => one.group === "figure");
  if (by) table.sort = {key: by.key, down: !(by.help ?? "").includes("less is better")};
  table.refresh();
}

// A table that scrolls sideways is reached by the keyboard.
const sized = new ResizeObserver((all) => {
  for (const {target} of all) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
for (const table of document.querySelectorAll("table")) sized.observe(table);

const dark = matchMedia("(prefers-color-scheme: dark)");
for (const data of document.querySelectorAll(".at-chart > script")) await draw(data, dark);
for (const data of document.querySelectorAll(".at-configurations > script")) {
  const own = beside(data), message = withRows(JSON.parse(data.textContent));
  fillTable(own, message);
  bestFirst(own._table, message.columns);
  data.parentElement.classList.add("at-lively");
}
