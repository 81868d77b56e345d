// The type and the description of a field, from the JSON Schema of its module's class.

function resolved(schema, root) {
  for (let step = 0; schema?.$ref && step < 20; step += 1) {
    schema = { ...root.$defs?.[schema.$ref.split("/").at(-1)], ...schema, $ref: root.$defs?.[schema.$ref.split("/").at(-1)]?.$ref };
  }
  return schema;
}

// A schema that may be one of several, without null.
function variants(schema, root) {
  const found = resolved(schema, root);
  const options = found?.anyOf ?? found?.oneOf;
  return options ? options.flatMap((option) => variants(option, root)) : found ? [found] : [];
}

function below(schema, key, root) {
  for (const option of variants(schema, root)) {
    const item = /^\[\d*\]$/.test(key) ? option.items : option.properties?.[key];
    if (item) return item;
    if (option.additionalProperties?.constructor === Object) return option.additionalProperties;
  }
  return undefined;
}

function typeWords(schema, root) {
  const words = variants(schema, root).map((option) => {
    if (option.enum) return `one of ${option.enum.slice(0, 6).join(", ")}${option.enum.length > 6 ? ", …" : ""}`;
    if ("const" in option) return JSON.stringify(option.const);
    if (option.type === "array") return `list of ${typeWords(option.items, root) || "any"}`;
    return option.format ? `${option.type} (${option.format})` : option.type === "object" ? (option.title ?? "object") : option.type;
  });
  return [...new Set(words.filter(Boolean))].join(" or ");
}

// The type and the description of a path such as `lines[].price`; null if the schema does not know it.
function schemaOf(module, path) {
  const root = INDEX.schemas[module];
  if (!root) return null;
  let schema = root;
  for (const part of path.match(/\["(?:[^"\\]|\\.)*"\]|\[\d*\]|[^.[\]]+/g) ?? []) {
    schema = below(schema, part.startsWith('["') ? JSON.parse(part.slice(1, -1)) : part, root);
  }
  const found = resolved(schema, root);
  return found ? { type: typeWords(found, root), description: found.description ?? "" } : null;
}

function schemaLines(module, path, rules = []) {
  const known = schemaOf(module, path);
  const rule = rules.length ? `compared as ${rules.join(" or ")}` : "";
  const lines = [[known?.type, rule].filter(Boolean).join(", "), known?.description];
  return lines.filter(Boolean).map((words) => make("small", {}, words));
}
