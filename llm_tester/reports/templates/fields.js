// The fields of each module, made when the module is unfolded.

function fieldCell(cell, model) {
  if (!cell) return make("td", {}, make("span", { class: "tile empty", title: `${model}: no such field` }, "·"));
  const [score, count, changed, compared] = cell;
  const again = compared ? `, not the same in all repeats in ${changed} of ${compared}` : "";
  const title = `${model}: ${percent(score)}, mean of ${count}${again}`;
  return make(
    "td",
    {},
    make(
      "span",
      { class: `tile ${level(score)}`, title },
      make("b", {}, percent(score)),
      compared ? make("small", {}, `↻ ${changed}/${compared}`) : null,
    ),
  );
}

// All models together, weighted by how often each was scored.
function allModels(cells) {
  const present = cells.filter(Boolean);
  const count = present.reduce((sum, cell) => sum + cell[1], 0);
  const score = present.reduce((sum, cell) => sum + cell[0] * cell[1], 0) / count;
  const total = (place) => present.reduce((sum, cell) => sum + cell[place], 0);
  return [Math.min(100, score), count, total(2), total(3)];
}

function fieldTable({ module, paths }) {
  const used = INDEX.columns.map((_, column) => column).filter((column) => paths.some(([, cells]) => cells[column]));
  const head = make("tr", {}, make("th", { scope: "col" }, "Field"), SEVERAL ? make("th", { scope: "col" }, "All models") : null);
  for (const column of used) {
    const name = make("span", { class: "name" }, ...modelName(INDEX.columns[column]));
    head.append(make("th", { scope: "col" }, SEVERAL ? make("span", { class: "rank" }, column + 1) : "", name));
  }
  const lines = paths.map(([path, cells, rules]) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, pathName(path), ...schemaLines(module, path, rules)),
      SEVERAL ? fieldCell(allModels(cells), "all models") : null,
      ...used.map((column) => fieldCell(cells[column], INDEX.columns[column].title)),
    ),
  );
  const table = make("table", { class: "matrix fields", "aria-label": `Fields of ${module}` }, make("thead", {}, head), make("tbody", {}, ...lines));
  table.style.setProperty("--columns", used.length - (SEVERAL ? 0 : 1));
  return make("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": `Fields of ${module}` }, table);
}

function startFields() {
  const blocks = INDEX.fields.map((module, place) => {
    const summary = make("summary", {}, module.module, make("small", {}, ` ${module.paths.length} fields`));
    const block = make("details", { class: "block", "data-module": module.module }, summary);
    block.addEventListener("toggle", () => {
      if (block.open && block.children.length === 1) block.append(fieldTable(module));
    });
    block.open = place === 0;
    return block;
  });
  find("#fields").append(...(blocks.length ? blocks : [make("p", {}, "No reply was scored.")]));
  window.addEventListener("beforeprint", () => {
    for (const [place, block] of blocks.entries()) {
      if (block.children.length === 1) block.append(fieldTable(INDEX.fields[place]));
      block.open = true;
    }
  });
}
