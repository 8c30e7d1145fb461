// Two methods side by side: paired differences per column and per image, classes, confidence, training.

function pairOf(table, a, b) {
  const found = table.pairs.found[`${Math.min(a, b)},${Math.max(a, b)}`];
  if (!found || a < b) return found ?? null;
  // the pair is stored once, as the first minus the second
  return found.map((one) => one && [-one[0], one[2] === null ? null : -one[2], one[1] === null ? null : -one[1], one[3] === null ? null : 1 - one[3], one[4]]);
}

// A dot with its interval on a line around 0.
function forest([difference, low, high], reach, less) {
  const wide = 180, high_ = 18, x = (v) => wide / 2 + (v / reach) * (wide / 2 - 6);
  const better = (less ? -1 : 1) * difference > 0;
  return svg("svg", { width: wide, height: high_, viewBox: `0 0 ${wide} ${high_}`, "aria-hidden": "true", class: "forest" },
    svg("line", { class: "grid", x1: 0, x2: wide, y1: 9, y2: 9 }), svg("line", { class: "axis", x1: x(0), x2: x(0), y1: 1, y2: 17 }),
    low === null ? null : svg("line", { class: "whisker", x1: x(low), x2: x(high), y1: 9, y2: 9 }),
    svg("circle", { class: better ? "better" : "worse", cx: x(difference), cy: 9, r: 4 }));
}

function differences(table, a, b, pair) {
  const rows = table.columns.map((column, c) => ({ column, c, one: pair[c] })).filter((r) => r.one);
  const together = pair[pair.length - 1];
  const reach = Math.max(1e-9, ...[...rows.map((r) => r.one), together].filter(Boolean).flatMap((one) => one.slice(0, 3).map(Math.abs)));
  if (together) rows.push({ column: null, c: -1, one: together });
  const own = table.views[0], text = (m, r) => r.column ? scoreText(own.scores[m][own.columns.indexOf(r.c)], data.metrics[r.column.metric]) : "";
  const decimals = (r) => r.column ? data.metrics[r.column.metric].decimals : 1;
  const less = (r) => data.metrics[(r.column ?? table.columns[0]).metric].less;
  const names = [a, b].map((m) => table.methods[m].name);
  return sortable([
    { name: "column", label: "Column", cell: (r) => r.column
      ? el("button", { type: "button", class: "link", onclick: () => { choose({ col: String(r.c) }); byId("compared")?.scrollIntoView({ block: "nearest" }); } }, `${r.column.dataset} ${labelsOf(r.column)}`)
      : el("b", {}, "over columns with several seeds") },
    { name: "a", label: names[0], number: true, cell: (r) => text(a, r) }, { name: "b", label: names[1], number: true, cell: (r) => text(b, r) },
    { name: "difference", label: "Difference", number: true, cell: (r) => signed(r.one[0], decimals(r)) },
    { name: "interval", label: "95 % interval", number: true, cell: (r) => r.one[1] === null ? "n = 1" : `${signed(r.one[1], decimals(r))} to ${signed(r.one[2], decimals(r))}` },
    { name: "picture", label: `\u2212${reach.toPrecision(2)} to +${reach.toPrecision(2)}`, cell: (r) => forest(r.one, reach, less(r)) },
    { name: "better", label: `P(${names[0]} better)`, number: true, cell: (r) => r.one[3] === null ? "" : r.one[3].toFixed(2) },
    { name: "p", label: "p", number: true, cell: (r) => pValue(r.one[4]) },
  ], rows, { caption: `${names[0]} minus ${names[1]}, paired by test patient and seed` });
}

function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

const NONE = 255, STEPS = 250, MOST_SHOWN = 12;

// [{id, truth, a, b, answers}] of the images on which the two methods differ most.
function disagreements(column, one, two) {
  const { ids, truth } = column.images, n = ids.length;
  if (!one.images || !two.images) return [];
  const [a, b] = [bytesOf(one.images), bytesOf(two.images)];
  const score = (bytes, i) => bytes[i] === NONE ? null : bytes[i] / STEPS;
  const answer = (bytes, i) => bytes.length > n && bytes[n + i] !== NONE ? column.classes[bytes[n + i]] : "";
  return ids.map((id, i) => ({ id, truth: truth[i] === null ? "" : column.classes[truth[i]], a: score(a, i), b: score(b, i), answers: [answer(a, i), answer(b, i)] }))
    .filter((row) => row.a !== null && row.b !== null && row.a !== row.b)
    .sort((x, y) => Math.abs(y.a - y.b) - Math.abs(x.a - x.b)).slice(0, MOST_SHOWN);
}

function imageTable(table, column, a, b) {
  const rows = disagreements(column, entryOf(a.m, column.c), entryOf(b.m, column.c));
  if (!rows.length) return hint("No images to compare: predictions of both methods are not stored.");
  const thumbs = data.thumbs[column.data] ?? {}, pictured = rows.some((r) => thumbs[r.id]);
  const what = column.task === "segmentation" ? "mean Dice x 100" : "probability of the truth, %";
  const scored = (name, side, j) => ({ name, label: side.method.name, number: true, rising: false, key: (r) => r[name],
    cell: (r) => [(100 * r[name]).toFixed(0), r.answers[j] && el("small", { class: r.answers[j] === r.truth ? "" : "wrong" }, ` ${r.answers[j]}`)] });
  return [sortable([
    { name: "id", label: "Image", key: (r) => r.id, cell: (r) => el("span", { class: "image" }, thumbs[r.id] && el("img", { src: `data:image/jpeg;base64,${thumbs[r.id]}`, alt: "", loading: "lazy" }), el("code", {}, r.id)) },
    ...rows.some((r) => r.truth) ? [{ name: "truth", label: "Truth", key: (r) => r.truth, cell: (r) => r.truth }] : [],
    scored("a", a, 0), scored("b", b, 1),
    { name: "d", label: "Difference", number: true, rising: false, key: (r) => Math.abs(r.a - r.b), cell: (r) => signed(100 * (r.a - r.b), 0) },
  ], rows, { caption: `Test images on which they disagree most: ${what}, mean over runs` }),
  hint(`Of ${plural(column.images.count, "test image")}, the page holds the ${column.images.ids.length} on which any two methods differ most.`
    + (pictured ? "" : " `report --source NAME=PATH` adds thumbnails."))];
}

function comparedColumn(table, a, b) {
  const there = table.columns.map((column, c) => ({ ...column, c })).filter((column) => [a, b].every((side) => table.entries[`${side.m},${column.c}`]));
  if (!there.length) return null;
  const column = there.find((one) => String(one.c) === state.col) ?? there.findLast((one) => one.images.ids.length) ?? there[there.length - 1];
  const box = el("select", { id: "col", onchange: () => choose({ col: box.value }) }, there.map((one) => el("option", { value: one.c, selected: one.c === column.c }, `${one.dataset} ${labelsOf(one)}`)));
  const pairs = [a, b].map((side) => [side.method, entryOf(side.m, column.c)]);
  return el("div", { id: "compared" }, el("h3", {}, "In one column ", el("label", {}, box)),
    imageTable(table, column, a, b),
    el("div", { class: "charts" }, pairs.map(([method, entry]) => matrix(method, column, entry)), reliability(pairs), ...training(pairs, column)));
}

function drawCompare() {
  const place = inside("compare"), table = currentTable();
  const options = sorted(table.methods.map((method, m) => [String(m), method.name]), (o) => o[1], true);
  const box = (id, label) => {
    const made = el("select", { id, onchange: () => choose({ [id]: made.value }) }, el("option", { value: "" }, "choose a method"), options.map(([value, text]) => el("option", { value, selected: state[id] === value }, text)));
    return el("label", {}, label, made);
  };
  byId("compare").hidden = table.methods.length < 2;
  place.append(el("div", { class: "filters" }, box("a", "First"), box("b", "Second"),
    el("button", { type: "button", class: "plain", onclick: () => choose({ a: state.b, b: state.a }) }, "Swap")));
  const [a, b] = [state.a, state.b].map((m) => ({ m: Number(m), method: m === "" ? undefined : table.methods[m] }));
  if (!a.method || !b.method || a.m === b.m) return;
  const pair = pairOf(table, a.m, b.m);
  if (pair) {
    place.append(differences(table, a.m, b.m, pair), hint(`Intervals and P(better): resampled test patients and the scatter of seeds, paired, each for itself. p: t-test, corrected over the columns of this pair (Holm); over columns: Wilcoxon's test over data sets, each by its mean over columns, corrected over all pairs. Whoever looks for the pair with the smallest p has tested all pairs.`));
  } else {
    place.append(hint(table.pairs.all ? "They have no column in common." : "There are too many pairs of methods to compare all: here each is compared with the reference of the statistics only."));
  }
  const column = comparedColumn(table, a, b);
  if (column) place.append(column);
}
