// What the reader chose. All of it is in the address, so that a link shows the same view.

const DEFAULTS = { table: "0", metric: "", share: "", set: "", q: "", gaps: "", sort: "", entry: "", a: "", b: "", col: "", theme: "" };
const listeners = [];
let state = readState();

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  const found = { ...DEFAULTS };
  for (const name of Object.keys(DEFAULTS)) if (given.has(name)) found[name] = given.get(name);
  if (!data.tables[found.table]) found.table = "0";
  return found;
}

function address(values) {
  const kept = Object.entries(values).filter(([name, value]) => value !== DEFAULTS[name]);
  return `#${new URLSearchParams(kept)}`;
}

// `quiet` changes (typing) make no step of the back button.
function choose(changes, quiet = false) {
  const before = state;
  state = { ...state, ...changes };
  if (address(before) === address(state)) return;
  history[quiet ? "replaceState" : "pushState"](null, "", address(state));
  tell(before);
}

function tell(before) {
  for (const listen of listeners) listen((...names) => names.some((name) => before[name] !== state[name]));
}

// `draw(changed)` is called whenever something is chosen; changed("a", "b") asks what it was.
function whenever(draw) {
  listeners.push(draw);
  draw(() => true);
}

addEventListener("popstate", () => {
  const before = state;
  state = readState();
  tell(before);
});

const currentTable = () => data.tables[state.table];

function currentView() {
  const { views } = currentTable();
  return views.find((view) => view.metric === state.metric) ?? views[0];
}

// The columns that the reader chose, as places in `view.columns`.
function currentPlaces(view = currentView()) {
  const table = currentTable();
  return view.columns.map((_, k) => k).filter((k) => {
    const column = table.columns[view.columns[k]];
    return (!state.share || column.share === state.share) && (!state.set || column.dataset === state.set);
  });
}

// The definition of the metric of a column in a view.
function metricOf(view, column) {
  return data.metrics[view.metric || column.metric];
}

function metricText(metric) {
  return capital(metric.label) + (metric.unit === "%" ? " x 100" : metric.unit ? ` (${metric.unit})` : "") + (metric.less ? ", less is better" : "");
}

function scoreText(score, metric) {
  if (score.length === 1) return score[0];
  const [mean, spread] = score;
  return mean.toFixed(metric.decimals) + (spread === null ? "" : ` ± ${spread.toFixed(metric.decimals)}`);
}

function labelsOf(column) {
  return column.labels ? `${column.share} (${column.labels.toLocaleString("en")})` : column.share;
}

function nameOf(column) {
  return `${column.dataset}, ${labelsOf(column)} of the labels`.replace(/^(.*-shot.*) of the labels$/, "$1");
}
