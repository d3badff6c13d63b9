// Cells of the table of configurations as text, and its filter: comparisons and words, joined by and, or, not.

const WORDS = {kept: "\u2713 kept", broken: "\u2717 broken", undecided: "? undecided"};

const plain = (text) => String(text).toLowerCase().replace(/[^\p{L}\p{N}.:]+/gu, "_").replace(/^_|_$/g, "");

function numberText(value, column) {
  if (column.group === "parameter" || column.key === "trial") return String(value);
  const text = Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(column.key === "gain" ? 3 : 4)));
  return column.key === "gain" && value > 0 ? `+${text}` : text;
}

function valueOf(row, column, place) {
  const value = row.cells[place];
  if (value === null || value === undefined) {
    return column.group === "parameter" && row.baseline ? column.default ?? "default" : null;
  }
  return typeof value === "number" && column.kind === "number" ? value * (column.scale ?? 1) : value;
}

function textOf(row, column, place) {
  const value = valueOf(row, column, place);
  if (value === null) return "";
  if (column.key === "trial") return row.trials.length > 1 ? `${value} +${row.trials.length - 1}` : String(value);
  if (column.group === "limit") return WORDS[value] ?? String(value);
  if (typeof value === "number") return numberText(value, column);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

const TOKEN = /\s*(?:"([^"]*)"|'([^']*)'|(<=|>=|!=|==|[()=<>~])|([^\s()=<>!~"']+))/y;

function tokens(text) {
  const found = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const at = TOKEN.lastIndex, match = TOKEN.exec(text);
    if (!match) throw new Error(`'${text.slice(at).trim()}' is not understood`);
    const quoted = match[1] ?? match[2];
    found.push({sign: match[3], word: quoted ?? match[4], quoted: quoted !== undefined});
  }
  return found;
}

function placeOf(name, columns) {
  const wanted = plain(name);
  const names = columns.map((one) => [one.key, one.head, ...(one.aliases ?? [])].map(plain));
  const exact = names.findIndex((own) => own.includes(wanted));
  if (exact >= 0) return exact;
  const starting = names.flatMap((own, place) => (own.some((one) => one.startsWith(wanted)) ? [place] : []));
  if (starting.length === 1) return starting[0];
  const known = (starting.length ? starting.map((place) => columns[place]) : columns).map((one) => plain(one.key));
  throw new Error(`${starting.length ? "several columns begin with" : "there is no column"} '${name}': ${known.join(", ")}`);
}

function comparison(name, sign, wanted, columns) {
  const place = placeOf(name, columns), column = columns[place];
  const number = Number(wanted), numeric = wanted.trim() !== "" && !Number.isNaN(number), text = wanted.toLowerCase();
  const equal = (value) => {
    if (typeof value === "number") return numeric && Math.abs(value - number) <= 5e-4 * Math.abs(number);
    const own = (typeof value === "object" ? JSON.stringify(value) : String(value)).toLowerCase();
    return own === text || own.split(", ").includes(text);
  };
  const ordered = {"<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b}[sign];
  if (ordered && !numeric) throw new Error(`'${wanted}' after ${sign} is not a number`);
  return (row) => {
    const value = valueOf(row, column, place);
    if (value === null) return false;
    if (ordered) return typeof value === "number" && ordered(value, number);
    if (sign === "~") return textOf(row, column, place).toLowerCase().includes(text);
    return sign === "!=" ? !equal(value) : equal(value);
  };
}

function anyCell(word, columns) {
  const text = word.toLowerCase();
  const limits = Object.hasOwn(WORDS, text) ? columns.findIndex((one) => one.key === "limits") : -1;
  if (limits >= 0) return (row) => row.cells[limits] === text;
  if (/^\d+$/.test(text)) return (row) => row.trials.includes(Number(text));
  const places = columns.flatMap((one, place) => (one.kind === "text" ? [place] : []));
  return (row) => places.some((place) => {
    const value = row.cells[place];
    return value !== null && value !== undefined && String(value).toLowerCase().includes(text);
  });
}

/** Return a function of a row: whether a filter such as "tp = 2 and complete" lets it through. Throws an Error. */
export function parseFilter(text, columns) {
  const left = tokens(text);
  const is = (word) => left[0]?.word?.toLowerCase() === word && !left[0].quoted;
  function either() {
    let found = both();
    while (is("or")) { left.shift(); const a = found, b = both(); found = (row) => a(row) || b(row); }
    return found;
  }
  function both() {
    let found = single();
    while (left.length && !is("or") && left[0].sign !== ")") {
      if (is("and")) left.shift();
      const a = found, b = single();
      found = (row) => a(row) && b(row);
    }
    return found;
  }
  function single() {
    if (is("not")) { left.shift(); const own = single(); return (row) => !own(row); }
    const first = left.shift();
    if (first === undefined) throw new Error("the filter ends too early");
    if (first.sign === "(") {
      const own = either();
      if (left.shift()?.sign !== ")") throw new Error("a ) is missing");
      return own;
    }
    if (first.sign) throw new Error(`a column is missing before ${first.sign}`);
    if (!left[0]?.sign || "()".includes(left[0].sign)) return anyCell(first.word, columns);
    const sign = left.shift().sign, wanted = left.shift();
    if (wanted?.word === undefined) throw new Error(`a value is missing after ${first.word} ${sign}`);
    return comparison(first.word, sign === "==" ? "=" : sign, wanted.word, columns);
  }
  if (!left.length) return () => true;
  const found = either();
  if (left.length) throw new Error(`'${left[0].word ?? left[0].sign}' is not expected here`);
  return found;
}
