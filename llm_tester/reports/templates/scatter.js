// Accuracy against the cost of a case, or against its seconds if no two models differ in cost. Models of unknown cost are
// listed next to the plot. Without two models to compare there is none.

const RADIUS = 10;
const MARGIN = { top: 32, right: 30, bottom: 46, left: 44 };
const LABEL_HEIGHT = 15;

function roundStep(span, wanted) {
  const rough = span / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}

function ticksBetween(from, to, step) {
  const count = Math.round((to - from) / step);
  return Array.from({ length: count + 1 }, (_, place) => from + place * step);
}

function usd(value) {
  return `$${Number(value.toPrecision(3))}`;
}

// A scale has a place for each value, and ticks.

function linearScale(high, edge, to, wanted) {
  const from = edge + RADIUS + 4; // what costs nothing is not on the axis
  const step = roundStep(high || 1, wanted);
  const end = Math.ceil((high || 1) / step) * step;
  return { place: (cost) => from + ((to - from) * cost) / end, ticks: ticksBetween(0, end, step), log: false };
}

function logScale(low, high, free, from, to) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  // A logarithm never reaches 0, so free models are at the left, before a gap.
  const start = from + (free ? 64 : 0);
  const place = (cost) => (cost ? start + ((to - start) * (Math.log10(cost) - first)) / (last - first) : from + 12);
  const every = Math.ceil((64 * (last - first)) / (to - start));
  const powers = Array.from({ length: last - first + 1 }, (_, step) => 10 ** (first + step)).filter((_, step) => step % every === 0);
  return { place, ticks: free ? [0, ...powers] : powers, log: true, gap: free ? start - 18 : null };
}

function costScale(costs, from, to) {
  const paid = costs.filter((cost) => cost > 0);
  const [low, high] = [Math.min(...paid), Math.max(...paid)];
  if (paid.length && high / low > 100) return logScale(low, high, paid.length < costs.length, from, to);
  return linearScale(paid.length ? high : 0, from, to, to - from > 400 ? 5 : 3);
}

function accuracyScale(values, from, to) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const step = roundStep(Math.max(high - low, 6), 4);
  const start = Math.max(0, Math.floor((low - step / 4) / step) * step);
  const end = Math.min(100, Math.ceil((high + step / 4) / step) * step);
  return { place: (value) => from + ((to - from) * (value - start)) / (end - start), ticks: ticksBetween(start, end, step) };
}

// The frontier: no other ranked model is at least as good in both and better in one.

function onFrontier(point, points) {
  return point.column.ranked && !points.some(
    (other) =>
      other.column.ranked &&
      other.cost <= point.cost &&
      other.accuracy >= point.accuracy &&
      (other.cost < point.cost || other.accuracy > point.accuracy),
  );
}

function frontierPath(points, right) {
  const best = points.filter((point) => point.best).sort((one, two) => one.x - two.x || two.y - one.y);
  if (!best.length) return "";
  return `M${best[0].x},${best[0].y}` + best.slice(1).map(({ x, y }) => `H${x}V${y}`).join("") + `H${right}`;
}

// Labels: the first place around the point where they touch no point and no other label. Without such a place there is
// no label, because the point has the number of the model in the table.

function labelBoxes({ x, y }, width) {
  const boxes = [];
  for (const gap of [4, 12]) {
    const out = RADIUS + gap;
    const slant = out * 0.72;
    boxes.push(
      [x + out, y - LABEL_HEIGHT / 2],
      [x - out - width, y - LABEL_HEIGHT / 2],
      [x - width / 2, y - out - LABEL_HEIGHT],
      [x - width / 2, y + out],
      [x + slant, y - slant - LABEL_HEIGHT],
      [x + slant, y + slant],
      [x - slant - width, y - slant - LABEL_HEIGHT],
      [x - slant - width, y + slant],
    );
  }
  return boxes.map(([left, top]) => ({ left, top, right: left + width, bottom: top + LABEL_HEIGHT }));
}

// The frontier's lines as boxes, which labels must not touch.
function frontierBoxes(points, right) {
  const best = points.filter((point) => point.best).sort((one, two) => one.x - two.x || two.y - one.y);
  return best.flatMap(({ x, y }, place) => {
    const next = best[place + 1] ?? { x: right, y };
    return [
      { left: x, right: next.x, top: y - 1, bottom: y + 1 },
      { left: next.x - 1, right: next.x + 1, top: Math.min(y, next.y), bottom: Math.max(y, next.y) },
    ];
  });
}

function overlap(one, two) {
  return one.left < two.right && two.left < one.right && one.top < two.bottom && two.top < one.bottom;
}

function distance({ x, y }, box) {
  return Math.hypot(Math.max(box.left - x, 0, x - box.right), Math.max(box.top - y, 0, y - box.bottom));
}

// A label that is nearer to another point would be read as the label of that point.
function isNearest(point, box, points) {
  return points.every((other) => other === point || distance(other, box) > distance(point, box));
}

function placeLabels(points, area, group) {
  const taken = points.map(({ x, y }) => ({ left: x - RADIUS, right: x + RADIUS, top: y - RADIUS, bottom: y + RADIUS }));
  const lines = frontierBoxes(points, area.right);
  const inside = (box) => box.left >= area.left && box.right <= area.right && box.top >= area.top && box.bottom <= area.bottom;
  for (const point of [...points].sort((one, two) => two.best - one.best)) {
    const text = draw("text", { class: point.best ? "label best" : "label" }, point.label);
    group.append(text);
    const boxes = labelBoxes(point, text.getComputedTextLength() + 4).filter(
      (candidate) => inside(candidate) && !taken.some((other) => overlap(candidate, other)) && isNearest(point, candidate, points),
    );
    // Only points on the frontier may have their name there.
    const box = boxes.find((candidate) => !lines.some((line) => overlap(candidate, line))) ?? (point.best ? boxes[0] : null);
    if (!box) {
      text.remove();
      continue;
    }
    taken.push(box);
    text.setAttribute("x", box.left + 2);
    text.setAttribute("y", box.top + 11.5);
  }
}

function pointLabel(column) {
  const same = INDEX.columns.filter(({ model }) => model === column.model);
  const several = new Set(same.map(({ provider }) => provider)).size > 1;
  const name = (several ? `${column.provider}:` : "") + column.model;
  return name.length > 30 ? `${name.slice(0, 29)}…` : name;
}

function pointText(column) {
  const known = column.known < column.answered ? ` (known for ${column.known} of ${column.answered})` : "";
  const part = known + (column.ranked ? "" : ", over other cases than the ranked models");
  return `${percent(column.accuracy)} accuracy, ${column.costText} and ${column.seconds.toFixed(2)} s a case${part}`;
}

function drawPoint(point) {
  const { column, number, x, y, best } = point;
  const text = pointText(column);
  const mark = draw(
    "g",
    { class: best ? "point best" : "point", tabindex: 0, role: "img", "aria-label": `${number}: ${column.title}, ${text}`, transform: `translate(${x} ${y})` },
    draw("circle", { r: RADIUS, class: AXIS === "cost" && column.known < column.answered ? "partly" : null }),
    draw("text", { y: 3.5, "text-anchor": "middle" }, String(number)),
  );
  const show = () => showTip(mark, column.title, text + (best ? ". No model beats it in both." : ""));
  for (const event of ["mouseenter", "focus"]) mark.addEventListener(event, show);
  for (const event of ["mouseleave", "blur"]) mark.addEventListener(event, hideTip);
  return mark;
}

function drawAxes(svg, across, up, area) {
  for (const tick of up.ticks) {
    const y = up.place(tick);
    svg.append(
      draw("line", { class: "grid", x1: area.left, x2: area.right, y1: y, y2: y }),
      draw("text", { class: "tick", x: area.left - 8, y: y + 4, "text-anchor": "end" }, String(Number(tick.toFixed(2)))),
    );
  }
  for (const tick of across.ticks) {
    const x = across.place(tick);
    const text = across.log && tick === 0 ? "free" : across.unit === "USD" ? usd(tick) : String(Number(tick.toPrecision(3)));
    svg.append(
      draw("line", { class: "grid", x1: x, x2: x, y1: area.top, y2: area.bottom }),
      draw("text", { class: "tick", x, y: area.bottom + 17, "text-anchor": "middle" }, text),
    );
  }
  if (across.gap) svg.append(draw("line", { class: "gap", x1: across.gap, x2: across.gap, y1: area.top, y2: area.bottom }));
  const scale = `${across.unit} a case${across.log ? ", logarithmic" : ""}`;
  svg.append(
    draw("text", { class: "axis", x: area.right, y: area.bottom + 37, "text-anchor": "end" }, `${scale} →`),
    draw("text", { class: "axis", x: area.left - 30, y: 16 }, "↑ accuracy"),
  );
}

// What the models are drawn by: the cost or the seconds of a case; null if there is nothing to compare.
const AXIS = chosenAxis();

function drawn(axis = AXIS) {
  return INDEX.columns
    .map((column, place) => ({ column, number: place + 1, cost: column[axis], accuracy: column.accuracy, label: pointLabel(column) }))
    .filter(({ cost, accuracy }) => cost !== null && accuracy !== null);
}

function chosenAxis() {
  return ["cost", "seconds"].find((axis) => {
    const points = drawn(axis);
    return points.length > 1 && points.some(({ cost }) => cost > 0);
  }) ?? null;
}

// Points that would hide others move to the right, or to the left near the edge, until they are next to them.
function setApart(points, right) {
  const placed = [];
  const touches = (point, distance) => placed.some(({ x, y }) => Math.hypot(x - point.x, y - point.y) < distance);
  for (const point of points) {
    const step = point.x + 2 * RADIUS * points.length > right ? -1 : 1;
    if (touches(point, 1.5 * RADIUS)) while (touches(point, 2 * RADIUS)) point.x += step;
    placed.push(point);
  }
}

function drawScatter() {
  const svg = find("#scatter svg");
  const width = find("#scatter").clientWidth;
  const height = Math.round(Math.max(320, Math.min(500, width * 0.8)));
  const area = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const points = drawn();
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  const across = { ...costScale(points.map(({ cost }) => cost), area.left, area.right), unit: AXIS === "cost" ? "USD" : "seconds" };
  const up = accuracyScale(points.map(({ accuracy }) => accuracy), area.bottom, area.top);
  for (const point of points) {
    Object.assign(point, { x: across.place(point.cost), y: up.place(point.accuracy), best: onFrontier(point, points) });
  }
  setApart(points, area.right);
  const labels = draw("g", { "aria-hidden": "true" });
  drawAxes(svg, across, up, area);
  svg.append(draw("path", { class: "frontier", d: frontierPath(points, area.right) }), labels);
  svg.append(...[...points].sort((one, two) => one.best - two.best).map(drawPoint));
  placeLabels(points, { ...area, right: width - 4 }, labels);
}

function listUnpriced() {
  if (AXIS !== "cost") return;
  const unpriced = INDEX.columns.map((column, place) => ({ column, number: place + 1 })).filter(({ column }) => column.cost === null);
  if (!unpriced.length) return;
  const items = unpriced.map(({ column, number }) => {
    const why = column.answered ? `accuracy ${percent(column.accuracy)}, cost unknown` : "no replies";
    return make("li", {}, make("span", { class: "rank" }, number), ` ${column.title}: ${why}`);
  });
  find("#unpriced").append(make("p", { class: "hint" }, "Not drawn, because the cost is unknown:"), make("ul", {}, ...items));
}

function showTip(mark, title, text) {
  const tip = find("#tip");
  tip.replaceChildren(make("b", {}, title), make("br"), text);
  tip.hidden = false;
  const at = mark.getBoundingClientRect();
  const left = Math.min(at.left + at.width / 2 - tip.offsetWidth / 2, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = at.top - tip.offsetHeight - 8;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above < 8 ? at.bottom + 8 : above}px`;
}

function hideTip() {
  find("#tip").hidden = true;
}

function startScatter() {
  find("#scatter").closest("section").hidden = AXIS === null;
  if (AXIS === null) return;
  if (AXIS === "seconds") {
    find("#scatter-title").textContent = "Accuracy against time";
    find("#scatter-hint").append(" Drawn by seconds, because there are no two costs to compare.");
    find("#scatter svg").setAttribute("aria-label", "Accuracy against seconds a case, one point a model");
  }
  listUnpriced();
  let width = 0;
  new ResizeObserver(() => {
    const now = find("#scatter").clientWidth;
    if (now && now !== width) drawScatter();
    width = now;
  }).observe(find("#scatter"));
  window.addEventListener("scroll", hideTip, { passive: true });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
}
