// What stands around the pivot: data sets, statistics, costs, failures, provenance, downloads.

const SECTIONS = [["scores", "Scores"], ["compare", "Compare"], ["datasets", "Data sets"], ["statistics", "Statistics"], ["efficiency", "Efficiency"], ["further", "Further tables"],
  ["failures", "Failures"], ["provenance", "Provenance"], ["figures", "Figures"], ["downloads", "Downloads"]];

function byName(a, b) {
  return a.method.name.localeCompare(b.method.name, "en", { numeric: true });
}

function pointText(method, column, score, metric) {
  const lines = [method.spec, nameOf(column), `${metricText(metric)}: ${scoreText(score, metric)}`, score[2] === 1 ? "1 run: no spread" : `${score[2]} runs`];
  if (method.trained !== null) lines.push(`${method.trained.toLocaleString("en")} trained values`);
  return lines.join("\n");
}

const DRAWN = 10; // methods that a chart shows at first: more lines cannot be told apart

// `places` are columns of the view, of one data set, by rising number of labels.
function labelCurve(host, table, view, places) {
  places = places.filter((k) => table.columns[view.columns[k]].labels); // unknown of scores of others
  const columns = places.map((k) => table.columns[view.columns[k]]), metric = metricOf(view, columns[0]);
  const x = (column) => Math.log10(column.labels);
  const series = table.methods.map((method, m) => ({
    method, joined: true, points: places.map((k, i) => [view.scores[m][k], columns[i]]).filter(([score]) => score.length > 1)
      .map(([score, column]) => ({ x: x(column), y: score[0], spread: score[1], text: pointText(method, column, score, metric) })),
  })).filter((s) => s.points.length > 1);
  const best = sorted(series, (s) => s.points[s.points.length - 1].y, metric.less).slice(0, DRAWN);
  for (const s of series) s.off = !best.includes(s);
  if (!series.length) return;
  chart(host, {
    title: "Score against labels", series: series.sort(byName), xTicks: columns.map((c) => [x(c), `${c.labels}\n${c.share}`]),
    xLabel: "labels used (training + validation)", yLabel: metricText(metric),
    note: series.length > DRAWN ? `The ${DRAWN} best are drawn; press a name to show or hide a method. Bars: ± one standard deviation over runs.` : "Bars: ± one standard deviation over runs. Press a name to hide a method.",
  });
}

function pareto(points, less) {
  const sign = less ? -1 : 1, front = [];
  for (const [x, y] of [...points].sort((a, b) => a[0] - b[0] || sign * (b[1] - a[1]))) {
    if (!front.length || sign * y > sign * front[front.length - 1][1]) front.push([x, y]);
  }
  return front;
}

function parameters(host, table, view, k) {
  const column = table.columns[view.columns[k]], metric = metricOf(view, column);
  const scored = table.methods.map((method, m) => ({ method, score: view.scores[m][k] })).filter((s) => s.score.length > 1 && s.method.trained !== null);
  if (!scored.length) return;
  const positive = scored.map((s) => s.method.trained).filter((v) => v > 0);
  const first = positive.length ? Math.floor(Math.log10(Math.min(...positive))) : 0;
  const last = positive.length ? Math.ceil(Math.log10(Math.max(...positive))) : 1;
  const x = (trained) => trained > 0 ? Math.log10(trained) : first - .7;
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => [first + i, count(10 ** (first + i))]);
  if (scored.some((s) => s.method.trained === 0)) ticks.unshift([first - .7, "0"]);
  const series = scored.map(({ method, score }) => ({ method, points: [{ x: x(method.trained), y: score[0], spread: score[1], text: pointText(method, column, score, metric) }] })).sort(byName);
  chart(host, {
    title: `Score against trained values, ${column.share} of the labels`, series, xTicks: ticks,
    front: pareto(series.map((s) => [s.points[0].x, s.points[0].y]), metric.less), xLabel: "trained values without the head", yLabel: metricText(metric),
    note: "Grey: the Pareto front. Bars: ± one standard deviation over runs.",
  });
}

function drawDatasets() {
  const place = inside("datasets"), table = currentTable(), view = currentView();
  const names = [...new Set(view.columns.map((c) => table.columns[c].dataset))].filter((name) => !state.set || name === state.set);
  names.forEach((name, number) => {
    const places = view.columns.map((_, k) => k).filter((k) => table.columns[view.columns[k]].dataset === name)
      .sort((a, b) => table.columns[view.columns[a]].labels - table.columns[view.columns[b]].labels);
    const column = table.columns[view.columns[places[0]]], body = el("div", { class: "inside" });
    const section = el("details", { open: number === 0, class: "dataset", "data-name": name, ontoggle: draw },
      el("summary", {}, name, column.synthetic && el("span", { class: "badge" }, "synthetic"), el("span", { class: "hint" }, ` ${metricText(metricOf(view, column))}, ${places.map((k) => labelsOf(table.columns[view.columns[k]])).join(", ")}`)), body);
    // a chart is drawn at the width it has: not before its section is open
    function draw() {
      if (!section.open || body.childElementCount) return;
      if (column.synthetic) body.append(el("p", { class: "warn" }, "Synthetic images: they show that things work, and are no evidence about patients."));
      const curve = el("div", { class: "chart" }), front = el("div", { class: "chart" });
      body.append(el("div", { class: "charts" }, places.length > 1 && curve, front));
      if (places.length > 1) labelCurve(curve, table, view, places);
      const chosen = places.find((k) => table.columns[view.columns[k]].share === state.share) ?? places[places.length - 1];
      parameters(front, table, view, chosen);
    }
    place.append(section);
    draw();
  });
}

function drawStatistics() {
  const place = inside("statistics"), table = currentTable();
  if (table.statistics) place.append(...sheetTable(table.statistics));
  place.append(el("ul", {}, table.said.map((sentence) => el("li", {}, sentence))));
  if (table.ranks) place.append(...sheetTable(table.ranks));
  const costs = inside("efficiency");
  byId("efficiency").hidden = !table.ledger;
  if (table.ledger) costs.append(...sheetTable(table.ledger));
}

function drawFailures() {
  if (!data.failures.length) return;
  byId("failures").hidden = false;
  inside("failures").append(sortable([
    ["State", 0], ["Method", 1], ["Data set", 2], ["Labels", 3], ["Seed", 4], ["Backbone", 5], ["Reason", 6],
  ].map(([label, j]) => ({ name: `f${j}`, label, number: j === 4, key: (f) => f[j], cell: (f) => String(f[j]) })), data.failures, { caption: "Cells that failed, that their method cannot do (n/a), or whose records disagree" }));
}

function drawProvenance() {
  const place = inside("provenance");
  for (const table of data.tables) place.append(el("h3", {}, table.title), el("p", { class: "spec" }, table.caption));
  for (const { title, rows } of data.about) place.append(el("h3", {}, title), el("dl", {}, rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])));
}

const files = JSON.parse(byId("files").textContent);

async function unpacked(name) {
  const stream = new Blob([bytesOf(files[name])]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).blob();
}

async function save(name) {
  const href = URL.createObjectURL(await unpacked(name));
  el("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60000);
}

function drawDownloads() {
  const names = Object.keys(files), place = inside("downloads");
  const kinds = [["Tables", (n) => !n.endsWith(".svg") && !/^(licences|citations)/.test(n)], ["Figures", (n) => n.endsWith(".svg")], ["Whose work it is", (n) => /^(licences|citations)/.test(n)]];
  for (const [title, fits] of kinds) {
    const kept = names.filter(fits);
    if (kept.length) place.append(el("h3", {}, title), el("ul", { class: "files" }, kept.map((name) => el("li", {}, el("button", { type: "button", class: "link", "data-file": name, onclick: () => save(name) }, name)))));
  }
  if (data.beside?.length) place.append(el("h3", {}, "Beside this page, in its folder"), el("ul", { class: "files" }, data.beside.map((name) => el("li", {}, el("a", { href: encodeURIComponent(name) }, name)))));
  const drawings = names.filter((name) => name.endsWith(".svg"));
  byId("figures").hidden = !drawings.length;
  inside("figures").append(...drawings.map((name) => {
    const host = el("div", { class: "inside" });
    const section = el("details", { class: "drawing", async ontoggle() {
      if (!section.open || host.childElementCount) return;
      const picture = el("img", { alt: name, src: URL.createObjectURL(await unpacked(name)) });
      host.append(picture);
    } }, el("summary", {}, name.replace(/\.svg$/, "")), host);
    return section;
  }));
}

function describe() {
  const states = Object.entries(data.counts).map(([word, number]) => `${number.toLocaleString("en")} ${word}`).join(", ");
  const distinct = (list) => new Set(list).size;
  byId("summary").textContent = `Cells: ${states}. ${plural(distinct(data.tables.flatMap((t) => t.methods.map((m) => m.spec))), "method")}, `
    + `${plural(distinct(data.tables.flatMap((t) => t.columns.map((c) => c.dataset))), "data set")}, ${plural(data.tables.length, "table")} (backbone and image size). Chosen by: ${data.rule}.`;
  for (const fault of data.faults) byId("faults").append(el("p", { class: "warn" }, `Not used: ${fault}`));
  byId("sections").append(...SECTIONS.filter(([id]) => !byId(id).hidden).map(([id, text]) =>
    // the address holds what was chosen: a link of the usual kind would write over it
    el("button", { type: "button", class: "link", onclick: () => byId(id).scrollIntoView() }, text)));
  if (data.sheets.length) byId("further").hidden = false;
  inside("further").append(...data.sheets.flatMap(sheetTable));
}

drawFailures();
drawProvenance();
drawDownloads();
if (data.tables.length) {
  whenever((changed) => {
    document.documentElement.dataset.theme = state.theme;
    if (changed("table", "metric", "share", "set", "gaps", "theme") || (changed("q") && byId("q")?.value !== state.q)) controls();
    if (changed("table", "metric", "share", "set", "gaps", "q", "sort", "entry")) pivot();
    if (changed("table", "entry")) drawEntry();
    if (changed("table", "a", "b", "col")) drawCompare();
    if (changed("table", "metric", "share", "set")) drawDatasets();
    if (changed("table")) drawStatistics();
  });
}
describe();
byId("filters").addEventListener("submit", (event) => event.preventDefault());
document.documentElement.dataset.ready = String(Math.round(performance.now()));
