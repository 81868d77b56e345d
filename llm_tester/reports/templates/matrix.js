// The matrix: a row for each case and prompt, a column for each model. Rows are made as they are scrolled to.

const CELLS = buildCells();
const SEVERAL = INDEX.columns.length > 1;

// What the reader chose (see state.js), and the rows and columns that follow from it.
const view = {
  search: "",
  module: "",
  status: "",
  change: "",
  chosen: new Set(),
  sort: "case",
  descending: false,
  cells: "accuracy",
  beside: null,
  theme: null,
  terms: [],
  rows: [],
  columns: [],
  made: 0,
};

const ALPHABET = new Intl.Collator("en", { numeric: true });

function buildCells() {
  const cells = new Map();
  INDEX.results.forEach(([row, column, , status, accuracy], result) => {
    const key = row * INDEX.columns.length + column;
    if (!cells.has(key)) cells.set(key, { results: [], earlier: [], counts: INDEX.statuses.map(() => 0), scores: [] });
    const cell = cells.get(key);
    if (result >= INDEX.own) {
      cell.earlier.push(result);
      return;
    }
    cell.results.push(result);
    cell.counts[status] += 1;
    if (accuracy !== null) cell.scores.push(accuracy);
  });
  for (const cell of cells.values()) {
    cell.mean = mean(cell.scores);
    cell.before = mean(cell.earlier.map((result) => INDEX.results[result][4]).filter((accuracy) => accuracy !== null));
    cell.change = INDEX.against === null ? "" : changeOf(cell);
  }
  return cells;
}

// What became of a case since the earlier run. A reply that was lost is broken, too.
function changeOf({ mean: now, before, earlier }) {
  if (!earlier.length) return "new";
  if (now === before || (now !== null && before !== null && Math.abs(now - before) < 1e-6)) return "same";
  if (now === null || before >= 100) return "broken";
  if (now >= 100) return "fixed";
  return before === null || now > before ? "better" : "worse";
}

function cellAt(row, column) {
  return CELLS.get(row * INDEX.columns.length + column);
}

function caseTitle(row) {
  const [module, name, variant] = INDEX.rows[row];
  return `${module}/${name}${variant && `.${variant}`}`;
}

// Which cells pass the filters: each word is in the case's or in the model's name, and the status occurs.

function cellFilter() {
  const rowHas = INDEX.rows.map((_, row) => view.terms.map((term) => caseTitle(row).toLowerCase().includes(term)));
  const columnHas = INDEX.columns.map(({ title }) => view.terms.map((term) => title.toLowerCase().includes(term)));
  const status = INDEX.statuses.indexOf(view.status);
  return (row, column) => {
    const cell = cellAt(row, column);
    if (!cell || (view.module && INDEX.rows[row][0] !== view.module)) return false;
    if (status >= 0 && !cell.counts[status]) return false;
    if (view.change && cell.change !== view.change) return false;
    if (view.chosen.size && !view.chosen.has(column)) return false;
    return view.terms.every((_, term) => rowHas[row][term] || columnHas[column][term]);
  };
}

function applyFilter() {
  view.passes = cellFilter();
  const rows = new Set();
  const columns = new Set();
  for (const key of CELLS.keys()) {
    const column = key % INDEX.columns.length;
    const row = (key - column) / INDEX.columns.length;
    if (view.passes(row, column)) {
      rows.add(row);
      columns.add(column);
    }
  }
  view.rows = [...rows];
  view.columns = [...columns].sort((one, two) => one - two);
}

function scoresOf(rows, columns) {
  return rows.flatMap((row) => columns.flatMap((column) => (view.passes(row, column) ? cellAt(row, column).scores : [])));
}

function sortRows() {
  const byName = (one, two) => ALPHABET.compare(caseTitle(one), caseTitle(two));
  const direction = view.descending ? -1 : 1;
  if (view.sort === "case") {
    view.rows.sort((one, two) => direction * byName(one, two));
    return;
  }
  const columns = view.sort === "mean" ? view.columns : [view.sort];
  const values = new Map(view.rows.map((row) => [row, mean(scoresOf([row], columns))]));
  view.rows.sort((one, two) => {
    const [left, right] = [values.get(one), values.get(two)];
    // Rows without an accuracy come last in either direction.
    if (left === null || right === null) return (left === null) - (right === null) || byName(one, two);
    return direction * (left - right) || byName(one, two);
  });
}

// The head: names that sort, and the means.

function sortButton(key, ...content) {
  const current = view.sort === key;
  const arrow = current ? (view.descending ? "▼" : "▲") : "";
  const button = make("button", { type: "button", "data-sort": key }, ...content);
  button.append(make("span", { class: "arrow", "aria-hidden": "true" }, arrow));
  const order = current ? (view.descending ? "descending" : "ascending") : "none";
  return make("th", { scope: "col", "aria-sort": order }, button);
}

function meanCell(scores) {
  const value = mean(scores);
  return make("td", {}, make("span", { class: value === null ? "tile empty" : `tile ${level(value)}` }, make("b", {}, percent(value))));
}

function drawHead() {
  const focused = document.activeElement?.dataset?.sort;
  const names = make("tr", {}, sortButton("case", "Case"), SEVERAL ? sortButton("mean", "All models") : null);
  const means = make("tr", { class: "means" }, make("th", { scope: "row" }, "Mean of what is shown"));
  if (SEVERAL) means.append(meanCell(scoresOf(view.rows, view.columns)));
  for (const column of view.columns) {
    const rank = SEVERAL ? make("span", { class: "rank" }, column + 1) : "";
    names.append(sortButton(column, rank, make("span", { class: "name" }, ...modelName(INDEX.columns[column]))));
    means.append(meanCell(scoresOf(view.rows, [column])));
  }
  find("#matrix thead").replaceChildren(names, means);
  // The button that was pressed is a new one now.
  if (focused !== undefined) find(`#matrix thead [data-sort="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function sortBy(key) {
  const same = view.sort === key;
  view.descending = same ? !view.descending : key !== "case" && key !== "mean";
  view.sort = key;
  drawMatrix();
  writeState();
}

// The body

function statusWords(cell) {
  const words = [];
  cell.counts.forEach((count, status) => {
    if (status && count) words.push(cell.results.length > 1 ? `${count} ${INDEX.statuses[status]}` : INDEX.statuses[status]);
  });
  return words;
}

function spreadText(cell) {
  const spread = deviation(cell.scores);
  return INDEX.repeats > 1 && spread !== null ? `±${percent(spread)} · ${cell.scores.length}×` : null;
}

function tileClass(cell) {
  const status = INDEX.statuses[cell.counts.findIndex((count) => count)];
  if (cell.mean === null) return `tile ${status}`;
  const invalid = cell.counts[1] === cell.results.length ? " invalid" : "";
  return `tile ${level(cell.mean)}${invalid}`;
}

const SIGNS = { fixed: "▲", better: "▲", worse: "▼", broken: "▼" };

function changeText({ change, before }) {
  return change in SIGNS ? `${SIGNS[change]} ${change}, was ${before === null ? "without reply" : percent(before)}` : null;
}

// What a result has for the field that the cells show, with its score, or all of its data; no more than fits a cell.
function outputOf(result) {
  const found = details().results[result];
  const cut = (words) => (words && words.length > 160 ? `${words.slice(0, 159)}…` : words);
  if (view.cells === "reply") return { words: cut(text(found.actual) ?? text(found.reply)), score: null };
  const rows = (found.fields ?? [])
    .map((place) => details().fields[place])
    .filter(([path]) => text(path).replace(/\[\d+\]/g, "[]") === view.cells.slice(FIELD.length));
  if (!rows.length) return { words: found.fields ? "·" : null, score: null };
  return { words: cut(rows.map(([, , actual]) => text(actual) ?? "—").join(", ")), score: 100 * mean(rows.map(([, , , score]) => score)) };
}

// By its accuracy; if the cells show a field, by that field's score.
function cellClass(cell, output) {
  if (output && output.score !== null) return `tile ${level(output.score)}`;
  return output?.words === "·" ? "tile passed-over" : tileClass(cell);
}

function cellLink(row, column) {
  const cell = cellAt(row, column);
  const output = view.cells === "accuracy" ? null : outputOf(cell.results[0]);
  const change = changeText(cell);
  const accuracy = cell.mean === null || view.cells.startsWith(FIELD) ? null : percent(cell.mean);
  const words = statusWords(cell);
  const spread = spreadText(cell);
  const label = [caseTitle(row), INDEX.columns[column].title, cell.mean === null ? null : percent(cell.mean), spread, change, ...words, output?.words];
  const attributes = {
    href: hashOf(cell.results[0]),
    "data-result": cell.results[0],
    class: view.passes(row, column) ? cellClass(cell, output) : "tile passed-over",
    tabindex: -1,
    "aria-label": label.filter(Boolean).join(", "),
  };
  return make(
    "a",
    attributes,
    output?.words ? make("code", { class: "output" }, output.words) : null,
    accuracy && make("b", {}, accuracy),
    change ? make("small", {}, change) : null,
    spread ? make("small", {}, spread) : null,
    words.length ? make("small", { class: "status" }, words.join(", ")) : null,
  );
}

function matrixRow(row, place) {
  const [module, name, variant] = INDEX.rows[row];
  const names = [make("span", { class: "provider" }, module), make("span", { class: "model" }, name)];
  const title = make("th", { scope: "row", title: caseTitle(row) }, ...names, variant ? make("span", { class: "variant" }, variant) : null);
  const line = make("tr", { "aria-rowindex": place + 3 }, title, SEVERAL ? meanCell(scoresOf([row], view.columns)) : null);
  for (const column of view.columns) {
    line.append(make("td", {}, cellAt(row, column) ? cellLink(row, column) : make("span", { class: "tile empty" }, "·")));
  }
  return line;
}

function makeRows(count) {
  const upTo = Math.min(view.rows.length, view.made + count);
  const body = find("#matrix tbody");
  for (; view.made < upTo; view.made += 1) body.append(matrixRow(view.rows[view.made], view.made));
  find("#more").hidden = upTo === view.rows.length;
}

function makeMoreRows() {
  makeRows(Math.max(20, Math.ceil((view.cells === "accuracy" ? 1200 : 400) / (view.columns.length + 2))));
}

function drawMatrix() {
  sortRows();
  drawHead();
  view.made = 0;
  find("#matrix tbody").replaceChildren();
  find("#matrix table").setAttribute("aria-rowcount", view.rows.length + 2);
  find("#matrix table").style.setProperty("--columns", view.columns.length - (SEVERAL ? 0 : 1));
  find("#matrix table").classList.toggle("two", INDEX.against !== null);
  find("#matrix table").classList.toggle("outputs", view.cells !== "accuracy");
  find("#matrix").scrollTop = 0;
  makeMoreRows();
  find("#matrix tbody a")?.setAttribute("tabindex", 0);
  find("#found").textContent =
    `${view.rows.length} of ${INDEX.rows.length} cases` + (SEVERAL ? `, ${view.columns.length} of ${INDEX.columns.length} models` : "");
}

function filterMatrix() {
  view.terms = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  applyFilter();
  drawMatrix();
}

// The controls

const FIELD = "field:";
const CHOICES = { "#text": "search", "#module": "module", "#status": "status", "#change": "change", "#cells": "cells" };

function showControls() {
  for (const [selector, name] of Object.entries(CHOICES)) {
    if (find(selector).value !== view[name]) find(selector).value = view[name];
  }
  for (const box of document.querySelectorAll("#models input")) box.checked = view.chosen.has(Number(box.value));
  showChosen();
}

function showChosen() {
  const { size } = view.chosen;
  find("#models summary").textContent = size ? `${size} of ${INDEX.columns.length}` : "all";
}

function makeControls() {
  const options = (values, prefix = "") => values.map((value) => make("option", { value: prefix + value }, value));
  find("#module").append(...options([...new Set(INDEX.rows.map(([module]) => module))]));
  find("#status").append(...options(INDEX.statuses));
  const changes = [...new Set([...CELLS.values()].map(({ change }) => change))].filter(Boolean);
  find("#change").append(...options(changes));
  find("#change").closest("label").hidden = INDEX.against === null;
  const paths = INDEX.fields.flatMap((module) => module.paths.map(([path]) => path)).filter(Boolean);
  if (paths.length) find("#cells").append(make("optgroup", { label: "The value of" }, ...options([...new Set(paths)], FIELD)));
  const boxes = INDEX.columns.map(({ title }, column) =>
    make("label", {}, make("input", { type: "checkbox", value: column }), ` ${column + 1} ${title}`),
  );
  find("#models div").append(...boxes);
  find("#models").closest(".chooser").hidden = !SEVERAL;
  for (const section of ["#cases", "#fields"]) find(section).hidden = !INDEX.own;
}

// One cell takes part in the tab order; the arrow keys move it.

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -Infinity], End: [0, Infinity] };

function moveInMatrix(event) {
  const step = STEPS[event.key];
  const from = event.target.closest("tbody td");
  if (!step || !from || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const rows = find("#matrix tbody").rows;
  const inRow = [...from.parentNode.cells];
  if (step[0]) {
    let row = from.parentNode.sectionRowIndex + step[0];
    while (rows[row] && !find("a", rows[row].cells[from.cellIndex])) row += step[0];
    focusCell(rows[row] && find("a", rows[row].cells[from.cellIndex]));
    return;
  }
  const ahead = step[1] > 0 ? inRow.slice(from.cellIndex + 1) : inRow.slice(0, from.cellIndex).reverse();
  const links = ahead.map((cell) => find("a", cell)).filter(Boolean);
  focusCell(Number.isFinite(step[1]) ? links[0] : links.at(-1));
}

function focusCell(link) {
  if (!link) return;
  find("#matrix tbody a[tabindex='0']")?.setAttribute("tabindex", -1);
  link.setAttribute("tabindex", 0);
  link.focus();
}

function startMatrix() {
  makeControls();
  for (const [selector, name] of Object.entries(CHOICES)) {
    find(selector).addEventListener(name === "search" ? "input" : "change", () => {
      view[name] = find(selector).value;
      filterMatrix();
      writeState();
    });
  }
  find("#models").addEventListener("input", ({ target }) => {
    if (target.checked) view.chosen.add(Number(target.value));
    else view.chosen.delete(Number(target.value));
    showChosen();
    filterMatrix();
    writeState();
  });
  find("#models").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !find("#models").open) return;
    find("#models").open = false;
    find("#models summary").focus();
  });
  document.addEventListener("click", ({ target }) => {
    if (!find("#models").contains(target)) find("#models").open = false;
  });
  find(".tools").addEventListener("submit", (event) => event.preventDefault());
  find("#matrix thead").addEventListener("click", (event) => {
    const key = event.target.closest("button")?.dataset.sort;
    if (key !== undefined) sortBy(key === "case" || key === "mean" ? key : Number(key));
  });
  find("#matrix tbody").addEventListener("keydown", moveInMatrix);
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      makeMoreRows();
      // Observed again, because an observer is silent while its target stays in sight.
      observer.unobserve(find("#more"));
      observer.observe(find("#more"));
    },
    { root: find("#matrix"), rootMargin: "800px" },
  );
  observer.observe(find("#more"));
  window.addEventListener("beforeprint", () => makeRows(Infinity));
}
