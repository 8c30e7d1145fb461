// The first thing on the page: methods x columns, with average ranks and scores and their intervals.

function select(id, label, options) {
  const box = el("select", { id, onchange: () => choose({ [id]: box.value }) }, options.map(([value, text]) => el("option", { value }, text)));
  return { box, options, label: el("label", {}, label, box) };
}

function controls() {
  const table = currentTable(), form = byId("filters");
  const own = [...new Set(table.columns.map((c) => c.metric))];
  const ownText = own.length === 1 ? capital(data.metrics[own[0]].label) : "each data set's own";
  const distinct = (key) => [...new Set(table.columns.map(key))];
  const choices = [
    select("table", "Backbone", data.tables.map((t, i) => [String(i), t.size ? `${t.backbone}, ${t.size} px` : t.backbone])),
    select("metric", "Metric", table.views.map((v) => [v.metric, v.metric ? capital(data.metrics[v.metric].label) : ownText])),
    select("share", "Labels", [["", "all fractions"], ...distinct((c) => c.share).map((v) => [v, v])]),
    select("set", "Data set", [["", "all data sets"], ...distinct((c) => c.dataset).map((v) => [v, v])]),
  ];
  const search = el("input", { type: "search", id: "q", autocomplete: "off", placeholder: "name, name …", value: state.q, oninput: () => choose({ q: search.value }, true) });
  const gaps = el("input", { type: "checkbox", id: "gaps", checked: Boolean(state.gaps), onchange: () => choose({ gaps: gaps.checked ? "1" : "" }) });
  const theme = select("theme", "Colours", [["", "as the system"], ["light", "light"], ["dark", "dark"]]);
  const cleared = { metric: "", share: "", set: "", q: "", gaps: "", sort: "" };
  form.replaceChildren(
    ...choices.filter((c) => c.options.length > 1 + (c.options[0][1].startsWith("all"))).map((c) => c.label),
    el("label", {}, "Methods", search), theme.label,
    el("label", { class: "check" }, gaps, "with missing entries"),
    el("button", { type: "button", class: "plain", id: "reset", onclick: () => choose(cleared) }, "Reset"));
  for (const { box } of [...choices, theme]) box.value = state[box.id];
}

// The rows of the pivot: methods that have a score somewhere, by the order of the first table.
function rowsOf(table, view, places) {
  const words = state.q.toLowerCase().split(/[,\s]+/).filter(Boolean);
  const fits = (method) => !words.length || words.some((w) => `${method.name} ${method.spec}`.toLowerCase().includes(w));
  const all = table.methods.map((method, m) => ({ method, m, scores: places.map((k) => view.scores[m][k]) })).filter((r) => fits(r.method));
  const scored = all.filter((r) => r.scores.some((s) => s.length > 1));
  const whole = scored.filter((r) => r.scores.every((s) => s.length > 1));
  // without one complete method there would be nothing to see
  const kept = state.gaps ? all : whole.length ? whole : scored;
  return { kept, hidden: all.length - kept.length };
}

function interval(low, high, decimals) {
  return low === null ? null : el("small", {}, ` ${low.toFixed(decimals)} to ${high.toFixed(decimals)}`);
}

function scoreCell(score, metric, chosen, open) {
  if (score.length === 1) {
    return score[0] === "missing" ? el("span", { class: "none" }, state.gaps ? "missing" : "") : el("button", { type: "button", class: "cell none", onclick: open }, score[0]);
  }
  const [mean, spread, , marks] = score;
  const number = mean.toFixed(metric.decimals), others = marks.replace("*", "");
  return el("button", { type: "button", class: "cell", "aria-pressed": String(chosen), onclick: open },
    marks.includes("*") ? el("b", {}, number) : number,
    spread === null ? null : el("small", {}, ` ± ${spread.toFixed(metric.decimals)}`),
    others && el("span", { class: "mark" }, others));
}

function sumOf(view) {
  // of one data set at one share there is nothing to sum up
  return state.share && state.set ? null : view.sums[state.share ? `share ${state.share}` : state.set ? `set ${state.set}` : ""];
}

function pivotColumns(table, view, places) {
  const sum = sumOf(view), known = (j) => sum && sum.rows.some((row) => row[j] !== null);
  const metrics = places.map((k) => metricOf(view, table.columns[view.columns[k]]));
  const columns = [{ name: "method", label: "Method", key: (r) => r.method.name,
    cell: (r) => el("button", { type: "button", class: "name", title: r.method.spec, onclick: () => pick(r.m) }, icon(r.method), el("span", {}, r.method.name)) }];
  if (known(0)) columns.push({ name: "rank", label: "Rank", over: "Over these columns", number: true, key: (r) => sum.rows[r.m][0],
    cell: (r) => { const [rank, first, last] = sum.rows[r.m]; return rank === null ? "" : [rank.toFixed(1), first === null ? null : el("small", {}, ` ${first} to ${last}`)]; } });
  if (known(3) && places.length > 1) columns.push({ name: "mean", label: "Average", over: "Over these columns", number: true, rising: metrics[0].less, key: (r) => sum.rows[r.m][3],
    cell: (r) => { const [, , , mean, low, high] = sum.rows[r.m]; return mean === null ? "" : [mean.toFixed(sum.decimals), interval(low, high, sum.decimals)]; } });
  places.forEach((k, i) => {
    const c = view.columns[k], column = table.columns[c], metric = metrics[i];
    const over = `${column.dataset}${column.synthetic ? " (synthetic)" : ""}: ${metric.label}${metric.less ? " \u2193" : ""}`;
    columns.push({ name: `c${c}`, label: labelsOf(column), over, number: true, rising: metric.less, key: (r) => r.scores[i][0] === null || r.scores[i].length === 1 ? null : r.scores[i][0],
      cell: (r) => scoreCell(r.scores[i], metric, state.entry === `${r.m},${c}`, () => openEntry(r.m, c)) });
  });
  if (table.methods.some((m) => m.trained !== null)) {
    columns.push(
      { name: "trained", label: "Trained", over: "Costs", number: true, key: (r) => r.method.trained, cell: (r) => r.method.trained === null ? "" : [count(r.method.trained), el("small", {}, ` ${r.method.share.toPrecision(3)} %`)] },
      { name: "stored", label: "MiB", over: "Costs", number: true, key: (r) => r.method.stored, cell: (r) => r.method.stored === null ? "" : r.method.stored.toPrecision(3) });
  }
  return columns;
}

// A method's name puts it into the comparison: first one side, then the other.
function pick(m) {
  choose(state.a === "" || state.b !== "" ? { a: String(m), b: "" } : { b: String(m) });
  byId("compare").scrollIntoView();
}

function openEntry(m, c) {
  choose({ entry: state.entry === `${m},${c}` ? "" : `${m},${c}` });
  if (state.entry) byId("entry").scrollIntoView({ block: "nearest" });
}

function pivotSort(columns) {
  const [name, way] = state.sort.split(" ");
  if (columns.some((c) => c.name === name)) return [name, way !== "down"];
  const first = columns.find((c) => c.name === "rank") ?? columns.find((c) => c.name.startsWith("c"));
  return first ? [first.name, first.rising !== false] : [null, true];
}

function pivot() {
  const table = currentTable(), view = currentView(), places = currentPlaces(view);
  const { kept, hidden } = rowsOf(table, view, places);
  const columns = pivotColumns(table, view, places);
  const shown = byId("shown");
  shown.replaceChildren(`${kept.length} of ${plural(table.methods.length, "method")}, ${plural(places.length, "column")}. `);
  if (hidden && !state.gaps && !state.q) {
    shown.append(`${plural(hidden, "method")} without a score in some of them ${hidden === 1 ? "is" : "are"} hidden: `,
      el("button", { type: "button", class: "link", id: "showgaps", onclick: () => choose({ gaps: "1" }) }, "show"));
  }
  const place = byId("pivot"), scroll = place.querySelector(".scroll")?.scrollLeft ?? 0;
  place.replaceChildren(sortable(columns, kept, {
    caption: `Test scores on ${table.title}`, sort: pivotSort(columns), onSort: (by, up) => choose({ sort: `${by} ${up ? "up" : "down"}` }),
  }));
  place.querySelector(".scroll").scrollLeft = scroll;
  byId("legend").replaceChildren(...legend(table, view, places, columns));
}

function legend(table, view, places, columns) {
  const sum = sumOf(view), used = new Set(places.flatMap((k) => table.methods.map((_, m) => view.scores[m][k][3] ?? "")).join(""));
  const words = [];
  const known = (j) => sum && sum.rows.some((row) => row[j] !== null);
  if (known(0)) words.push(`Rank 1 is best, mean over these columns${known(1) ? "; behind it the places that 95 % joint confidence leaves open by mean score" : ""}.`);
  if (columns.some((c) => c.name === "mean")) words.push(`Average: mean over these columns${known(4) ? ", with its 95 % interval over test patients and seeds" : "; an interval takes several seeds in each of them"}.`);
  if (view.metric && !table.resampled) words.push("Intervals are left out for metrics other than each data set's own: `report --metric` gives them.");
  if (sum && sum.difference !== null) words.push(`Friedman p ${sum.friedman < .001 ? "< .001" : `= ${sum.friedman}`}; Nemenyi's critical difference: ${sum.difference} of average ranks over ${sum.sets} data sets, each by its mean over these columns.`);
  words.push("Scores: mean ± standard deviation over runs; shares x 100.");
  const marks = Object.entries(data.marks).filter(([mark]) => used.has(mark)).map(([mark, meaning]) => mark === "*" ? `bold: ${meaning}` : `${mark} ${meaning}`);
  if (marks.length) words.push(`Marks: ${marks.join("; ")}.`);
  const levels = view.metric ? [] : places.map((k) => table.columns[view.columns[k]]).filter((c) => c.chance !== null).map((c) => `${c.dataset} ${c.chance.toFixed(1)}`);
  if (levels.length) words.push(`Reached without a look at the image: ${[...new Set(levels)].join(", ")}.`);
  return [hint(words.join(" ")), hint("Press a score for its runs, command and curves; press a method's name to compare it with another.")];
}

// On paper a table cannot be scrolled: its columns come in parts that fit A4, the names in each.
const PRINTED = 10;

function printedPivot() {
  const table = currentTable(), view = currentView(), places = currentPlaces(view);
  const { kept } = rowsOf(table, view, places), columns = pivotColumns(table, view, places);
  const sort = pivotSort(columns), by = columns.find((c) => c.name === sort[0]);
  const rows = by ? sorted(kept, by.key, sort[1]) : kept;
  const parts = [];
  for (let i = 1; i < columns.length; i += PRINTED) parts.push([columns[0], ...columns.slice(i, i + PRINTED)]);
  return parts.map((part, i) => sortable(part, rows, { caption: `Test scores on ${table.title}${parts.length > 1 ? `, part ${i + 1} of ${parts.length}` : ""}` }));
}

addEventListener("beforeprint", () => byId("pivot").append(el("div", { class: "paper" }, printedPivot())));
addEventListener("afterprint", () => { for (const made of document.querySelectorAll(".paper")) made.remove(); });
