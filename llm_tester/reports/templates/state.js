// What is shown, kept in the fragment of the address: a link to the report leads to the same filter, order and result.

// The names and the order of the links to results, which programs may write as well.
function placeOf(result) {
  const [row, column, repeat] = INDEX.results[result];
  const { provider, model } = INDEX.columns[column];
  const [module, name, variant] = INDEX.rows[row];
  return { module, case: name, provider, model, ...(variant && { variant }), ...(repeat > 1 && { repeat }) };
}

const PLACE = ["module", "case", "provider", "model", "variant", "repeat"];

function hashOf(result) {
  return `#${new URLSearchParams(placeOf(result))}`;
}

let links = null;

function resultIn(parts) {
  if (!parts.has("case")) return null;
  links ??= new Map(INDEX.results.slice(0, INDEX.own).map((_, result) => [hashOf(result), result]).reverse());
  const place = PLACE.filter((name) => parts.has(name)).map((name) => [name, parts.get(name)]);
  return links.get(`#${new URLSearchParams(place)}`) ?? null;
}

function stateParts() {
  const parts = new URLSearchParams();
  const values = { search: view.search, in: view.module, status: view.status, change: view.change };
  for (const [name, value] of Object.entries(values)) if (value) parts.set(name, value);
  for (const column of view.chosen) parts.append("show", INDEX.columns[column].title);
  if (view.sort !== "case") parts.set("sort", view.sort === "mean" ? "mean" : INDEX.columns[view.sort].title);
  if (view.descending) parts.set("order", "descending");
  if (view.cells !== "accuracy") parts.set("cells", view.cells);
  if (view.beside !== null) parts.set("with", view.beside);
  if (view.theme) parts.set("theme", view.theme);
  return parts;
}

// A new entry of the history for a result that was opened, so that going back closes it; the same entry for the rest.
function writeState(isNew = false) {
  const parts = stateParts();
  if (opened !== null) for (const [name, value] of Object.entries(placeOf(opened))) parts.set(name, value);
  const address = location.href.split("#")[0] + (parts.size ? `#${parts}` : "");
  if (address === location.href) return;
  try {
    if (isNew) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  } catch {
    // Some browsers allow it to no page in a frame, or only so often a minute. The page works all the same.
  }
}

function readState() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const columnOf = (title) => INDEX.columns.findIndex((column) => column.title === title);
  const among = (selector, value) => ([...find(selector).options].some((option) => option.value === value) ? value : "");
  const sort = columnOf(parts.get("sort"));
  Object.assign(view, {
    search: parts.get("search") ?? "",
    module: among("#module", parts.get("in")),
    status: among("#status", parts.get("status")),
    change: among("#change", parts.get("change")),
    chosen: new Set(parts.getAll("show").map(columnOf).filter((column) => column >= 0)),
    sort: sort >= 0 ? sort : parts.get("sort") === "mean" ? "mean" : "case",
    descending: parts.get("order") === "descending",
    cells: among("#cells", parts.get("cells")) || "accuracy",
    beside: parts.get("with"),
    theme: ["light", "dark"].includes(parts.get("theme")) ? parts.get("theme") : null,
  });
  const result = resultIn(parts);
  return () => (result === null ? closeResult() : showResult(result));
}

// The state of the address, at the start and whenever somebody goes back or edits it.
function followAddress() {
  const open = readState();
  followTheme();
  showControls();
  filterMatrix();
  open();
}
