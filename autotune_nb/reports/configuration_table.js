// The table of configurations: sorting, filtering, columns and selection, with only the visible rows in the page.
// It is the module of the monitor's widget (the default export), and part of the report's page (fillTable).
// It follows the text of configuration_filter.js, configuration_style.js and configuration_menu.js in one module.

const SPARE = 6, WIDEST_CH = 26, STATE_CH = 24, FAILURE_CH = 60, VALUE_CH = 14, HEAD_CH = 11, MOST = 5, MOST_FILTER = 1000;
/** What moves in the table and selects in it. */
const KEYS = new Set(["ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home", "End", "Enter", " ", "Escape"]);
const FIGURES = new Set(["figure", "limit", "spread", "gain", "interval", "level", "starts"]);
const TONES = {kept: "ok", broken: "error", failed: "error", undecided: "warn", "breaks a limit": "warn", running: "ok"};

const COLLATOR = new Intl.Collator("en", {numeric: true});

/** Return the order of two values: numbers before texts. */
function order(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === typeof b) return a === b ? 0 : COLLATOR.compare(String(a), String(b));
  return typeof a === "number" ? -1 : 1;
}

/** The rows and columns that a kernel or a page gives; `changed` is called after each change. */
export class TableData {
  columns = [];
  rows = new Map();
  listeners = new Set();

  apply(message) {
    if (message.columns) this.columns = message.columns;
    if (message.all) this.rows.clear();
    for (const [number, several, first, cells] of message.rows ?? []) {
      const trials = several || [number], baseline = Boolean(first);
      const known = this.rows.get(number);
      if (!known || Array.isArray(cells)) this.rows.set(number, {number, trials, baseline, cells: Array.isArray(cells) ? cells : []});
      else {
        known.trials = trials;
        known.version = (known.version ?? 0) + 1;
        for (const [place, value] of Object.entries(cells)) known.cells[place] = value;
      }
    }
    for (const number of message.gone ?? []) this.rows.delete(number);
    for (const listener of this.listeners) listener();
  }
}

/** Draw a table into an element. `hooks`: select(numbers), steer(action) or null, steerable(column). */
export class TableView {
  constructor(root, data, hooks = {}) {
    Object.assign(this, {root, data, hooks, chosen: [], sort: null, overrides: Object.create(null), active: 0, shown: [], filter: () => true});
    root.classList.add("at-table");
    this.search = make("input", {type: "search", placeholder: "filter: tp = 2 and complete", maxlength: MOST_FILTER, "aria-label": "filter of the table",
      oninput: () => this.refilter()});
    this.status = make("span", {role: "status"});
    this.menu = make("button", {type: "button", "aria-haspopup": "dialog", onclick: () => this.chooseColumns()}, "columns \u25be");
    this.steering = make("button", {type: "button", "aria-haspopup": "dialog", title: "ban, pin or narrow a parameter, also one without a column",
      onclick: () => this.chooseParameter()}, "steer \u25be");
    this.head = make("tr");
    this.groups = make("colgroup");
    this.body = make("tbody");
    this.above = make("tr", {role: "presentation", "aria-hidden": "true"});
    this.below = this.above.cloneNode();
    this.made = new Map();
    this.table = make("table", {role: "grid", "aria-label": "configurations", "aria-multiselectable": "true"},
      this.groups, make("thead", {}, this.head), this.body);
    this.scroll = make("div", {class: "at-table-scroll", onscroll: () => this.drawRows()}, this.table);
    const menus = hooks.steer ? [this.menu, this.steering] : [this.menu];
    root.append(make("style", {}, STYLE), make("div", {class: "at-table-bar"}, this.search, ...menus, this.status), this.scroll);
    this.body.addEventListener("pointerdown", (event) => {
      this.down = event.target.closest("tr[data-place]");
      this.marked = String(getSelection());
    });
    this.body.addEventListener("click", (event) => this.clicked(event));
    this.body.addEventListener("keydown", (event) => this.pressed(event));
    // Notebook 7 acts on these keys before the table gets them, and JupyterLab afterwards.
    this.guard = (event) => {
      if (root.contains(event.target)) event.target.toggleAttribute("data-lm-suppress-shortcuts", KEYS.has(event.key));
    };
    window.addEventListener("keydown", this.guard, true);
    this.listener = () => this.later();
    data.listeners.add(this.listener);
    this.refresh();
  }

  close() {
    this.data.listeners.delete(this.listener);
    window.removeEventListener("keydown", this.guard, true);
  }

  later() {
    // Several changes in one frame are drawn once, and not in the same task as a chart.
    this.frame ??= requestAnimationFrame(() => setTimeout(() => { this.frame = undefined; this.refresh(); }));
  }

  refresh() {
    const columns = this.data.columns;
    this.steering.hidden = !columns.some((one) => this.steers(one));
    this.places = columns.flatMap((one, place) => ((this.overrides[one.key] ?? !one.hidden) ? [place] : []));
    this.refilter();
  }

  refilter() {
    const wanted = this.search.value, columns = this.data.columns;
    let wrong = "";
    try { this.filter = parseFilter(wanted, columns); } catch (error) { wrong = error.message; }
    this.search.setAttribute("aria-invalid", wrong ? "true" : "false");
    this.reorder();
    const all = this.data.rows.size, some = this.shown.length;
    // Before the first message, how many there are is not known.
    const text = wrong || (columns.length ? `${some === all ? all : `${some} of ${all}`} configuration${all === 1 ? "" : "s"}` : "");
    // A status that did not change is not read out again.
    if (this.status.textContent !== text) this.status.textContent = text;
    this.status.className = wrong ? "wrong" : "";
  }

  reorder() {
    const active = this.shown[this.active]?.number;
    this.shown = [...this.data.rows.values()].filter(this.filter);
    const columns = this.data.columns, place = this.sort ? columns.findIndex((one) => one.key === this.sort.key) : -1;
    if (place >= 0) {
      const keyed = this.shown.map((row) => [valueOf(row, columns[place], place), row]), turn = this.sort.down ? -1 : 1;
      // Unknown values come last in both directions.
      keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : turn * order(a, b)));
      this.shown = keyed.map(([, row]) => row);
    } else this.shown.sort((a, b) => b.number - a.number);
    const kept = this.shown.findIndex((row) => row.number === active);
    this.active = Math.max(0, kept);
    this.table.setAttribute("aria-rowcount", String(this.shown.length + 1));
    this.drawHead();
    this.drawRows();
  }

  drawHead() {
    const columns = this.data.columns, sample = this.shown.slice(0, 150);
    const heads = this.places.map((place) => {
      const one = columns[place], parameter = one.group === "parameter", marks = this.limitsOf(one).length ? 2 : 0;
      const most = parameter ? VALUE_CH : {state: STATE_CH, failure: FAILURE_CH}[one.key] ?? WIDEST_CH;
      const text = Math.min(most, Math.max(0, ...sample.map((row) => textOf(row, one, place).length))) + marks;
      const split = headLines(one, parameter ? text : Math.max(NARROWEST_HEAD, text)), lines = [...split.name, ...split.unit];
      // The whole name of a parameter is its head's tooltip. Bold letters are wider than digits.
      const mark = this.steers(one) ? one.steer.mark?.length ?? 0 : 0;
      const named = Math.min(Math.max(mark, ...lines.map((line) => line.trimEnd().length)), parameter ? HEAD_CH : WIDEST_CH);
      const arrow = this.sort?.key === one.key ? 2 : 0;
      return {lines, units: split.name.length, width: Math.max(text + 1.7, named + 2 + arrow + (this.steers(one) ? 1.2 : 0))};
    });
    const widths = heads.map((one) => one.width);
    const key = JSON.stringify([this.places.map((place) => columns[place]), widths, this.sort]);
    if (key === this.headKey) return;
    this.headKey = key;
    const focused = this.head.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.groups.replaceChildren(make("col", {style: "width: 26px"}), ...widths.map((width) => make("col", {style: `width: ${width}ch`})));
    // With a width of its own, no cell widens its column.
    this.table.style.width = `calc(26px + ${widths.reduce((sum, width) => sum + width, 0)}ch)`;
    const cells = this.places.map((place, index) => {
      const one = columns[place], title = titleOf(one), {lines, units} = heads[index];
      const by = this.sort?.key === one.key ? this.sort : null;
      const sorted = make("button", {type: "button", class: "sort", "data-key": one.key, "aria-label": title, title: one.help ? `${title}: ${one.help}` : title,
        onclick: () => this.sortBy(one)}, ...lines.map((line, at) => make("span", {class: at < units ? undefined : "unit"}, by && at === lines.length - 1
          ? `${line} ${by.down ? "\u25be" : "\u25b4"}` : line)));
      const steered = this.steers(one)
        ? [make("button", {type: "button", class: "steer", "aria-label": `steer ${one.key}`, "aria-haspopup": "dialog", title: `ban, pin or narrow ${one.key}`,
            onclick: (event) => this.steerFrom(event.currentTarget, one)}, "\u22ee")] : [];
      if (steered.length && one.steer.mark) steered.push(make("span", {class: "mark", title: `${one.key}: ${one.steer.now}`}, one.steer.mark));
      const numeric = one.kind === "number" ? " n" : "";
      return make("th", {scope: "col", class: `${steered.length ? "steer" : ""}${numeric}${one.key === "trial" ? " pin" : ""}`,
        "aria-sort": by ? (by.down ? "descending" : "ascending") : "none"}, sorted, ...steered);
    });
    this.head.replaceChildren(make("th", {scope: "col", class: "pin"}, make("span", {class: "read"}, "selected")), ...cells);
    if (focused) this.head.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    this.drawn = null;
  }

  /** The places of the limits on a figure. */
  limitsOf(column) {
    if (column.group !== "figure") return [];
    return this.data.columns.flatMap((one, place) => (one.figure === column.key ? [place] : []));
  }

  steers(column) { return Boolean(this.hooks.steer) && column.group === "parameter" && column.steer; }

  sortBy(column) {
    const by = this.sort?.key === column.key ? this.sort : null;
    const first = column.kind === "number" && column.group !== "parameter" && column.key !== "trial";
    this.sort = by && by.down !== first ? null : {key: column.key, down: by ? !by.down : first};
    this.reorder();
  }

  drawRows() {
    const height = this.scroll.clientHeight || 330, first = Math.max(0, Math.floor(this.scroll.scrollTop / ROW_PX) - SPARE);
    const last = Math.min(this.shown.length, first + Math.ceil(height / ROW_PX) + 2 * SPARE);
    const focused = this.body.contains(document.activeElement), known = this.made;
    // What the cells are made from beside their row.
    const head = JSON.stringify([this.places, Boolean(this.hooks.steer)]);
    if (head !== this.madeFor || this.data.columns !== this.madeOf) known.clear();
    this.madeFor = head;
    this.madeOf = this.data.columns;
    this.made = new Map();
    const rows = [];
    for (let place = first; place < last; place += 1) rows.push(this.row(this.shown[place], place, known));
    this.above.style.height = `${first * ROW_PX}px`;
    this.below.style.height = `${(this.shown.length - last) * ROW_PX}px`;
    this.show([...(first ? [this.above] : []), ...rows, ...(last < this.shown.length ? [this.below] : [])]);
    if (focused && !this.body.contains(document.activeElement)) this.focusActive();
  }

  /** Rows that stay are not touched: a text that is selected in them stays so, and a click ends where it began. */
  show(rows) {
    const wanted = new Set(rows);
    for (const one of [...this.body.children]) if (!wanted.has(one)) one.remove();
    rows.forEach((one, at) => { if (this.body.children[at] !== one) this.body.insertBefore(one, this.body.children[at] ?? null); });
  }

  focusActive() { this.body.querySelector("tr[tabindex='0']")?.focus({preventScroll: true}); }

  row(row, place, known) {
    const before = known.get(row.number);
    const found = before?.row === row && before.version === row.version ? before.element : this.newRow(row);
    this.made.set(row.number, {row, version: row.version, element: found});
    const chosen = row.trials.some((number) => this.chosen.includes(number));
    const state = String(row.cells[this.data.columns.findIndex((one) => one.key === "state")] ?? "");
    const about = {tabindex: place === this.active ? "0" : "-1", "aria-selected": String(chosen), "aria-rowindex": String(place + 2),
      class: `${chosen ? "chosen" : ""}${state.startsWith("best") ? " best" : ""}`, "data-place": String(place)};
    for (const [name, value] of Object.entries(about)) if (found.getAttribute(name) !== value) found.setAttribute(name, value);
    found.querySelector("input").checked = chosen;
    return found;
  }

  newRow(row) {
    const box = make("input", {type: "checkbox", tabindex: "-1", "aria-label": `select trial ${row.number}`});
    return make("tr", {}, make("td", {class: "pin"}, box), ...this.cells(row));
  }

  /** The cells of a row; why it failed stands where its first figures would. */
  cells(row) {
    const columns = this.data.columns, failure = row.cells[columns.findIndex((one) => one.key === "failure")];
    const figures = this.places.filter((place) => FIGURES.has(columns[place].group) || FIGURES.has(columns[place].key));
    const empty = failure && figures.length && figures.every((place) => columns[place].key === "starts" || (row.cells[place] ?? null) === null);
    const from = this.places.indexOf(figures[0]), end = this.places.findIndex((place, at) => at > from && !figures.includes(place));
    const span = (end < 0 ? this.places.length : end) - from;
    return this.places.flatMap((place, at) => {
      if (!empty || at < from || at >= from + span) return [this.cell(row, columns[place], place)];
      return at === from ? [make("td", {colspan: String(span), class: "error", title: failure}, failure)] : [];
    });
  }

  cell(row, column, place) {
    const text = textOf(row, column, place), value = row.cells[place], classes = [];
    if (column.key === "trial") classes.push("pin");
    if (column.kind === "number") classes.push("n");
    if (column.group === "parameter") {
      if (row.baseline) classes.push("dim");
      else if (value !== null && value !== undefined && value !== column.default) classes.push("changed");
    }
    const tone = column.key === "failure" ? "error" : TONES[String(value).replace(/^(best|default), /, "")];
    if (tone && (column.group === "limit" || column.key === "state" || column.key === "failure")) classes.push(tone);
    const found = make("td", {class: classes.join(" ") || undefined, title: text.length > 12 ? text : undefined}, text);
    for (const limit of this.limitsOf(column)) {
      const word = row.cells[limit];
      // The column of all limits has it in words.
      if (word) found.append(make("span", {class: TONES[word], title: `${this.data.columns[limit].head}: ${word}`, "aria-hidden": "true"}, ` ${WORDS[word][0]}`));
    }
    return found;
  }

  clicked(event) {
    // If the rows moved meanwhile, the click is that of the row on which it began.
    const tr = event.target.closest("tr[data-place]") ?? (this.down?.isConnected ? this.down : null);
    if (!tr) return;
    const more = event.ctrlKey || event.metaKey || event.shiftKey || event.target.type === "checkbox";
    // The end of a selection of text is no click.
    const text = String(getSelection());
    if (!more && text && text !== this.marked && this.body.contains(getSelection().anchorNode)) return;
    this.active = Number(tr.dataset.place);
    this.choose(this.shown[this.active], more);
    this.focusActive();
  }

  /** The height in which rows are seen, below the head. */
  rowsHeight() { return this.scroll.clientHeight - this.head.offsetHeight; }

  pressed(event) {
    const page = Math.max(1, Math.floor(this.rowsHeight() / ROW_PX) - 1), last = this.shown.length - 1;
    const to = {ArrowDown: this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + page, PageUp: this.active - page, Home: 0, End: last}[event.key];
    if (to !== undefined) {
      this.active = Math.max(0, Math.min(last, to));
      const top = this.active * ROW_PX, height = this.rowsHeight() - ROW_PX;
      if (top < this.scroll.scrollTop) this.scroll.scrollTop = top;
      else if (top > this.scroll.scrollTop + height) this.scroll.scrollTop = top - height;
      this.drawRows();
      this.focusActive();
    } else if (event.key === "Enter" || event.key === " ") this.choose(this.shown[this.active], event.key === " ");
    else if (event.key === "Escape" && this.chosen.length) this.clear();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  choose(row, more) {
    if (!row) return;
    const own = row.trials.filter((number) => this.chosen.includes(number));
    if (own.length) this.chosen = more ? this.chosen.filter((number) => !own.includes(number)) : this.chosen.length > own.length ? [row.number] : [];
    else this.chosen = more ? [...this.chosen, row.number].slice(-MOST) : [row.number];
    this.drawRows();
    this.hooks.select?.(this.chosen);
  }

  /** Select nothing, which closes the page of the trial. */
  clear() {
    this.chosen = [];
    this.drawRows();
    this.hooks.select?.([]);
  }

  select(numbers) {
    if (JSON.stringify(numbers) === JSON.stringify(this.chosen)) return;
    this.chosen = [...numbers];
    const at = this.shown.findIndex((row) => row.trials.includes(numbers.at(-1)));
    if (at >= 0) {
      this.active = at;
      const top = at * ROW_PX, height = this.rowsHeight() - ROW_PX;
      if (top < this.scroll.scrollTop || top > this.scroll.scrollTop + height) this.scroll.scrollTop = Math.max(0, top - height / 2);
    }
    this.drawRows();
  }

  chooseColumns() {
    const boxes = this.data.columns.map((one, place) => {
      const box = make("input", {type: "checkbox", onchange: () => { this.overrides[one.key] = box.checked; this.refresh(); }});
      box.checked = this.places.includes(place);
      return make("label", {title: one.help}, box, ` ${titleOf(one)}`);
    });
    this.open(this.menu, "columns", boxes);
  }

  steerFrom(button, column) {
    const act = (action) => { this.hooks.steer(action); this.pop?.close(); };
    this.open(button, `steer ${column.key}`, steerContent(column.key, column.steer, act));
  }

  /** List every parameter: that of a hidden column has no head. */
  chooseParameter() {
    const buttons = this.data.columns.filter((one) => this.steers(one)).map((one) =>
      make("button", {type: "button", onclick: () => { this.pop?.close(); this.steerFrom(this.steering, one); }}, one.key));
    this.open(this.steering, "steer a parameter", buttons);
  }

  open(button, label, inside) {
    const again = this.pop?.anchor === button;
    this.pop?.close();
    if (!again) this.pop = openMenu(this.root, button, label, inside, () => { this.pop = null; });
  }
}

/** Replace the content of an element by the table of a page's own data. */
export function fillTable(root, message) {
  const data = new TableData();
  data.apply(message);
  root.replaceChildren();
  root._table = new TableView(root, data);
}

async function unpacked(buffer, packed) {
  if (!packed) return new TextDecoder().decode(buffer);
  return new Response(new Blob([buffer]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
}

export default () => {
  const data = new TableData();
  return {
    initialize({model}) {
      // In the order of their arrival, although unpacking takes a while.
      let before = Promise.resolve();
      model.on("msg:custom", (message, [buffer]) => {
        before = before.then(async () => data.apply(JSON.parse(await unpacked(buffer, message.packed)))).catch(console.error);
      });
      // A page that was opened later has none of the rows that were sent before.
      model.send({ask: true});
    },
    render({model, el}) {
      const view = new TableView(el, data, {
        select: (numbers) => { model.set("selected", numbers); model.save_changes(); },
        steer: (action) => model.send(action),
      });
      el._table = view;
      const selected = () => view.select(model.get("selected"));
      model.on("change:selected", selected);
      selected();
      return () => { model.off("change:selected", selected); view.close(); };
    },
  };
};
