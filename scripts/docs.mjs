// Derives docs/verbs.md, and the verb table of README.md, from the tables in packages/shared.
//
//   node scripts/docs.mjs            writes them
//   node scripts/docs.mjs --check    says which are stale, and exits 1
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(import.meta.dirname, "..");
const markers = /(<!-- verbs -->\n)[\s\S]*?(<!-- \/?verbs -->)/;

/**
 * The derived pages as they should be.
 *
 * @param shared  the module @sessiond/shared: built for the command, from its sources in the tests
 * @returns {{path: string, text: string}[]}
 */
export function pages(shared) {
  const readme = join(root, "README.md");
  const found = [{ path: "docs/verbs.md", text: verbsPage(shared) }];
  if (existsSync(readme)) {
    const text = readFileSync(readme, "utf8");
    if (markers.test(text)) found.push({ path: "README.md", text: text.replace(markers, (_all, begin, end) => `${begin}\n${shortTable(shared)}\n\n${end}`) });
  }
  return found;
}

/** Paths of the pages that are not as they should be. */
export const stale = (wanted) =>
  wanted.filter(({ path, text }) => !existsSync(join(root, path)) || readFileSync(join(root, path), "utf8") !== text).map(({ path }) => path);

// --- The pages ---------------------------------------------------------------------------------

const code = (text) => `\`${text}\``;
const cell = (text) => String(text).replaceAll("|", "\\|").replaceAll("\n", " ");
const codes = (list) => list.map(code).join(", ");

function table(heads, rows) {
  const line = (cells) => `| ${cells.map(cell).join(" | ")} |`;
  return [line(heads), `|${"---|".repeat(heads.length)}`, ...rows.map(line)].join("\n");
}

function gateText(gate) {
  if (typeof gate === "string") return code(gate);
  const words = Object.entries(gate.words).map(([value, word]) => `${value}: ${code(word)}`);
  return `by ${code(gate.by)}: ${words.join(", ")}, else ${code(gate.otherwise)}`;
}

const shortTable = ({ verbs }) =>
  table(
    ["verb", "kind", "gate", "retry", "what it does"],
    Object.entries(verbs).map(([name, row]) => [code(name), row.kind, gateText(row.gate), row.retry, row.doc]),
  );

function verbsPage(shared) {
  const { verbs, eventTable, errorTable, limitTable, commonErrors, protocol, schemas } = shared;
  const shapes = { ...schemas, frame: shared.frameSchema, storedFrame: shared.storedFrameSchema, attachItem: shared.attachItem, event: shared.eventSchema };
  // Sorted: Vite and Node list a module's exports in different orders.
  const named = new Map(
    Object.keys(shapes)
      // What makes schemas is none.
      .filter((name) => typeof shapes[name] !== "function")
      .sort()
      .map((name) => [shapes[name], name]),
  );
  const shape = (schema) => shapeOf(schema, named);
  const parts = [
    "# Verbs, events, errors, limits",
    `<!-- Derived by \`npm run docs\` from packages/shared/src; changes made here are lost. -->`,
    `Protocol ${protocol.min === protocol.max ? protocol.min : `${protocol.min} to ${protocol.max}`}. A field with \`?\` may be left out. Names like *sessionInfo* are explained under [Shapes](#shapes). Besides its own fields each call carries \`auth: {host_key?, api_key?, token?, seat_secret?}\`.`,
    "## Verbs",
    shortTable(shared),
    `Any verb can throw ${codes(commonErrors)}.`,
    ...Object.entries(verbs).map(([name, row]) => verbSection(name, row, shape)),
    "## Events",
    "An event that the session has numbered is a frame. Each has `type`, and:",
    table(
      ["event", "fields", "what it says"],
      Object.entries(eventTable).map(([type, row]) => [
        code(type),
        fieldsOf(row.schema, shape)
          .filter((field) => !field.startsWith("`type`"))
          .join("<br>"),
        row.doc,
      ]),
    ),
    "## Errors",
    "`retry`: *never* (calling again gives the same), *backoff* (again after a pause), *reattach* (take the seat again with the last cursor).",
    table(
      ["code", "retry", "text"],
      Object.entries(errorTable).map(([name, row]) => [code(name), row.retry, errorText(row)]),
    ),
    "## Limits",
    table(
      ["limit", "value", "unit", "why"],
      Object.entries(limitTable).map(([name, limit]) => [code(name), limit.value.toLocaleString("en-US"), limit.unit, limit.why]),
    ),
    "## Shapes",
    table(
      ["name", "shape"],
      // Its own name would be the shortest description of it.
      [...named].map(([schema, name]) => [`*${name}*`, shapeOf(schema, named, true)]),
    ),
  ];
  return `${parts.join("\n\n")}\n`;
}

function verbSection(name, row, shape) {
  const fields = (schema) => (schema.def.type === "object" && !shape(schema).startsWith("*") ? fieldsOf(schema, shape).join("; ") || "nothing" : shape(schema));
  const draining =
    row.kind === "query" || row.draining === true
      ? "passes"
      : row.draining
        ? `passes where ${code(row.draining.by)} is ${codes(row.draining.passes)}`
        : "refused";
  return [
    `### ${name}`,
    row.doc,
    [
      `- **${row.kind}**, gate ${gateText(row.gate)}, retry ${code(row.retry)}, while draining: ${draining}${row.past_life === "answer" ? ", answers tokens of an ended life" : ""}`,
      `- takes: ${fields(row.input)}`,
      `- ${row.kind === "subscription" ? "yields" : "gives"}: ${fields(row.output)}`,
      `- throws: ${row.throws.length > 0 ? codes(row.throws) : "nothing of its own"}`,
    ].join("\n"),
  ].join("\n\n");
}

/** A text with every fact shown by its name: `{verb}` where the caller reads which verb. */
function errorText(row) {
  // Numbers and strings are shown as they are; a name in braces is both.
  const facts = new Proxy({}, { get: (_target, key) => (typeof key === "string" ? `{${key}}` : undefined) });
  return row.text(facts);
}

// --- Shapes ------------------------------------------------------------------------------------

const fieldsOf = (schema, shape) =>
  Object.entries(schema.def.shape).map(([name, field]) => {
    const optional = field.def.type === "optional";
    return `${code(`${name}${optional ? "?" : ""}`)} ${shape(optional ? field.def.innerType : field)}`;
  });

/** A zod schema in a few words. A kind of schema that is not known here is an error, so that nothing is left out silently. */
function shapeOf(schema, named, open = false) {
  const name = named.get(schema);
  if (name !== undefined && !open) return `*${name}*`;
  const inner = (of) => shapeOf(of, named);
  const { def } = schema;
  switch (def.type) {
    case "string":
      return `string${bounds(schema.minLength, schema.maxLength, " characters")}${patternOf(def)}`;
    case "number":
      return `${schema.isInt ? "integer" : "number"}${bounds(schema.minValue, schema.maxValue, "")}`;
    case "boolean":
    case "null":
      return def.type;
    case "unknown":
    case "any":
      return "anything";
    case "literal":
      return [...schema.values].map((value) => code(JSON.stringify(value))).join(" or ");
    case "enum":
      return schema.options.map((value) => code(JSON.stringify(value))).join(" or ");
    case "array":
      return `list of ${inner(def.element)}`;
    case "record":
      return `record of ${inner(def.valueType)}`;
    case "object":
      return `{ ${fieldsOf(schema, inner).join(", ")} }`;
    case "nullable":
      return `${inner(def.innerType)} or null`;
    case "optional":
      return `${inner(def.innerType)}, or nothing`;
    case "union":
      return unionText(def, inner);
    default:
      throw new Error(`docs: no words for a zod schema of type ${def.type}; add them to shapeOf in scripts/docs.mjs`);
  }
}

function patternOf(def) {
  const pattern = (def.checks ?? []).map((check) => check._zod.def.pattern).find((one) => one !== undefined);
  return pattern === undefined ? "" : ` like ${code(pattern.source)}`;
}

function unionText(def, inner) {
  const types = def.options.map((option) => [...(option.def.shape?.type?.values ?? [])][0]);
  // The union of all events would repeat the whole table above.
  if (def.discriminator === "type" && def.options.length > 8) return `one of ${types.length} events, by \`type\``;
  return def.options.map(inner).join(" or ");
}

function bounds(min, max, unit) {
  const low = min !== null && Number.isFinite(min) && min > Number.MIN_SAFE_INTEGER ? min : undefined;
  const high = max !== null && Number.isFinite(max) && max < Number.MAX_SAFE_INTEGER ? max : undefined;
  if (low === undefined && high === undefined) return "";
  if (high === undefined) return low === 0 ? "" : ` ≥ ${low}${unit}`;
  return low === undefined ? ` ≤ ${high}${unit}` : ` ${low} to ${high}${unit}`;
}

// --- The command -------------------------------------------------------------------------------

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const built = join(root, "packages/shared/dist/index.js");
  if (!existsSync(built)) {
    console.error("docs: packages/shared is not built; run npm run build first");
    process.exit(1);
  }
  const wanted = pages(await import(built));
  const old = stale(wanted);
  if (process.argv.includes("--check")) {
    if (old.length > 0) console.error(`docs: stale: ${old.join(", ")}; run npm run docs`);
    process.exit(old.length > 0 ? 1 : 0);
  }
  for (const { path, text } of wanted) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  console.log(old.length > 0 ? `docs: written: ${old.join(", ")}` : "docs: nothing changed");
}
