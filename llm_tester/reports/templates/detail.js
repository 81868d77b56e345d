// One result, opened in a panel, next to another one of the same case if the reader wants it.

let opener = null;
let opened = null;

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

// What an opened result is shown next to: `earlier`, the `<provider>:<model>` of another column, or a repeat.

function besideChoices(result) {
  const [row, column, repeat] = INDEX.results[result];
  const { results, earlier } = cellAt(row, column);
  const same = (others) => others.find((other) => INDEX.results[other][2] === repeat) ?? others[0];
  const choices = new Map();
  if (earlier.length) choices.set("earlier", { name: `the earlier run, ${INDEX.against}`, short: "earlier run", result: same(earlier) });
  for (const other of results) {
    const name = `repeat ${INDEX.results[other][2]}`;
    if (other !== result) choices.set(name, { name, short: name, result: other });
  }
  INDEX.columns.forEach(({ title, model }, other) => {
    const cell = other !== column && cellAt(row, other);
    if (cell) choices.set(title, { name: title, short: model, result: same(cell.results) });
  });
  return choices;
}

function besideOf(choices) {
  return choices.get(view.beside ?? "earlier") ?? null;
}

function besidePart(result, choices, beside) {
  if (!choices.size) return null;
  const options = [...choices].map(([value, { name }]) => make("option", { value }, name));
  const select = make("select", {}, make("option", { value: "none" }, "nothing"), ...options);
  select.value = beside ? [...choices].find(([, choice]) => choice === beside)[0] : "none";
  select.addEventListener("change", () => {
    view.beside = select.value;
    fillDetail(result);
    find("#detail .beside select").focus();
    writeState();
  });
  return make("label", { class: "beside" }, "Next to ", select);
}

function fieldCells(field, other, beside) {
  const [path, expected, actual, score, weight, note, rule] = details().fields[field ?? other];
  const then = other === undefined ? null : details().fields[other];
  const now = field === undefined ? null : details().fields[field];
  const wrong = (now ?? then)[3] < 1;
  const [wanted, got, theirs] = [text(expected), now && text(actual), then && text(then[2])];
  const difference = (value, reference, isWrong) => make("code", {}, ...(isWrong ? withDifference(value, reference) : [value ?? "—"]));
  return {
    wrong,
    same: !wrong && wanted === got,
    moved: beside && got !== theirs,
    path: text(path),
    cells: [
      make("td", { "data-name": "expected" }, difference(wanted, got, wrong)),
      make("td", { "data-name": "actual", class: beside && got !== theirs ? "changed" : null }, difference(got, wanted, wrong)),
      make("td", { "data-name": "score", class: "number score", title: `${percent(weight * 100)} % of the accuracy` }, now ? (wrong ? scoreTile(score) : "1") : "—"),
      beside && make("td", { "data-name": beside.short, class: got !== theirs ? "changed" : null }, difference(theirs, got, theirs !== got)),
      beside && make("td", { "data-name": `score of ${beside.short}`, class: "number" }, then ? (then[3] < 1 ? scoreTile(then[3]) : "1") : "—"),
      make("td", { class: "why" }, now ? (wrong ? "≠ " : "= ") + text(note) : "only there"),
      make("td", { class: "rule" }, text(rule)),
    ],
  };
}

function fieldRow(module, field, other, beside) {
  const { wrong, same, moved, path, cells } = fieldCells(field, other, beside);
  const head = make("th", { scope: "row" }, pathName(path), ...schemaLines(module, path));
  return make("tr", { class: `${wrong ? "wrong" : same ? "right same" : "right"}${moved ? " moved" : ""}` }, head, ...cells);
}

// The fields of a result, and of the other one those with the same paths; then what only the other one has.
function fieldPairs(fields, others) {
  const byPath = new Map(others.map((other) => [details().fields[other][0], other]));
  const paths = new Set(fields.map((field) => details().fields[field][0]));
  const only = others.filter((other) => !paths.has(details().fields[other][0]));
  return [...fields.map((field) => [field, byPath.get(details().fields[field][0])]), ...only.map((other) => [undefined, other])];
}

function fieldsPart(module, fields, beside) {
  const others = beside ? (details().results[beside.result].fields ?? []) : [];
  if (!fields.length && !others.length) return null;
  const wrong = fields.filter((place) => details().fields[place][3] < 1).length;
  const names = ["Field", "Expected", "Actual", "Score", ...(beside ? [beside.short, "Its score"] : []), "Why", "Rule"];
  const heads = names.map((name) => make("th", { scope: "col" }, name));
  const lines = fieldPairs(fields, others).map(([field, other]) => fieldRow(module, field, other, beside));
  const table = make("table", { class: beside ? "compared two" : "compared" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...lines));
  const check = (name, words) => {
    const box = make("input", { type: "checkbox" });
    box.addEventListener("input", () => table.classList.toggle(name, box.checked));
    return make("label", { class: "check" }, box, words);
  };
  const count = wrong ? `${wrong} of ${fields.length} fields differ` : fields.length ? `All ${fields.length} fields are right` : "No field was scored";
  const head = make("div", { class: "part-head" }, make("h3", {}, count));
  if (wrong && wrong < fields.length) head.append(check("only-wrong", " only those"));
  if (beside) head.append(check("only-changed", ` only those with another value than ${beside.short}`));
  return make("section", {}, head, make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Fields" }, table));
}

function textPart(title, content, className = "") {
  if (content === null || content === "") return null;
  return make("section", { class: `text ${className}` }, make("h3", {}, title), make("pre", { tabindex: 0, role: "region", "aria-label": title }, content));
}

function factsPart({ facts, cassette }, title) {
  const pairs = facts.map(([name, value]) => [text(name), text(value)]);
  if (cassette !== undefined) {
    const path = text(cassette);
    // Each part is encoded, so that a path stays a path whatever is in it.
    pairs.push(["cassette", make("a", { href: path.split("/").map((part) => encodeURIComponent(part.toWellFormed())).join("/") }, path)]);
  }
  const items = pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  return make("section", {}, make("h3", {}, title), make("dl", { class: "facts" }, ...items));
}

// Links to the other models and repeats of the case.

function chip(result, name, isCurrent) {
  const [, , , status, accuracy] = INDEX.results[result];
  const word = accuracy === null ? INDEX.statuses[status] : percent(accuracy) + (status ? ` ${INDEX.statuses[status]}` : "");
  const tile = make("span", { class: accuracy === null ? `tile ${INDEX.statuses[status]}` : `tile ${level(accuracy)}` }, make("b", {}, word));
  return make("a", { href: hashOf(result), "data-result": result, class: "chip", "aria-current": isCurrent ? "true" : null }, make("span", {}, name), tile);
}

function chipsPart(result) {
  const [row, column] = INDEX.results[result];
  const nav = make("nav", { "aria-label": "This case with other models" });
  if (cellAt(row, column).results.length > 1) {
    const repeats = cellAt(row, column).results.map((other) => chip(other, `repeat ${INDEX.results[other][2]}`, other === result));
    nav.append(make("div", { class: "chips" }, ...repeats));
  }
  const models = INDEX.columns.map((_, other) => other).filter((other) => cellAt(row, other));
  if (models.length < 2) return nav.hasChildNodes() ? nav : null;
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
  const change = changeText(cellAt(row, column));
  const again = INDEX.repeats > 1 ? `, repeat ${repeat}` : "";
  return make(
    "header",
    {},
    tile,
    make("div", {}, make("h2", { id: "detail-title", tabindex: -1 }, caseTitle(row)), make("p", {}, INDEX.columns[column].title + again), change ? make("p", {}, change) : null),
    close,
  );
}

function problemPart(found, who = "") {
  const problem = text(found.problem);
  const error = text(found.error);
  if (problem === null && error === null) return null;
  return make("p", { class: "notice bad" }, make("b", {}, who, error ? `${error}. ` : ""), problem ?? "");
}

function detailParts(result) {
  const [module] = INDEX.rows[INDEX.results[result][0]];
  const found = details().results[result];
  const asked = details().cases[found.case] ?? {};
  const choices = besideChoices(result);
  const beside = besideOf(choices);
  const other = beside ? details().results[beside.result] : {};
  const askedThen = details().cases[other.case] ?? {};
  const pair = (title, own, theirs) => [
    textPart(title, own),
    beside ? textPart(`${title}, ${beside.short}`, theirs ?? "none") : null,
  ];
  const prompt = text(asked.prompt);
  const otherPrompt = beside ? text(askedThen.prompt) : prompt;
  const texts = [
    beside ? null : textPart("Source", text(asked.source)),
    ...pair("Raw reply", text(found.reply), text(other.reply)),
    ...(prompt === otherPrompt ? [textPart("Prompt", prompt, "broad")] : pair("Prompt", prompt, otherPrompt)),
    asked.files?.length ? textPart("Files", asked.files.join("\n"), "broad") : null,
    beside ? null : textPart("Expected", indented(text(asked.expected))),
    ...pair("Actual", indented(text(found.actual)), indented(text(other.actual))),
    beside ? textPart("Source", text(asked.source)) : null,
    beside ? textPart("Expected", indented(text(asked.expected))) : null,
  ];
  return [
    headPart(result),
    problemPart(found),
    beside ? problemPart(other, `${beside.short}: `) : null,
    chipsPart(result),
    besidePart(result, choices, beside),
    fieldsPart(module, found.fields ?? [], beside),
    factsPart(found, "The call"),
    beside ? factsPart(other, `The call, ${beside.short}`) : null,
    make("div", { class: "texts" }, ...texts.filter(Boolean)),
  ].filter(Boolean);
}

// Opening and closing. The address follows (see state.js).

function fillDetail(result) {
  find("#detail-body").replaceChildren(...detailParts(result));
}

function showResult(result) {
  const panel = find("#detail");
  const fromChip = document.activeElement?.closest(".chips") !== null && panel.open;
  if (!panel.open) opener = document.activeElement;
  opened = result;
  fillDetail(result);
  if (!panel.open) panel.showModal();
  panel.scrollTop = 0;
  find(fromChip ? ".chip[aria-current]" : "#detail-title", panel).focus({ preventScroll: fromChip });
}

function closeResult() {
  if (find("#detail").open) find("#detail").close();
}

function cellOf(result) {
  const [row, column] = INDEX.results[result];
  return find(`#matrix tbody a[data-result="${cellAt(row, column).results[0]}"]`);
}

// The event comes a moment after the panel was closed; a quick step forward has opened it again by then.
function afterClosing() {
  if (opened === null || find("#detail").open) return;
  const last = opened;
  opened = null;
  writeState();
  // After a link, no cell was opened before, so the focus goes to the cell of the result.
  if (opener?.isConnected && opener !== document.body) opener.focus();
  else focusCell(cellOf(last));
  opener = null;
}

function openByLink(event) {
  const link = event.target.closest("a[data-result]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  showResult(Number(link.dataset.result));
  writeState(true);
}

function startDetail() {
  const panel = find("#detail");
  panel.addEventListener("close", afterClosing);
  panel.addEventListener("click", (event) => event.target === panel && panel.close());
  document.addEventListener("click", openByLink);
  window.addEventListener("hashchange", followAddress);
}
