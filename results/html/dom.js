"use strict";
// Elements, numbers and sortable tables. Text from the records only ever becomes text nodes.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function byId(id) {
  return document.getElementById(id);
}

// The place of a section below its heading, emptied.
function inside(id) {
  const place = document.querySelector(`#${id} > div`);
  place.replaceChildren();
  return place;
}

function hint(...children) {
  return el("p", { class: "hint" }, ...children);
}

function count(value) {
  if (value === null) return "";
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return Number((value / size).toPrecision(3)) + unit;
  }
  return String(value);
}

function plural(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

function capital(text) {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

function signed(value, decimals) {
  // the true minus: a hyphen is easily read over
  return (value > 0 ? "+" : value < 0 ? "\u2212" : "") + Math.abs(value).toFixed(decimals);
}

function pValue(p) {
  return p === null ? "" : p < .001 ? "< .001" : p.toFixed(3).replace(/^0/, "");
}

// Missing values stand last in both directions; equal ones keep their order.
function sorted(rows, key, ascending) {
  const sign = ascending ? 1 : -1;
  const collator = new Intl.Collator("en", { numeric: true });
  const none = (v) => v === null || v === undefined || v === "";
  return rows
    .map((row, place) => ({ row, place, value: key(row) }))
    .sort((a, b) => {
      if (none(a.value) || none(b.value)) return none(a.value) - none(b.value) || a.place - b.place;
      const order = typeof a.value === "number" ? a.value - b.value : collator.compare(a.value, b.value);
      return sign * order || a.place - b.place;
    })
    .map((entry) => entry.row);
}

// A table whose headers sort it. `columns`: {name, label, number, key(row), cell(row), rising, over};
// `over` is a heading above the label, one for neighbours that share it. `line(row)` gives
// attributes of a row; `sort` is [name, ascending] to start with.
function sortable(columns, rows, { caption = "", sort = [null, true], line = () => ({}), onSort = () => {} } = {}) {
  let [by, ascending] = sort;
  const body = el("tbody");
  const heads = columns.map((column) => {
    const label = column.key ? el("button", { type: "button", class: "sort", onclick: () => turn(column) }, column.label) : column.label;
    return el("th", { scope: "col", class: column.number && "number", "data-name": column.name }, label);
  });
  const groups = [];
  for (const column of columns) {
    const last = groups[groups.length - 1];
    if (last && last.over === (column.over ?? "") && column.over) last.span += 1;
    else groups.push({ over: column.over ?? "", span: 1, number: column.number });
  }
  const above = groups.some((g) => g.over) && el("tr", {}, groups.map((g) =>
    el("th", { colspan: g.span, scope: g.over ? "colgroup" : "col", class: g.over ? "over" : "" }, g.over)));
  const table = el("table", {}, caption && el("caption", {}, caption), el("thead", {}, above, el("tr", {}, heads)), body);

  function turn(column) {
    ascending = by === column.name ? !ascending : column.rising !== false;
    by = column.name;
    draw();
    onSort(by, ascending);
  }

  function draw() {
    const column = columns.find((c) => c.name === by && c.key);
    body.replaceChildren(...(column ? sorted(rows, column.key, ascending) : rows).map((row) =>
      el("tr", line(row), columns.map((c, i) =>
        el(i ? "td" : "th", { scope: !i && "row", class: c.number && "number", "data-name": c.name }, [c.cell(row)].flat())))));
    heads.forEach((head, i) => {
      if (column && columns[i].name === by) head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
  }

  draw();
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption || "table" }, table);
}

// A table as `results.html.contents.sheet_values` gives it.
function sheetTable(sheet) {
  const columns = sheet.header.map((label, j) => ({
    name: `c${j}`, label, number: sheet.numeric[j] || (j > 0 && sheet.rows.every((row) => !/[a-z]{4}/i.test(row[j]))),
    key: (i) => sheet.numeric[j] ? sheet.keys[i][j] : sheet.rows[i][j], cell: (i) => marked(sheet.rows[i][j]),
  }));
  return [sortable(columns, sheet.rows.map((_, i) => i), { caption: sheet.title }), hint(sheet.note)];
}

// "71.5*" becomes a bold 71.5; other marks stay behind their number.
function marked(text) {
  return /\d\*/.test(text) ? el("b", {}, text.replace("*", "")) : text;
}
