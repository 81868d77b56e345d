// One result, opened in a panel. Its address is the fragment, so a link to the report can lead to it.

let details = null;
let links = null;
let opener = null;
let shown = null;

function hashOf(result) {
  const [row, column, repeat] = INDEX.results[result];
  const { provider, model } = INDEX.columns[column];
  const [module, name, variant] = INDEX.rows[row];
  const parts = { module, case: name, provider, model, ...(variant && { variant }), ...(repeat > 1 && { repeat }) };
  return `#${new URLSearchParams(parts)}`;
}

function resultAt(hash) {
  if (!hash.includes("case=")) return undefined;
  links ??= new Map(INDEX.results.map((_, result) => [hashOf(result), result]).reverse());
  // Encoded again, because other programs encode addresses in other ways.
  return links.get(`#${new URLSearchParams(hash.slice(1))}`);
}

function text(place) {
  return place === undefined || place === null ? null : details.texts[place];
}

// Indents JSON. It is never parsed to a value, because numbers would lose digits.
function indented(json) {
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  const tokens = json?.match(/"(?:[^"\\]|\\.)*"|\{\s*\}|\[\s*\]|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  const shown = tokens.map((token) => {
    if (token === "{" || token === "[") depth += 1;
    if (token === "}" || token === "]") depth -= 1;
    if ("}]".includes(token)) return line() + token;
    if ("{[,".includes(token)) return token + line();
    return token === ":" ? ": " : token;
  });
  return json === null ? null : shown.join("");
}

// The difference of two texts: the middle without their common start and end.

function withDifference(value, other) {
  if (value === null) return [make("span", { class: "nothing" }, "—")];
  if (other === null || value === other) return [value];
  const shorter = Math.min(value.length, other.length);
  let start = 0;
  while (start < shorter && value[start] === other[start]) start += 1;
  let end = 0;
  while (end < shorter - start && value.at(-1 - end) === other.at(-1 - end)) end += 1;
  const middle = value.slice(start, value.length - end);
  return [value.slice(0, start), middle ? make("mark", {}, middle) : null, value.slice(value.length - end)];
}

function scoreTile(score) {
  return make("span", { class: `tile ${level(score * 100)}` }, make("b", {}, score ? Math.min(score, 0.99).toFixed(2) : "0"));
}

function fieldRow(place) {
  const [path, expected, actual, score, weight, note, rule] = details.fields[place];
  const wrong = score < 1;
  const [wanted, got] = [text(expected), text(actual)];
  return make(
    "tr",
    { class: wrong ? "wrong" : wanted === got ? "right same" : "right" },
    make("th", { scope: "row" }, pathName(text(path))),
    make("td", {}, make("code", {}, ...(wrong ? withDifference(wanted, got) : [wanted ?? "—"]))),
    make("td", {}, make("code", {}, ...(wrong ? withDifference(got, wanted) : [got ?? "—"]))),
    make("td", { class: "number", title: `${percent(weight * 100)} % of the accuracy` }, wrong ? scoreTile(score) : "1"),
    make("td", {}, (wrong ? "≠ " : "= ") + text(note)),
    make("td", {}, text(rule)),
  );
}

function fieldsPart(fields) {
  const wrong = fields.filter((place) => details.fields[place][3] < 1).length;
  const heads = ["Field", "Expected", "Actual", "Score", "Why", "Rule"].map((name) => make("th", { scope: "col" }, name));
  const table = make("table", { class: "compared" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...fields.map(fieldRow)));
  const only = make("input", { type: "checkbox" });
  only.addEventListener("input", () => table.classList.toggle("only-wrong", only.checked));
  const count = wrong ? `${wrong} of ${fields.length} fields differ` : `All ${fields.length} fields are right`;
  const head = make("div", { class: "part-head" }, make("h3", {}, count));
  if (wrong && wrong < fields.length) head.append(make("label", { class: "check" }, only, " only those"));
  return make("section", {}, head, make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Fields" }, table));
}

function textPart(title, content, className = "") {
  if (content === null || content === "") return null;
  return make("section", { class: `text ${className}` }, make("h3", {}, title), make("pre", { tabindex: 0, role: "region", "aria-label": title }, content));
}

function factsPart(facts) {
  const pairs = facts.map(([name, value]) => make("div", {}, make("dt", {}, text(name)), make("dd", {}, text(value))));
  return make("section", {}, make("h3", {}, "The call"), make("dl", { class: "facts" }, ...pairs));
}

// Links to the other models and repeats of the case.

function chip(result, name, isCurrent) {
  const [, , , status, accuracy] = INDEX.results[result];
  const word = accuracy === null ? INDEX.statuses[status] : percent(accuracy) + (status ? ` ${INDEX.statuses[status]}` : "");
  const tile = make("span", { class: accuracy === null ? `tile ${INDEX.statuses[status]}` : `tile ${level(accuracy)}` }, make("b", {}, word));
  return make("a", { href: hashOf(result), class: "chip", "aria-current": isCurrent ? "true" : null }, make("span", {}, name), tile);
}

function chipsPart(result) {
  const [row, column] = INDEX.results[result];
  const nav = make("nav", { "aria-label": "This case with other models" });
  if (cellAt(row, column).results.length > 1) {
    const repeats = cellAt(row, column).results.map((other) => chip(other, `repeat ${INDEX.results[other][2]}`, other === result));
    nav.append(make("div", { class: "chips" }, ...repeats));
  }
  const models = INDEX.columns.map((_, other) => other).filter((other) => cellAt(row, other));
  const others = models.map((other) => chip(other === column ? result : cellAt(row, other).results[0], INDEX.columns[other].title, other === column));
  nav.append(make("div", { class: "chips" }, ...others));
  return nav;
}

function headPart(result) {
  const [row, column, repeat, status, accuracy] = INDEX.results[result];
  const close = make("button", { type: "button", class: "quiet", "aria-label": "Close" }, "✕");
  close.addEventListener("click", () => find("#detail").close());
  const word = accuracy === null ? INDEX.statuses[status] : percent(accuracy);
  const tile = make("span", { class: accuracy === null ? `tile big ${INDEX.statuses[status]}` : `tile big ${level(accuracy)}` }, make("b", {}, word));
  if (accuracy !== null && status) tile.append(make("small", {}, INDEX.statuses[status]));
  const again = INDEX.repeats > 1 ? `, repeat ${repeat}` : "";
  return make(
    "header",
    {},
    tile,
    make("div", {}, make("h2", { id: "detail-title", tabindex: -1 }, caseTitle(row)), make("p", {}, INDEX.columns[column].title + again)),
    close,
  );
}

function problemPart(found) {
  const problem = text(found.problem);
  const error = text(found.error);
  if (problem === null && error === null) return null;
  return make("p", { class: "notice bad" }, error ? make("b", {}, `${error}. `) : null, problem ?? "");
}

function detailParts(result) {
  details ??= embedded("#report-details");
  const found = details.results[result];
  const asked = details.cases[found.case] ?? {};
  return [
    headPart(result),
    problemPart(found),
    chipsPart(result),
    found.fields ? fieldsPart(found.fields) : null,
    factsPart(found.facts),
    make(
      "div",
      { class: "texts" },
      textPart("Source", text(asked.source)),
      textPart("Raw reply", text(found.reply)),
      textPart("Prompt", text(asked.prompt), "broad"),
      asked.files?.length ? textPart("Files", asked.files.join("\n"), "broad") : null,
      textPart("Expected", indented(text(asked.expected))),
      textPart("Actual", indented(text(found.actual))),
    ),
  ].filter(Boolean);
}

// Opening and closing follow the address.

function followAddress() {
  const result = resultAt(location.hash);
  const panel = find("#detail");
  if (result === undefined) {
    if (panel.open) panel.close();
    return;
  }
  const fromChip = document.activeElement?.closest(".chips") !== null && panel.open;
  if (!panel.open) opener = document.activeElement;
  shown = result;
  find("#detail-body").replaceChildren(...detailParts(result));
  if (!panel.open) panel.showModal();
  panel.scrollTop = 0;
  find(fromChip ? ".chip[aria-current]" : "#detail-title", panel).focus({ preventScroll: fromChip });
}

function cellOf(result) {
  const [row, column] = INDEX.results[result];
  const hash = hashOf(cellAt(row, column).results[0]);
  return [...document.querySelectorAll("#matrix tbody a")].find((link) => link.hash === hash);
}

function afterClosing() {
  if (resultAt(location.hash) !== undefined) history.replaceState(null, "", location.href.split("#")[0]);
  // After a link, no cell was opened before, so the focus goes to the cell of the result.
  if (opener?.isConnected && opener !== document.body) opener.focus();
  else focusCell(cellOf(shown));
  opener = null;
}

function startDetail() {
  const panel = find("#detail");
  panel.addEventListener("close", afterClosing);
  panel.addEventListener("click", (event) => event.target === panel && panel.close());
  window.addEventListener("hashchange", followAddress);
  followAddress();
}
