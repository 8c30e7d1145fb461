// The page: leaderboard, a section per data set, statistics, costs, provenance, downloads.

// Column by column, the better first; what has no score stands below everything that has one.
const entries = sorted(data.tables.flatMap((table) => table.columns.flatMap((column, c) =>
  sorted(table.methods.map((method, m) => ({ table, column, method, score: table.scores[m][c] })),
    (row) => row.score[0], column.less))), (row) => row.score[0] === null ? null : 0, true);
const setting = (table) => `${table.backbone}, ${table.size} px`;

function badge(column) {
  return column.synthetic ? el("span", { class: "badge" }, "synthetic") : null;
}

function scoreCell(row) {
  const text = scoreText(row.score);
  if (row.score[0] === null) return el("span", { class: "none" }, text);
  return row.score[4] === "best" ? el("b", {}, text) : text;
}

function standing(row) {
  const once = row.score[2] === 1 ? "n = 1" : "";
  return [row.score[4], once].filter(Boolean).join(", ");
}

const BOARD = [
  { name: "method", label: "Method", key: (r) => r.method.name, cell: (r) => el("span", { class: "spec", title: r.method.spec }, r.method.name) },
  { name: "dataset", label: "Data set", key: (r) => r.column.dataset, cell: (r) => r.column.synthetic ? [r.column.dataset + " ", badge(r.column)] : r.column.dataset },
  { name: "labels", label: "Labels", number: true, key: (r) => r.column.labels, cell: (r) => `${r.column.share} (${r.column.labels})` },
  { name: "backbone", label: "Backbone", key: (r) => setting(r.table), cell: (r) => setting(r.table) },
  { name: "metric", label: "Metric", key: (r) => r.column.metric, cell: (r) => r.column.metric + (r.column.less ? " (less is better)" : "") },
  { name: "score", label: "Score", number: true, rising: false, key: (r) => r.score[0], cell: scoreCell },
  { name: "standing", label: "Standing", key: standing, cell: standing },
  { name: "seeds", label: "Seeds", number: true, rising: false, key: (r) => r.score[2] || null, cell: (r) => String(r.score[2] || "") },
  { name: "trials", label: "Trials", number: true, rising: false, key: (r) => r.score[5], cell: (r) => String(r.score[5] ?? "") },
  { name: "trained", label: "Trained", number: true, key: (r) => r.method.trained, cell: (r) => r.method.trained === null ? "" : `${count(r.method.trained)} (${r.method.share})` },
  { name: "stored", label: "Stored", number: true, key: (r) => parseFloat(r.method.stored) || null, cell: (r) => r.method.stored.split(" (")[0] },
];

function leaderboard() {
  const order = el("select", { id: "order", onchange: () => { const [name, way] = order.value.split(" "); board.sort(name, way === "up"); } },
    el("option", { value: "" }, "as in the tables"),
    ...BOARD.flatMap((c) => [["up", "rising"], ["down", "falling"]].map(([way, word]) => el("option", { value: `${c.name} ${way}` }, `${c.label}, ${word}`))));
  const same = BOARD.filter((c) => ["backbone", "metric"].includes(c.name) && new Set(entries.map(c.key)).size === 1);
  const board = sortable(byId("board"), BOARD.filter((c) => !same.includes(c)), {
    caption: ["Test score (x 100 where it is a share), mean ± standard deviation over seeds", ...same.map((c) => `${c.label.toLowerCase()}: ${c.cell(entries[0])}`)].join("; "), cards: true, most: 300,
    onSort: (by, ascending) => { order.value = by ? `${by} ${ascending ? "up" : "down"}` : ""; },
  });
  const search = el("input", { type: "search", id: "search", autocomplete: "off", placeholder: "method, data set …" });
  const choices = [
    ["method", "Method", (r) => r.method.name], ["dataset", "Data set", (r) => r.column.dataset],
    ["fraction", "Labels", (r) => r.column.share], ["backbone", "Backbone", (r) => setting(r.table)],
    ["metric", "Metric", (r) => r.column.metric], ["state", "State", (r) => r.score[0] === null ? r.score[3] : "scored"],
  ].map(([id, label, key]) => {
    const values = sorted([...new Set(entries.map(key))], (v) => v, true);
    const select = el("select", { id: `filter-${id}` }, el("option", { value: "" }, "all"), ...values.map((v) => el("option", { value: v }, v)));
    return { label, key, select, useful: values.length > 1 };
  });

  function update() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const active = choices.filter((c) => c.select.value);
    const kept = entries.filter((row) => {
      const text = `${row.method.spec} ${row.column.dataset} ${row.table.backbone} ${row.column.metric} ${row.column.share} ${row.score[3]} ${standing(row)}`.toLowerCase();
      return words.every((w) => text.includes(w)) && active.every((c) => c.key(row) === c.select.value);
    });
    byId("shown").textContent = `${kept.length} of ${entries.length} rows`;
    board.show(kept);
  }

  const form = byId("filters");
  form.append(el("label", { class: "text" }, "Search", search),
    ...choices.filter((c) => c.useful).map((c) => el("label", {}, c.label, c.select)),
    el("label", { class: "sorter" }, "Order", order),
    el("button", { type: "reset", class: "plain reset" }, "Reset"));
  search.addEventListener("input", update);
  for (const { select } of choices) select.addEventListener("change", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { board.sort("", true); update(); }));
  update();
}

function byName(a, b) {
  return a.method.name.localeCompare(b.method.name, "en", { numeric: true });
}

function pointText(table, method, column, score) {
  const lines = [method.spec, `${column.dataset}${column.synthetic ? " (synthetic)" : ""}, ${column.share} (${column.labels} labels)`];
  lines.push(`${metricText(column)}: ${scoreText(score)}`, `${score[2]} ${score[2] === 1 ? "seed: no spread" : "seeds"}`);
  if (method.trained !== null) lines.push(`${method.trained.toLocaleString("en")} trained values (${method.share})`);
  return lines.join("\n");
}

function labelCurve(host, table, places) {
  const x = (column) => Math.log10(column.labels);
  const series = table.methods.map((method, m) => {
    const points = places.filter((c) => table.scores[m][c][0] !== null).map((c) => {
      const column = table.columns[c], score = table.scores[m][c];
      return { x: x(column), y: score[0], spread: score[1], text: pointText(table, method, column, score) };
    });
    return { method, points, joined: true, off: points.length < 2 };
  }).filter((s) => s.points.length).sort(byName);
  const columns = places.map((c) => table.columns[c]);
  const single = series.filter((s) => s.off).length;
  chart(host, {
    title: "Score against labels" + (single ? ` (${single} methods with one point: press their name)` : ""), series,
    xTicks: columns.map((c) => [x(c), `${c.labels}\n${c.share}`]), xLabel: "labels used (training + validation)", yLabel: metricText(columns[0]),
  });
}

function pareto(points, less) {
  const sign = less ? -1 : 1, front = [];
  for (const [x, y] of [...points].sort((a, b) => a[0] - b[0] || sign * (b[1] - a[1]))) {
    if (!front.length || sign * y > sign * front[front.length - 1][1]) front.push([x, y]);
  }
  return front;
}

function parameters(host, table, c) {
  const column = table.columns[c];
  const scored = table.methods.map((method, m) => ({ method, score: table.scores[m][c] })).filter((s) => s.score[0] !== null && s.method.trained !== null);
  const positive = scored.map((s) => s.method.trained).filter((v) => v > 0);
  const first = positive.length ? Math.floor(Math.log10(Math.min(...positive))) : 0;
  const last = positive.length ? Math.ceil(Math.log10(Math.max(...positive))) : 1;
  const x = (trained) => trained > 0 ? Math.log10(trained) : first - .7;
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => [first + i, count(10 ** (first + i))]);
  if (scored.some((s) => s.method.trained === 0)) ticks.unshift([first - .7, "0"]);
  const series = scored.map(({ method, score }) => ({ method, points: [{ x: x(method.trained), y: score[0], spread: score[1], text: pointText(table, method, column, score) }] })).sort(byName);
  chart(host, {
    title: `Score against trained parameters, ${column.share} of the labels`, series, xTicks: ticks,
    front: pareto(series.map((s) => [s.points[0].x, s.points[0].y]), column.less), xLabel: "trained parameters (grey: Pareto front)", yLabel: metricText(column),
  });
}

function matrix(host, table, places) {
  const columns = [
    { name: "method", label: "Method", key: (r) => r.method.name, cell: (r) => el("span", { class: "spec", title: r.method.spec }, r.method.name) },
    ...places.map((c) => ({
      name: `c${c}`, label: `${table.columns[c].share} (${table.columns[c].labels})`, number: true, rising: table.columns[c].less, key: (r) => r.scores[c][0],
      cell: (r) => [scoreCell({ score: r.scores[c] }), r.scores[c][4] === "tied" ? " *" : ""],
    })),
    { name: "trained", label: "Trained", number: true, key: (r) => r.method.trained, cell: (r) => r.method.trained === null ? "" : `${count(r.method.trained)} (${r.method.share})` },
    { name: "stored", label: "Stored", number: true, key: (r) => parseFloat(r.method.stored) || null, cell: (r) => r.method.stored },
  ];
  const rows = table.methods.map((method, m) => ({ method, scores: table.scores[m] })).filter((r) => places.some((c) => r.scores[c][3] !== "missing"));
  const made = sortable(host, columns, { caption: `${metricText(table.columns[places[0]])}, mean ± standard deviation over seeds; bold: best, *: tied with it, no ±: one seed` });
  made.show(rows);
  made.sort(`c${places[places.length - 1]}`);
}

function dataset(table, name, open) {
  const places = table.columns.map((_, c) => c).filter((c) => table.columns[c].dataset === name).sort((a, b) => table.columns[a].labels - table.columns[b].labels);
  const column = table.columns[places[0]];
  const inside = el("div", { class: "inside" });
  const section = el("details", { open, class: "dataset", "data-name": name },
    el("summary", {}, `${name} `, badge(column), el("span", { class: "hint" }, ` ${setting(table)}, ${metricText(column)}, ${places.length} label ${places.length === 1 ? "fraction" : "fractions"}`)), inside);
  let drawn = false;
  function draw() {
    if (drawn || !section.open) return;
    drawn = true;
    const scores = el("div"), curve = el("div", { class: "chart" }), front = el("div", { class: "chart" });
    const choice = el("select", { "aria-label": "Label fraction of the chart", onchange: () => parameters(front, table, Number(choice.value)) },
      ...places.map((c) => el("option", { value: c, selected: c === places[places.length - 1] }, `${table.columns[c].share} (${table.columns[c].labels})`)));
    if (column.synthetic) inside.append(el("p", { class: "warn" }, "Synthetic images: they show that things work, and are no evidence about patients."));
    inside.append(scores, ...places.map((c) => el("p", { class: "hint" }, `Best or tied on ${table.columns[c].share}: ${table.columns[c].tied.join(", ") || "untold, no method has several seeds"}.`)),
      el("div", { class: "charts" }, el("div", {}, curve), el("div", {}, front, places.length > 1 ? el("label", { class: "hint" }, "Labels: ", choice) : null)));
    matrix(scores, table, places);
    if (places.length > 1) labelCurve(curve, table, places);
    parameters(front, table, places[places.length - 1]);
  }
  section.addEventListener("toggle", draw);
  return { section, draw };
}

const COSTS = [
  ["trained", "Trained", count], ["share", "Share", (v) => v.toFixed(2) + "%"], ["active", "Active", count], ["stored", "MiB stored", (v) => v.toFixed(2)],
  ["gflop", "GFLOP", (v) => v.toFixed(1)], ["images_per_s", "Images/s", (v) => v.toFixed(0)], ["latency", "Inference", (v) => v.toFixed(2) + "x"], ["merged", "Merged", (v) => v.toFixed(2) + "x"],
  ["seconds", "Train s", (v) => v.toFixed(0)], ["searched", "With search s", (v) => v.toFixed(0)], ["peak", "Peak MiB", (v) => v.toFixed(0)], ["score", "Score", (v) => v.toFixed(1)],
  ["ppt", "PPT", (v) => v.toFixed(1)], ["ppe", "PPE", (v) => v.toFixed(1)], ["pme", "PME", (v) => v.toFixed(1)],
];

function costs(table) {
  const host = byId("efficiency"), rows = table.ledger.entries;
  const names = new Map(table.methods.map((m) => [m.spec, m.name]));
  host.append(el("h3", {}, `${setting(table)}, ${table.ledger.devices.join(", ")}`));
  sortable(host, [
    { name: "method", label: "Method", key: (r) => names.get(r.method), cell: (r) => names.get(r.method) + (r.best ? " *" : "") },
    ...COSTS.filter(([name]) => rows.some((r) => r[name] !== null)).map(([name, label, text]) => ({
      name, label, number: true, key: (r) => r[name], cell: (r) => r[name] === null ? "" : text(r[name]) })),
  ], { caption: "" }).show(rows);
  host.append(el("p", { class: "hint" }, table.ledger.caption));
}

function describe() {
  const states = Object.entries(data.counts).map(([state, number]) => `${number.toLocaleString("en")} ${state}`).join(", ");
  const sets = new Set(data.tables.flatMap((t) => t.columns.map((c) => c.dataset))).size;
  const specs = new Set(data.tables.flatMap((t) => t.methods.map((m) => m.spec))).size;
  byId("summary").textContent = `Cells: ${states}. ${specs} methods, ${sets} data sets, ${data.tables.length} ${data.tables.length === 1 ? "backbone and image size" : "backbones and image sizes"}.`;
  for (const fault of data.faults) byId("faults").append(el("p", { class: "warn" }, `Unreadable record: ${fault}`));
  for (const table of data.tables) byId("statistics").append(el("pre", { tabindex: 0 }, table.statistics));
  for (const note of data.notes) byId("statistics").append(el("pre", { tabindex: 0 }, note));
  const about = byId("provenance");
  for (const table of data.tables) about.append(el("h3", {}, setting(table)), el("p", { class: "spec" }, table.caption));
  for (const { title, rows } of data.about) about.append(el("h3", {}, title), el("dl", {}, ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])));
  for (const [name, text] of Object.entries(data.files)) {
    const href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
    byId("files").append(el("li", {}, el("a", { href, download: name }, name), ` ${(text.length / 1024).toFixed(1)} kB`));
  }
}

describe();
leaderboard();
let first = true;
for (const table of data.tables) {
  for (const name of new Set(table.columns.map((c) => c.dataset))) {
    const made = dataset(table, name, first);
    byId("sets").append(made.section);
    made.draw();
    first = false;
  }
  costs(table);
}
document.documentElement.dataset.ready = String(Math.round(performance.now()));
