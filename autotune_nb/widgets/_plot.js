// Draws one chart with the page's Plotly: at most once per frame, and only while it is visible.

const WAIT_MS = 6000;
const MARKERS_IN_SVG = 3000;
const SELECTED = "#0b7a75";
const CONFIG = {
  responsive: false,
  displaylogo: false, showSendToCloud: false,
  displayModeBar: "hover",
  modeBarButtonsToRemove: ["lasso2d", "autoScale2d", "toImage", "zoomIn2d", "zoomOut2d"],
};

/** The page's Plotly as a promise. A chart that is visible has its script, which the loader's model brings, installed. */
function page() {
  if (!globalThis.autotuneNbPlotly) {
    let resolve, arrived;
    const promise = new Promise(done => { resolve = done; }), script = new Promise(done => { arrived = done; });
    globalThis.autotuneNbPlotly = {promise, resolve, script, arrived};
  }
  if (globalThis.Plotly?.react) globalThis.autotuneNbPlotly.resolve(globalThis.Plotly);
  return globalThis.autotuneNbPlotly;
}

/** Put the script into the page once. Running it blocks the page, and anywidget gives a model two seconds to begin. */
async function install() {
  const {script, resolve} = page();
  const text = await script;
  await new Promise(done => (globalThis.requestIdleCallback ?? setTimeout)(done, {timeout: 1500}));
  if (globalThis.Plotly?.react) return resolve(globalThis.Plotly);
  const element = document.createElement("script");
  element.textContent = text;
  document.head.append(element);
  resolve(globalThis.Plotly);
}

/** Unzip the script, which the page awaits. */
function unzip(zipped) {
  const unzipped = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
  new Response(unzipped).text().then(page().arrived);
}

/** Unpack the order of the traces and those that changed: the length of a JSON text, the text, and floats that it refers to. */
async function inflated(data) {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer(), length = new DataView(buffer).getUint32(0, true);
  const found = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))), floats = buffer.slice(4 + length);
  for (const trace of Object.values(found.traces)) {
    for (const name of ["x", "y", "base", "customdata"]) if (trace[name]?.floats) trace[name] = new Float32Array(floats, 4 * trace[name].floats[0], trace[name].floats[1]);
  }
  return found;
}

function unpacked(trace) {
  const own = {...trace};
  if (own.labels) {
    const {tips, levels, at} = own.labels;
    own.text = at.map((level, i) => level < 0 ? "" : `trial ${own.customdata[i]}, ${levels[level]}<br>${tips[own.customdata[i]]}`);
    delete own.labels;
  }
  return own;
}

/** The lines of a trace as one path, of which Plotly would draw each by itself. */
function pathOf({x, y}) {
  const parts = [];
  for (let i = 0, pen = "M"; i < x.length; i++) {
    if (Number.isNaN(x[i])) { pen = "M"; continue; }
    parts.push(pen, x[i].toPrecision(6), ",", y[i].toPrecision(6));
    pen = "L";
  }
  return parts.join("");
}

/**
 * Returns a function that joins the lines of older trials, which come in groups: a trace that has their points for the
 * tooltips, and a shape. The first group, which is in the legend, stays as it is.
 */
function joiner() {
  let parts = [], whole = null, shape = null;
  const all = (name) => Float32Array.from(parts.flatMap(trace => Array.from(trace[name], value => value ?? NaN)));
  return traces => {
    const older = traces.filter(trace => trace.legendgroup === "older" && trace.mode === "lines").slice(1);
    if (!older.length) return {joined: traces, shapes: []};
    if (older.length !== parts.length || older.some((trace, i) => trace !== parts[i])) {
      parts = older;
      whole = {...older[0], x: all("x"), y: all("y"), customdata: all("customdata"), mode: "none", showlegend: false};
      shape = {type: "path", path: pathOf(whole), xref: "x", yref: "y", layer: "below", line: older[0].line};
    }
    return {joined: traces.flatMap(trace => trace === older[0] ? [whole] : older.includes(trace) ? [] : [trace]), shapes: [shape]};
  };
}

/** A trace on top of those of the same axes, with rings around the points of the selected trials. */
function marks(traces, selected) {
  if (!selected.length) return [];
  const wanted = new Set(selected), found = new Map();
  for (const trace of traces) {
    if (!trace.customdata || trace.type === "bar") continue;
    const lines = /lines|none/.test(trace.mode ?? "");
    const key = `${trace.xaxis ?? "x"} ${trace.yaxis ?? "y"} ${lines}`;
    if (!found.has(key)) found.set(key, {x: [], y: [], xaxis: trace.xaxis ?? "x", yaxis: trace.yaxis ?? "y", lines});
    const own = found.get(key);
    for (let i = 0; i < trace.customdata.length; i++) {
      if (wanted.has(trace.customdata[i])) { own.x.push(trace.x[i]); own.y.push(trace.y[i]); }
    }
    if (lines) { own.x.push(null); own.y.push(null); }
  }
  return [...found.values()].filter(own => own.x.some(x => x !== null)).map(({lines, ...own}) => ({
    ...own, type: "scatter", mode: lines ? "lines+markers" : "markers", name: "selected", showlegend: false,
    hoverinfo: "skip", line: {color: SELECTED, width: 3},
    marker: {symbol: "circle-open", size: 13, color: SELECTED, line: {color: SELECTED, width: 2.5}},
  }));
}

const isLine = trace => trace.mode === "lines";

/** The points in a box; Plotly selects none on lines without markers. */
function inside(traces, range) {
  const within = (value, [one, other]) => value >= Math.min(one, other) && value <= Math.max(one, other);
  return traces.filter(trace => trace.customdata && range?.x && range.y).flatMap(trace =>
    Array.from(trace.customdata, (customdata, i) => ({customdata, x: trace.x[i], y: trace.y[i]}))
      .filter(point => within(point.x, range.x) && within(point.y, range.y)));
}

function outlined(trace, selected) {
  if (trace.type !== "bar" || !trace.customdata || !selected.length) return trace;
  const wanted = new Set(selected);
  const width = Array.from(trace.customdata, number => wanted.has(number) ? 3 : 0);
  return {...trace, marker: {...trace.marker, line: {color: SELECTED, width}}};
}

/** Axes, grid and texts in the colours of the page's theme. */
function themed(layout, el) {
  const style = getComputedStyle(el);
  const color = style.color, size = parseFloat(style.fontSize) || 12;
  const own = structuredClone(layout);
  for (const name of Object.keys(own)) {
    if (!/^[xy]axis\d*$/.test(name)) continue;
    own[name] = {gridcolor: "rgba(128,128,128,0.22)", zerolinecolor: "rgba(128,128,128,0.4)", automargin: true, ...own[name]};
  }
  for (const one of own.annotations ?? []) one.arrowcolor ??= color;
  return {
    margin: {l: 60, r: 16, t: 10, b: 44}, hovermode: "closest", uirevision: "constant", ...own,
    font: {color, size: Math.min(size, 12), family: style.fontFamily}, autosize: false,
    width: Math.floor(el.clientWidth), height: Math.floor(el.clientHeight),
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: {bgcolor: "#222", bordercolor: "#222", font: {color: "#fff"}, align: "left"},
  };
}

export default () => {
  const traces = new Map(), views = new Set();
  let order = [], seq = -1, asked = false;

  async function merge(model, changed) {
    if (changed.seq === undefined || changed.seq <= seq) return;
    if (!changed.all && changed.seq !== seq + 1) {
      // A message was lost, such as while this module was loaded.
      if (!asked) model.send({kind: "all"});
      asked = true;
      return;
    }
    const found = await inflated(changed.data);
    if (changed.all) traces.clear();
    for (const [key, trace] of Object.entries(found.traces)) traces.set(key, unpacked(trace));
    order = found.order;
    seq = changed.seq;
    asked = false;
    for (const view of views) view();
  }

  return {
    initialize({model}) {
      // In the order of their arrival, although unpacking takes a while.
      let before = Promise.resolve();
      const merged = () => {
        const changed = model.get("changed");
        before = before.then(() => merge(model, changed)).catch(console.error);
      };
      merged();
      const redraw = () => { for (const view of views) view(); };
      model.on("change:changed", merged);
      for (const name of ["axes", "caption", "announced", "selected", "menus"]) model.on(`change:${name}`, redraw);
      model.on("msg:custom", (message, buffers) => { if (message.kind === "script") unzip(buffers[0]); });
    },

    render({model, el}) {
      el.classList.add("at-chart");
      const caption = document.createElement("div"), node = document.createElement("div");
      const announced = document.createElement("div");
      caption.className = "at-chart-caption";
      announced.className = "at-chart-announced";
      node.className = "at-chart-plot";
      // A picture may contain nothing that has the focus; a selected point and the legend may.
      node.setAttribute("role", "group");
      el.append(caption, node, announced);
      let waits = false, drawn = false, removed = false, Plotly = null;
      const join = joiner();

      const asking = setTimeout(() => { if (!Plotly) model.send({kind: "script"}); }, WAIT_MS);
      install();
      page().promise.then(loaded => { Plotly = loaded; clearTimeout(asking); schedule(); });

      function send(points, add) {
        const found = [...new Set(points.map(point => point.customdata).filter(n => Number.isFinite(n)))];
        if (found.length) model.send({kind: "select", trials: found, add});
      }

      let atPoint = false;
      const adds = event => event.ctrlKey || event.metaKey || event.shiftKey;
      // Plotly reports a click at a point before the page does, and dispatches none after a drag.
      node.addEventListener("click", event => {
        if (drawn && !atPoint && event.target.closest(".nsewdrag")) send([{customdata: globalThis.autotuneNbAxes?.line(node, event)}], adds(event));
        atPoint = false;
      });

      function listen() {
        node.on("plotly_click", ({points, event}) => {
          atPoint = true;
          send(points.slice(0, 1), adds(event));
        });
        node.on("plotly_restyle", () => { if (node._fullData.some(trace => trace.mode === "none")) schedule(); });
        node.on("plotly_selected", event => {
          const range = event?.range, all = order.map(key => traces.get(key)), at = axes()?.brush(menus(), range, steer);
          send(at ? inside(all, at) : [...(event?.points ?? []), ...inside(all.filter(isLine), range)], false);
        });
        node.on("plotly_deselect", () => axes()?.brush(menus(), null, steer));
        node.on("plotly_afterplot", labels);
      }

      function steer(wanted) { model.send({kind: "steer", wanted}); }

      // Parallel coordinates have menus and brushes, from the table's script.
      const menus = () => model.get("menus"), axes = () => menus().length ? globalThis.autotuneNbAxes : null;
      function labels() { axes()?.label(el, node, menus(), steer); }

      function draw() {
        waits = false;
        if (removed) return;
        const empty = !order.length;
        caption.textContent = empty ? "" : model.get("caption");
        announced.textContent = empty ? model.get("announced") : "";
        node.setAttribute("aria-label", model.get("caption"));
        node.style.display = empty ? "none" : "";
        const visible = node.clientWidth > 0 && node.clientHeight > 0;
        if (!visible || !Plotly) {
          // A hidden chart keeps no graphics context: a page has only some.
          // While a theme is loaded it may be hidden for less than a frame, which no observer reports.
          if (drawn) { Plotly.purge(node); drawn = false; schedule(); }
          return;
        }
        const selected = model.get("selected"), {joined, shapes} = join(order.map(key => traces.get(key)));
        const own = joined.map(trace => outlined(trace, selected));
        const marked = own.filter(trace => trace.mode !== "lines" && trace.mode !== "none");
        const many = marked.reduce((sum, trace) => sum + (trace.x?.length ?? 0), 0) > MARKERS_IN_SVG;
        const data = [...own, ...marks(own, selected)].map(trace =>
          many && trace.type === "scatter" && !trace.fill ? {...trace, type: "scattergl"} : trace);
        // What a click in the legend hides.
        const hidden = drawn && node._fullData.some(trace => trace.mode === "none" && trace.visible !== true);
        const given = model.get("axes"), layout = themed({...given, shapes: [...(given.shapes ?? []), ...(hidden ? [] : shapes)]}, node);
        Plotly.react(node, data, layout, {...CONFIG, ...axes()?.mark(layout, menus())});
        if (!drawn) { listen(); labels(); }
        drawn = true;
      }

      // After the frame, whose own work would make it one long task.
      function schedule() {
        if (!waits) requestAnimationFrame(() => setTimeout(draw));
        waits = true;
      }

      const sized = new ResizeObserver(schedule);
      sized.observe(el);
      const theme = new MutationObserver(schedule);
      theme.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-name", "data-jp-theme-light", "class"]});
      views.add(schedule);
      schedule();
      return () => {
        removed = true;
        views.delete(schedule);
        sized.disconnect();
        theme.disconnect();
        clearTimeout(asking);
        if (drawn) Plotly.purge(node);
      };
    },
  };
};
