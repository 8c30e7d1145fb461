"use strict";
// Elements, numbers and sorting. Text from the records only ever becomes text nodes.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
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

function count(value) {
  if (value === null) return "";
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return Number((value / size).toPrecision(3)) + unit;
  }
  return String(value);
}

function scoreText([mean, spread, , reason, , , decimals]) {
  if (mean === null) return reason;
  return mean.toFixed(decimals) + (spread === null ? "" : " ± " + spread.toFixed(decimals));
}

function metricText(column) {
  return column.metric + (column.percent ? " x 100" : "") + (column.less ? ", less is better" : "");
}

// Missing values stand last in both directions; equal ones keep their order.
function sorted(rows, key, ascending) {
  const sign = ascending ? 1 : -1;
  const collator = new Intl.Collator("en", { numeric: true });
  return rows
    .map((row, place) => ({ row, place, value: key(row) }))
    .sort((a, b) => {
      const none = (v) => v === null || v === undefined || v === "";
      if (none(a.value) || none(b.value)) return none(a.value) - none(b.value) || a.place - b.place;
      const order = typeof a.value === "number" ? a.value - b.value : collator.compare(a.value, b.value);
      return sign * order || a.place - b.place;
    })
    .map((entry) => entry.row);
}

// A table whose headers sort it. `columns`: {name, label, number, key(row), cell(row), rising};
// `most` rows are built at once, a button shows the rest.
function sortable(host, columns, { caption, cards = false, most = Infinity, onSort = () => {} }) {
  const body = el("tbody", cards ? { role: "rowgroup" } : {});
  const heads = columns.map((column) =>
    el("th", { scope: "col", role: cards && "columnheader", class: column.number && "number" },
      el("button", { type: "button", class: "sort", onclick: () => api.sort(column.name) }, column.label)));
  const more = el("button", { type: "button", class: "plain", id: cards ? "more" : null, onclick: () => { all = true; draw(); } });
  const table = el("table", { class: cards ? "wide cards" : "wide", role: cards && "table" },
    el("thead", {}, el("tr", { role: cards && "row" }, ...heads)), body);
  let rows = [], by = null, ascending = true, all = false;

  function line(row) {
    return el("tr", { role: cards && "row" }, ...columns.map((column) => {
      const shown = column.cell(row);
      return el("td", { role: cards && "cell", class: column.number && "number", "data-name": column.name, "data-label": column.label },
        ...(Array.isArray(shown) ? shown : [shown]));
    }));
  }

  function draw() {
    const column = columns.find((c) => c.name === by);
    const ordered = column ? sorted(rows, column.key, ascending) : rows;
    const kept = all ? ordered : ordered.slice(0, most);
    body.replaceChildren(...kept.map(line));
    more.textContent = `Show all ${ordered.length} rows`;
    more.hidden = kept.length === ordered.length;
    heads.forEach((head, i) => {
      if (columns[i].name === by) head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    onSort(by, ascending);
  }

  const api = {
    show(found) { rows = found; draw(); },
    sort(name, direction) {
      const column = columns.find((c) => c.name === name);
      const first = column ? column.rising !== false : true;
      ascending = direction ?? (by === name ? !ascending : first);
      by = column ? name : null;
      draw();
    },
  };
  host.append(caption ? el("p", { class: "hint" }, caption) : "", el("div", { class: "scroll" }, table), more);
  return api;
}
