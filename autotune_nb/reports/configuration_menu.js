// Menus that open at a button or a label: of a parameter, to ban, pin, narrow or free it, and of any other content.
// A head of the monitor's table and an axis of its charts open the same menu of a parameter.

const MENU_STYLE = `
.at-pop { position: fixed; inset: auto; margin: 0; box-sizing: border-box; z-index: 9; background: var(--jp-layout-color1, Canvas); padding: 8px 10px; font-size: 13px;
  color: var(--jp-ui-font-color1, CanvasText); border: 1px solid var(--jp-border-color1, #8889); box-shadow: 0 2px 8px #0004;
  width: auto; height: auto; max-width: 340px; max-height: 300px; overflow: auto; }
.at-pop label { display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.at-pop button { font: inherit; color: inherit; background: none; cursor: pointer; border: 1px solid var(--jp-border-color1, #8889);
  padding: 1px 8px; margin: 4px 4px 0 0; }
.at-pop input[type=text] { width: 80px; font: inherit; color: inherit; background: transparent;
  border: 1px solid var(--jp-border-color1, #8889); }
.at-pop :is(button, input):focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); }
`;

// Notebook 7 acts on keys before an element gets them, unless it has this attribute.
const OWN_KEYS = {"data-lm-suppress-shortcuts": "true"};

function make(tag, attributes = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) found.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) found.setAttribute(name, value === true ? "" : value);
  }
  found.append(...children);
  return found;
}

/** Open a dialog below an element of `root`, and return it with `close`; `closed` is called when it is closed. */
function openMenu(root, anchor, label, inside, closed) {
  // A popover is above everything: what is around a short table or chart would cut the dialog off.
  const about = {class: "at-pop", popover: "manual", role: "dialog", "aria-label": label, ...OWN_KEYS};
  const box = make("div", about, make("style", {}, MENU_STYLE), ...inside);
  const place = (event) => {
    if (event?.target && box.contains(event.target)) return;
    const own = anchor.getBoundingClientRect(), {offsetWidth: width, offsetHeight: height} = box;
    const below = own.bottom + 2, above = own.top - height - 2;
    box.style.left = `${Math.max(0, Math.min(own.left, innerWidth - width))}px`;
    box.style.top = `${below + height > innerHeight && above >= 0 ? above : below}px`;
  };
  const outside = (event) => { if (!box.contains(event.target) && !anchor.contains(event.target)) close(); };
  const close = () => {
    box.remove();
    document.removeEventListener("pointerdown", outside);
    document.removeEventListener("scroll", place, true);
    removeEventListener("resize", place);
    closed();
  };
  box.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") { close(); anchor.focus(); }
  });
  document.addEventListener("pointerdown", outside);
  document.addEventListener("scroll", place, true);
  addEventListener("resize", place);
  root.append(box);
  box.showPopover?.();
  place();
  box.querySelector("input, button")?.focus({preventScroll: true});
  return {box, anchor, close};
}

/** The content of the menu of a parameter; `act` is called with what is wanted. */
function steerContent(name, one, act) {
  const does = (text, action) => make("button", {type: "button", onclick: () => act({parameter: name, ...action()})}, text);
  const inside = [make("div", {}, make("b", {}, name)), make("div", {}, one.about)];
  if (one.values) {
    const boxes = one.values.map((value, place) => {
      const box = make("input", {type: "checkbox"});
      box.checked = one.left[place];
      inside.push(make("label", {}, box, ` ${typeof value === "object" && value ? JSON.stringify(value) : value ?? "not set"}`));
      return [box, value];
    });
    const only = () => boxes.filter(([box]) => box.checked).map(([, value]) => value);
    // Those that are banned already are not banned again.
    const others = () => boxes.filter(([box], place) => !box.checked && one.left[place]).map(([, value]) => value);
    inside.push(does("Try only the marked", () => ({do: "narrow", values: only()})), does("Ban the others", () => ({do: "ban", values: others()})));
  } else {
    if (one.low !== undefined) {
      const low = make("input", {type: "text", "aria-label": "low", value: one.low}), high = make("input", {type: "text", "aria-label": "high", value: one.high});
      inside.push(make("div", {}, "from ", low, " to ", high), does("Narrow", () => ({do: "narrow", low: low.value, high: high.value})));
    }
    const typed = make("input", {type: "text", "aria-label": "value, or several with commas"}), text = () => typed.value;
    inside.push(make("div", {}, "value ", typed), does("Pin", () => ({do: "pin", text: text()})), does("Ban", () => ({do: "ban", text: text()})));
  }
  inside.push(does("Free", () => ({do: "free"})));
  return inside;
}

// So far beside an axis a box still is a brush on it.
const BESIDE = 0.2;
// So near a line, in pixels, a click is on it.
const ON_LINE = 6;

/** What a chart does with clicks on lines and, of parallel coordinates, with its axes; `menus` has the menu of each, or null. */
globalThis.autotuneNbAxes = {
  /** Mark the labels of axes with a menu, and return what Plotly has to leave out: its zones at axes would cover them. */
  mark(layout, menus) {
    const texts = layout.xaxis?.ticktext;
    if (texts) layout.xaxis.ticktext = texts.map((text, place) => (menus[place] ? `${text} \u22ee` : text));
    return {showAxisDragHandles: false};
  },

  /** Make the labels buttons that open the menus. */
  label(root, chart, menus, act) {
    chart.querySelectorAll(":is(.xaxislayer-above, .xaxislayer-below) .xtick text").forEach((text, index) => {
      const one = menus[text.__data__?.x ?? index];
      if (!one) return;
      let menu = null;
      const open = () => {
        if (menu) return menu.close();
        const done = (wanted) => { act(wanted); menu?.close(); };
        menu = openMenu(root, text, `steer ${one.key}`, steerContent(one.key, one, done), () => { menu = null; });
      };
      const pressed = (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        event.stopPropagation();
        open();
      };
      Object.assign(text.style, {pointerEvents: "all", cursor: "pointer"});
      const about = {role: "button", tabindex: "0", "aria-haspopup": "dialog", "aria-label": `steer ${one.key}`, ...OWN_KEYS};
      for (const [name, value] of Object.entries(about)) text.setAttribute(name, value);
      Object.assign(text, {onclick: open, onkeydown: pressed});
    });
  },

  /** Report a box that touches one axis only, and return what it selects: that at the axis, although it may be beside it. */
  brush(menus, range, act) {
    const [left, right] = range?.x ? [Math.min(...range.x) - BESIDE, Math.max(...range.x) + BESIDE] : [1, 0];
    const near = menus.flatMap((_, place) => (place >= left && place <= right ? [place] : []));
    const on = near.length === 1;
    act({brush: on ? near[0] : -1, ends: on ? [Math.min(...range.y), Math.max(...range.y)] : []});
    return on ? {x: [near[0], near[0]], y: range.y} : null;
  },

  /** Return the trial of the line at a click that is at no point, which Plotly does not report; of several the one on top. */
  line(node, {clientX, clientY}) {
    const {left, top} = node.getBoundingClientRect(), px = clientX - left, py = clientY - top;
    let found = null, nearest = ON_LINE;
    for (const trace of node._fullData) {
      if (trace.visible !== true || !trace.customdata || !/lines|none/.test(trace.mode ?? "")) continue;
      const place = name => { const axis = node._fullLayout[name]; return value => axis._offset + axis.d2p(value); };
      const x = place(trace.xaxis.replace("x", "xaxis")), y = place(trace.yaxis.replace("y", "yaxis"));
      let before = null;
      for (let i = 0; i < trace.x.length; i++) {
        const gap = !Number.isFinite(trace.x[i] ?? NaN) || !Number.isFinite(trace.y[i] ?? NaN);
        const now = gap ? null : [x(trace.x[i]), y(trace.y[i])];
        if (now && before) {
          const [dx, dy] = [now[0] - before[0], now[1] - before[1]], length = dx * dx + dy * dy || 1;
          const along = Math.max(0, Math.min(1, ((px - before[0]) * dx + (py - before[1]) * dy) / length));
          const away = Math.hypot(before[0] + along * dx - px, before[1] + along * dy - py);
          if (away <= nearest) { nearest = away; found = trace.customdata[along < 0.5 ? i - 1 : i]; }
        }
        before = now;
      }
    }
    return found;
  },
};
