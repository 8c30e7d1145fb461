// Charts: one SVG per chart, drawn at the width it has; hover or focus tells a point's numbers.

const tip = byId("tip");

function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, x + 14), innerWidth - box.width - 8);
  const top = y + 16 + box.height > innerHeight ? y - box.height - 12 : y + 16;
  tip.style.left = `${left}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}

function hideTip() {
  tip.hidden = true;
}

// Matplotlib's markers as [x, y] corners of a unit shape; the circle is apart.
function ring(corners, start = -90, inner = null) {
  const num = inner === null ? corners : 2 * corners;
  return Array.from({ length: num }, (_, i) => {
    const angle = ((start + (360 * i) / num) * Math.PI) / 180;
    const radius = inner !== null && i % 2 ? inner : 1;
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  });
}

const plus = [[-.35, -1], [.35, -1], [.35, -.35], [1, -.35], [1, .35], [.35, .35], [.35, 1], [-.35, 1], [-.35, .35], [-1, .35], [-1, -.35], [-.35, -.35]];
const MARKERS = {
  s: ring(4, -45), D: ring(4), d: ring(4).map(([x, y]) => [.6 * x, 1.1 * y]), "^": ring(3), v: ring(3, 90),
  "<": ring(3, 180), ">": ring(3, 0), P: plus, X: plus.map(([x, y]) => [.75 * (x - y), .75 * (x + y)]),
  "*": ring(5, -90, .45).map(([x, y]) => [1.2 * x, 1.2 * y]), h: ring(6), p: ring(5), 8: ring(8, -67.5),
};

function marker(method, x, y, size) {
  const shape = MARKERS[method.marker];
  if (!shape) return svg("circle", { cx: x, cy: y, r: size, class: "paint", style: `--own:${method.colour}` });
  const points = shape.map(([a, b]) => `${(x + 1.15 * size * a).toFixed(1)},${(y + 1.15 * size * b).toFixed(1)}`);
  return svg("polygon", { points: points.join(" "), class: "paint", style: `--own:${method.colour}` });
}

function icon(method) {
  return svg("svg", { width: 26, height: 14, "aria-hidden": "true" },
    svg("line", { x1: 1, x2: 25, y1: 7, y2: 7, class: "draw", style: `--own:${method.colour}`, "stroke-width": 2, "stroke-dasharray": method.dash }),
    marker(method, 13, 7, 4.5));
}

function niceTicks(low, high, wanted = 5) {
  const raw = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= raw);
  const ticks = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) ticks.push(Number(v.toPrecision(12)));
  return ticks;
}

// `series`: {method, points: [{x, y, spread, text}], joined, off}; `xTicks`: [place, label]; `front`: [[x, y]].
function chart(host, { title, series, xTicks, xLabel, yLabel, front, note = "" }) {
  const hidden = new Set(series.filter((s) => s.off).map((s) => s.method.spec));
  const picture = el("div", { class: "picture" });
  const legend = el("div", { class: "legend", role: "group", "aria-label": "Methods of this chart: press to hide or show" },
    ...series.map((s) => el("button", {
      type: "button", "aria-pressed": String(!s.off), title: s.method.spec,
      onclick(event) {
        const spec = s.method.spec;
        if (!hidden.delete(spec)) hidden.add(spec);
        event.currentTarget.setAttribute("aria-pressed", String(!hidden.has(spec)));
        draw();
      },
      onpointerenter: () => dim(s.method.spec), onpointerleave: () => dim(null),
    }, icon(s.method), s.method.name)));
  host.replaceChildren(el("h4", {}, title), picture, legend, note && hint(note));

  function dim(spec) {
    for (const group of picture.querySelectorAll(".series")) {
      group.classList.toggle("dim", spec !== null && group.dataset.method !== spec);
    }
  }

  function draw() {
    const shown = series.filter((s) => !hidden.has(s.method.spec));
    const width = Math.max(260, host.clientWidth), height = Math.min(360, Math.max(260, width * .62));
    const left = 46, right = 16, top = 12, bottom = 56;
    const all = (shown.length ? shown : series).flatMap((s) => s.points);
    const lows = all.map((p) => p.y - (p.spread ?? 0)), highs = all.map((p) => p.y + (p.spread ?? 0));
    const pad = (Math.max(...highs) - Math.min(...lows)) * .05 || 1;
    const low = Math.min(...lows) - pad, high = Math.max(...highs) + pad;
    const xs = [...series.flatMap((s) => s.points.map((p) => p.x)), ...xTicks.map(([x]) => x)];
    const first = Math.min(...xs), last = Math.max(...xs), reach = last - first || 1;
    const px = (x) => left + 14 + ((x - first) / reach) * (width - left - right - 28);
    const py = (y) => top + ((high - y) / (high - low)) * (height - top - bottom);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": `${title}: ${yLabel} against ${xLabel}` });
    for (const y of niceTicks(low, high)) {
      root.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: py(y), y2: py(y) }),
        svg("text", { x: left - 6, y: py(y) + 4, "text-anchor": "end" }, String(y)));
    }
    root.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
    let free = -Infinity;
    for (const [x, label] of xTicks) {
      root.append(svg("line", { class: "axis", x1: px(x), x2: px(x), y1: height - bottom, y2: height - bottom + 4 }));
      if (px(x) < free) continue;
      const lines = label.split("\n");
      free = px(x) + 7 * Math.max(...lines.map((l) => l.length)) + 4;
      lines.forEach((line, i) => root.append(svg("text", { x: px(x), y: height - bottom + 17 + 14 * i, "text-anchor": "middle" }, line)));
    }
    root.append(svg("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, xLabel),
      svg("text", { x: -(top + height - bottom) / 2, y: 11, transform: "rotate(-90)", "text-anchor": "middle" }, yLabel));
    if (front && front.length > 1) {
      root.append(svg("polyline", { points: front.map(([x, y]) => `${px(x)},${py(y)}`).join(" "), class: "front" }));
    }
    const hits = svg("g");
    // curves meet at the same places: side by side their bars do not hide each other
    shown.forEach((s, i) => root.append(group(s, (x) => px(x) + (s.joined ? 3 * (i - (shown.length - 1) / 2) : 0), py, hits)));
    root.append(hits);
    picture.replaceChildren(root);
  }

  function group(s, px, py, hits) {
    const g = svg("g", { class: "series", "data-method": s.method.spec });
    if (s.joined) g.append(svg("polyline", { points: s.points.map((p) => `${px(p.x)},${py(p.y)}`).join(" "), class: "draw", style: `--own:${s.method.colour}`, "stroke-width": 2, "stroke-dasharray": s.method.dash }));
    for (const p of s.points) {
      if (p.spread !== null) g.append(svg("line", { x1: px(p.x), x2: px(p.x), y1: py(p.y - p.spread), y2: py(p.y + p.spread), class: "draw", style: `--own:${s.method.colour}`, "stroke-width": 1.5 }));
      g.append(marker(s.method, px(p.x), py(p.y), 5));
      const show = (x, y) => { dim(s.method.spec); showTip(p.text, x, y); };
      const leave = () => { dim(null); hideTip(); };
      hits.append(svg("circle", {
        class: "hit", cx: px(p.x), cy: py(p.y), r: 10, tabindex: 0, role: "img", "aria-label": p.text,
        onpointerenter: (e) => show(e.clientX, e.clientY), onpointermove: (e) => show(e.clientX, e.clientY), onpointerleave: leave,
        onfocus(e) { const box = e.currentTarget.getBoundingClientRect(); show(box.right, box.bottom); }, onblur: leave,
      }));
    }
    return g;
  }

  draw(); // now for its place in the page, and again whenever its width changes
  let seen = host.clientWidth;
  new ResizeObserver(() => { if (host.clientWidth !== seen) { seen = host.clientWidth; draw(); } }).observe(host);
}
