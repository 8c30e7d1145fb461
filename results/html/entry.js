// One entry: its runs, the command that makes it again, confusion, reliability and training.

const entryOf = (m, c) => currentTable().entries[`${m},${c}`] ?? {};

function copied(text) {
  const button = el("button", { type: "button", class: "plain", onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch { // not every browser lets a page from disk write to the clipboard
      getSelection().selectAllChildren(code);
      button.textContent = "selected";
    }
  } }, "Copy");
  const code = el("code", {}, text);
  return el("div", { class: "command" }, code, button);
}

function commandOf(m, c) {
  const table = currentTable(), rest = table.commands[`${m},${c}`], runs = table.runs.found[`${m},${c}`];
  if (rest === undefined || !runs) return null;
  const chosen = runs.slice(1).filter((run) => run[3]);
  const distinct = (j) => [...new Set(chosen.map((run) => run[j]))].sort((a, b) => a - b).join(",");
  return `${table.command}${rest} --split-seeds ${distinct(1)} --seeds ${distinct(0)}`;
}

function runsTable(m, c) {
  const table = currentTable(), found = table.runs.found[`${m},${c}`];
  if (!found) return null;
  const [used, ...runs] = found, metrics = used.map((i) => data.metrics[table.runs.metrics[i]]);
  const several = (j) => new Set(runs.map((run) => run[j])).size > 1;
  return sortable([
    { name: "seed", label: "Seed", number: true, key: (r) => r[0], cell: (r) => String(r[0]) },
    ...several(1) ? [{ name: "split", label: "Split", number: true, key: (r) => r[1], cell: (r) => String(r[1]) }] : [],
    ...several(2) ? [{ name: "trial", label: "Trial", number: true, key: (r) => r[2], cell: (r) => `${r[2]}${r[3] ? " chosen" : ""}` }] : [],
    ...metrics.map((metric, i) => ({ name: `m${i}`, label: capital(metric.label), number: true, rising: metric.less, key: (r) => r[7][i], cell: (r) => r[7][i] === null ? "undefined" : (metric.scale * r[7][i]).toFixed(metric.decimals) })),
    { name: "step", label: "Step", number: true, key: (r) => r[5], cell: (r) => String(r[5]) },
    { name: "time", label: "Seconds", number: true, key: (r) => r[6], cell: (r) => r[6].toFixed(0) },
    { name: "folder", label: "Record", key: (r) => r[4], cell: (r) => el("code", {}, r[4]) },
  ], runs, { caption: "Its runs: test scores, the step that validation chose, training time, folder of the record" });
}

// Rows are true classes, columns answers; the colour is the share of the true class.
function matrix(method, column, entry) {
  const size = column.classes.length;
  if (!entry.confusion || !size) return null;
  const rows = column.classes.map((name, i) => ({ name, counts: entry.confusion.slice(i * size, (i + 1) * size) }));
  return el("div", { class: "scroll" }, el("table", { class: "matrix" },
    el("caption", {}, `${method.name}: true class by row, answer by column, % of the row`),
    el("thead", {}, el("tr", {}, el("th", {}, ""), column.classes.map((name) => el("th", { scope: "col", class: "number" }, name)), el("th", { scope: "col", class: "number" }, "images"))),
    el("tbody", {}, rows.map(({ name, counts }, i) => {
      const total = counts.reduce((a, b) => a + b, 0);
      return el("tr", {}, el("th", { scope: "row" }, name), counts.map((n, j) => {
        const share = total ? 100 * n / total : 0;
        return el("td", { class: i === j ? "number right" : "number", style: `--share:${(.75 * share).toFixed(0)}%`, title: plural(n, "image") }, total ? share.toFixed(0) : "");
      }), el("td", { class: "number" }, String(total)));
    }))));
}

// A plain chart of curves: `lines` are {name, method, dash, points: [[x, y, text]], sizes}.
function curves(title, lines, { xLabel, yLabel, xs, ys, diagonal = false }) {
  const host = el("figure", { class: "chart" }), picture = el("div", { class: "picture" });
  const wide = 360, high = 260, left = 46, bottom = 40, top = 10, right = 12;
  const all = lines.flatMap((line) => line.points);
  const [x0, x1] = xs ?? [Math.min(...all.map((p) => p[0])), Math.max(...all.map((p) => p[0]))];
  let [y0, y1] = ys ?? [Math.min(...all.map((p) => p[1])), Math.max(...all.map((p) => p[1]))];
  if (!ys) { const pad = (y1 - y0) * .06 || 1; y0 -= pad; y1 += pad; }
  const px = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (wide - left - right);
  const py = (y) => top + ((y1 - y) / (y1 - y0 || 1)) * (high - top - bottom);
  const root = svg("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `${title}: ${yLabel} against ${xLabel}` });
  for (const y of niceTicks(y0, y1)) root.append(svg("line", { class: "grid", x1: left, x2: wide - right, y1: py(y), y2: py(y) }), svg("text", { x: left - 6, y: py(y) + 4, "text-anchor": "end" }, String(y)));
  for (const x of niceTicks(x0, x1, 4)) root.append(svg("text", { x: px(x), y: high - bottom + 16, "text-anchor": "middle" }, String(x)));
  root.append(svg("line", { class: "axis", x1: left, x2: wide - right, y1: high - bottom, y2: high - bottom }),
    svg("text", { x: (left + wide - right) / 2, y: high - 6, "text-anchor": "middle" }, xLabel),
    svg("text", { x: -(top + high - bottom) / 2, y: 12, transform: "rotate(-90)", "text-anchor": "middle" }, yLabel));
  if (diagonal) root.append(svg("line", { class: "front", x1: px(0), x2: px(1), y1: py(0), y2: py(1) }));
  for (const { method, dash, points, sizes } of lines) {
    const own = `--own:${method.colour}`;
    root.append(svg("polyline", { class: "draw", style: own, "stroke-width": 2, "stroke-dasharray": dash ?? "", points: points.map((p) => `${px(p[0])},${py(p[1])}`).join(" ") }));
    points.forEach((p, i) => root.append(svg("circle", { class: "paint", style: own, cx: px(p[0]), cy: py(p[1]), r: sizes ? sizes[i] : 2.5 }, svg("title", {}, p[2]))));
  }
  picture.append(root);
  host.append(el("figcaption", {}, title), picture, el("p", { class: "key" }, lines.map((line) => el("span", {}, icon({ ...line.method, dash: line.dash ?? "" }), line.name))));
  return host;
}

const FEWEST = 5; // images, below which the accuracy of a bin is noise and is not drawn

function reliability(pairs) {
  const lines = pairs.flatMap(([method, entry]) => (entry.reliability ?? []).map(({ ece, points }, after) => {
    const kept = points.filter((p) => p[2] >= FEWEST), total = points.reduce((sum, p) => sum + p[2], 0);
    return { method, dash: after ? "2 3" : "", name: `${method.name}${after ? ", temperature fitted" : ""}: ECE ${ece.toFixed(3)}`,
      points: kept.map(([x, y, n]) => [x, y, `confidence ${x.toFixed(2)}, accuracy ${y.toFixed(2)}, ${plural(n, "image")}`]),
      sizes: kept.map((p) => 2 + 9 * Math.sqrt(p[2] / total)) };
  })).filter((line) => line.points.length);
  return lines.length ? curves("Reliability", lines, { xLabel: "confidence", yLabel: "accuracy", xs: [0, 1], ys: [0, 1], diagonal: true }) : null;
}

function training(pairs, column) {
  const metric = data.metrics[column.metric];
  const made = (name, scale) => pairs.filter(([, entry]) => entry.curve?.[name].length).map(([method, entry]) => ({ method, name: method.name, points: entry.curve[name].map(([x, y]) => [x, scale * y, `step ${x}: ${(scale * y).toPrecision(3)}`]) }));
  const loss = made("loss", 1), val = made("val", metric.scale);
  return [
    loss.length ? curves("Training loss", loss, { xLabel: "optimiser step", yLabel: "loss" }) : null,
    val.length ? curves("On validation", val, { xLabel: "optimiser step", yLabel: metric.label }) : null,
  ];
}

function drawEntry() {
  const place = inside("entry"), table = currentTable(), [m, c] = state.entry.split(",").map(Number);
  const method = table.methods[m], column = table.columns[c];
  byId("entry").hidden = !(state.entry && method && column);
  if (byId("entry").hidden) return;
  byId("h-entry").textContent = `${method.name} on ${nameOf(column)}`;
  const entry = entryOf(m, c), own = table.views[0], score = own.scores[m][own.columns.indexOf(c)];
  const metric = data.metrics[column.metric];
  place.append(el("p", {}, el("b", {}, score ? scoreText(score, metric) : ""), ` ${metricText(metric)}. ${metric.about}`));
  const failed = data.failures.filter((f) => f[1] === method.spec && f[2] === column.dataset && f[3] === column.share);
  for (const f of failed) place.append(el("p", { class: "warn" }, `${f[0]}, seed ${f[4]}: ${f[6]}`));
  place.append(el("div", { class: "actions" },
    el("button", { type: "button", class: "plain", onclick: () => { choose({ a: String(m), b: state.b === String(m) ? "" : state.b, col: String(c) }); byId("compare").scrollIntoView(); } }, "Compare with another method"),
    el("button", { type: "button", class: "plain", onclick: () => choose({ entry: "" }) }, "Close")));
  const command = commandOf(m, c);
  if (command) place.append(el("h3", {}, "The command that makes it again"), copied(command), hint("For data or weights of your own, give their path in place of the name: records hold no paths."));
  const runs = runsTable(m, c);
  if (runs) place.append(el("h3", {}, "Runs"), runs);
  place.append(el("div", { class: "charts" }, matrix(method, column, entry), reliability([[method, entry]]), ...training([[method, entry]], column)));
}
